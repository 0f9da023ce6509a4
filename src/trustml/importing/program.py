"""A network as it was traced or read: calls of operators on values, without any framework.

Operators have the names that PyTorch gives them (``conv2d``, ``layer_norm``, ``scaled_dot_product_attention``),
whatever the source; images are channels-first in them, as they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Ref:
    """What an earlier call gave, or the input.

    Attributes
    ----------
    name : str
    """

    name: str


@dataclass(frozen=True, eq=False)
class Constant:
    """An array that follows from no input.

    Attributes
    ----------
    array : ndarray
    origin : str
        Name of the weight that it is, such as ``layer1.0.conv1.weight``; empty where it was computed.
    """

    array: Array
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator.

    Attributes
    ----------
    name : str
        Of what it gives.
    operator : str
    arguments : mapping of str to object
        By the operator's own names, those that have a default, too: numbers, texts, lists, :class:`Ref`,
        :class:`Constant`.
    place : str
        Module that called it, such as ``layer1.0``; empty for the outermost.
    """

    name: str
    operator: str
    arguments: Mapping[str, Any]
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network of one input and one output.

    Attributes
    ----------
    calls : tuple of Call
    input : str
        Name of the input.
    input_shape : tuple of int
        As the original takes it, with the axis of examples.
    output : str
        Name of the call whose value is the output.
    batch : int
        Number of examples that it was traced with; sizes in the calls are of so many.
    """

    calls: tuple[Call, ...]
    input: str
    input_shape: tuple[int, ...]
    output: str
    batch: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """A program, and what is needed to hold an import against the original.

    Attributes
    ----------
    program : Program
    kind : str
        What the original is, in words.
    original : callable, optional
        Outputs of the original for inputs laid out as it takes them; None where it cannot be computed here.
    logits : callable, optional
        What the original has before the softmax or sigmoid at its end, or None where that cannot be seen.
    why_not : str
        Why it cannot.
    remarks : tuple of str
        What its owner should know of what was read, a line each.
    example : ndarray
        Given inputs, laid out as the original takes them.
    """

    program: Program
    kind: str
    original: Callable[[Array], npt.NDArray[np.float32]] | None
    logits: Callable[[Array], npt.NDArray[np.float32] | None] | None = None
    why_not: str = ""
    remarks: tuple[str, ...] = ()
    example: Array
