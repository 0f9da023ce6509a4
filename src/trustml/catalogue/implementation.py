"""What one row of the table of methods holds: what the method is, and for each backend the function that does it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from trustml.models.layers import LayerSpec

Returns = Literal["input", "layer"]
Needs = Literal["gradients", "layers", "forward"]


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A library does it.

    Attributes
    ----------
    library : str
        For tables, such as ``captum``.
    call : str
        Import path of the function of the backend that does it, such as
        ``trustml.backends.torch.gradient_methods:gradient_method``; :func:`resolve` imports it.
    library_function : str
        What of the library that calls, such as ``captum.attr.Saliency``; empty where it is that function itself.
    differs : str
        How the raw output differs from the definition; empty where it is the definition. Where it differs,
        the backend also gives the variant ``completed`` if the definition can be had from it.
    """

    library: str
    call: str
    library_function: str = ""
    differs: str = ""

    @property
    def function(self) -> str:
        """What is called, for tables."""
        return self.library_function or self.call.replace(":", ".")


@dataclass(frozen=True, kw_only=True)
class NotAvailable:
    """No well-kept library of that backend does it.

    Attributes
    ----------
    reason : str
    """

    reason: str


Availability: TypeAlias = Implementation | NotAvailable
Cell: TypeAlias = Availability | Callable[[Any], Availability]
"""Who does a method; a function of the method where that depends on its settings."""


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
    returns : {"input", "layer"}
        Shape of an attribution: that of the input, or that of a layer's output.
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
    maps : bool
        Whether its layer must have rows and columns; it is the last convolution where none is named.
    no_rule_for : tuple of type
        Layers for which it has no rule.
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
    maps: bool = False
    no_rule_for: tuple[type[LayerSpec], ...] = ()
    by: Mapping[str, Cell]


def resolve(found: Implementation) -> Callable[..., Any]:
    """Import the function that does a method; this imports its framework."""
    module, _, name = found.call.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
