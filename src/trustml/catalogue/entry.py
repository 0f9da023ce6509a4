"""What one row of the table of methods holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trustml.attribution.perturbation import VariantScores
from trustml.data.dataset import Floats
from trustml.frameworks.implementation import Cell
from trustml.models.layers import Architecture, LayerSpec

Returns = Literal["input", "layer", "map"]
Needs = Literal["gradients", "layers", "forward"]


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """One method.

    Its parameters (a baseline, a background, a patch, a layer) are the fields of its struct in
    :mod:`trustml.scenario.methods`, and whoever needs to know asks that.

    Attributes
    ----------
    title : str
        For headings.
    paper : str
    returns : {"input", "layer", "map"}
        Shape of an attribution: that of the input, that of a layer's output, or that output's rows and columns.
    signed : bool
        Whether the sign says for or against the target.
    needs : {"gradients", "layers", "forward"}
        What it must have of the model: gradients of the input; activations and rules inside it; outputs alone.
    complete : bool
        Whether, by definition, an attribution adds up to the change of the logit from the baseline.
    contribution : bool
        Whether an attribution holds the factor (input - baseline), rather than being a slope.
    sampled : bool
        Whether it draws random numbers.
    images : bool
        Whether it is for images alone.
    at_convolution : bool
        Whether its layer must have rows and columns, be it of patches; where none is named, it is what the last
        attention to patches looks at, else the last convolution.
    no_rule_for : mapping of type to str
        Layers for which it has no rule, and why.
    unfit : callable, optional
        From an architecture and the shape of an input to why the method has no definition there; empty if it has.
    by_asking : callable, optional
        Does it for whoever can be asked for outputs (:mod:`trustml.attribution.perturbation`).
    by : mapping of str to Cell
        For each backend, who does it.
    """

    title: str
    paper: str
    returns: Returns = "input"
    signed: bool = True
    needs: Needs
    complete: bool = False
    contribution: bool = False
    sampled: bool = False
    images: bool = False
    at_convolution: bool = False
    no_rule_for: Mapping[type[LayerSpec], str] = field(default_factory=dict)
    unfit: Callable[[Architecture, tuple[int, ...]], str] | None = None
    by_asking: Callable[[VariantScores, Any], Floats] | None = None
    by: Mapping[str, Cell]
