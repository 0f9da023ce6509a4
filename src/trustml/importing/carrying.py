"""A program, carried over call by call to an architecture with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trustml.errors import UsageError
from trustml.importing.attention import Ended
from trustml.importing.axes import Axes, Factor, Value, new_axis, sizes_of
from trustml.importing.draft import ChannelAffine, Draft, Note, Piece
from trustml.importing.folding import Norms, folded
from trustml.importing.operators import OPERATORS
from trustml.importing.program import Call, Constant, Program, Ref
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments
from trustml.models.layers import INPUT, Architecture, Dropout, Node, Sigmoid
from trustml.models.weights import Weights

FIRST: Mapping[str, int] = {
    "conv1d": 1, "conv2d": 2, "conv_transpose1d": 1, "conv_transpose2d": 2, "max_pool1d": 1, "max_pool2d": 2,
    "avg_pool1d": 1, "avg_pool2d": 2,
}  # fmt: skip
"""Operators that take channels first, and of how many axes of places."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """An architecture made from a program.

    Attributes
    ----------
    architecture : Architecture
    weights : Weights
    input_shape : tuple of int
        Of one example, as the architecture takes it.
    order : tuple of int
        Axes of the original's input in the order in which ours has them, that of examples first.
    ending : {"", "softmax", "log_softmax", "sigmoid"}
        What the original does to the logits at its end.
    notes : tuple of Note
    """

    architecture: Architecture
    weights: Weights
    input_shape: tuple[int, ...]
    order: tuple[int, ...]
    ending: str
    notes: tuple[Note, ...]


def carry(program: Program, *, norms: Norms = None) -> Carried:
    """Carry a program over.

    Parameters
    ----------
    program : Program
    norms : mapping of str to GroupNorm, or GroupNorm, optional
        What takes the place of BatchNorms, by their names or for all of them; they are folded where nothing does.

    Raises
    ------
    UsageError
        Naming the first node that cannot be carried, why, and what works.
    """
    examples = Factor(program.batch, examples=True)
    draft = Draft(examples=examples)
    start, order = _input(program, examples)
    draft.pieces[INPUT] = Piece(name=INPUT, layer=Dropout(rate=0.0), inputs=(), weights={}, shape=sizes_of(start.held))
    values: dict[str, Any] = {program.input: start}
    used = _needed(program)
    for call in program.calls:
        if call.name in used:
            values[call.name] = _carried(draft, call, values)
    found, ending = values[program.output], ""
    place = f"the output {program.output!r}"
    if isinstance(found, Ended):
        ending = found.function
        if found.axis != len(found.value.axes) - 1:
            raise UsageError(CannotCarryError("softmax", "over another axis than the last").line(place))
        found = found.value
    elif isinstance(found, Value) and isinstance(draft.pieces[found.node].layer, Sigmoid):
        ending, found = "sigmoid", replace(found, node=draft.pieces[found.node].inputs[0])
    if ending:
        draft.place = found.node
        draft.note("left out", f"{ending} at the end: what is imported gives logits")
    if not isinstance(found, Value) or found.node == INPUT:
        raise UsageError(CannotCarryError(getattr(found, "refusal", "standstill")).line(place))
    if found.axes[0] != (examples,):
        raise UsageError(CannotCarryError("batch").line(place))
    try:
        found = draft.laid_out(found, tuple(axis for axis in found.axes[1:] if axis) or ((),))
    except CannotCarryError as error:
        raise UsageError(error.line(place)) from None
    return _finished(draft, found, order, ending, norms)


def _finished(draft: Draft, found: Value, order: tuple[int, ...], ending: str, norms: Norms) -> Carried:
    pieces = folded(draft, found.node, norms)
    nodes = tuple(Node(name=one.name, layer=one.layer, inputs=one.inputs) for one in pieces)  # type: ignore[arg-type]
    weights = {
        f"{one.name}.{part}": np.array(array, np.float32, order="C")
        for one in pieces
        for part, array in one.weights.items()
    }
    assert not any(isinstance(one.layer, ChannelAffine) for one in pieces)
    return Carried(
        architecture=Architecture(layers=nodes),
        weights=weights,
        input_shape=draft.shape(INPUT),
        order=order,
        ending=ending,
        notes=tuple(draft.notes),
    )


def _carried(draft: Draft, call: Call, values: Mapping[str, Any]) -> Any:
    origins = [one.origin for one in call.arguments.values() if isinstance(one, Constant) and one.origin]
    draft.place = _name(next((one for one in origins if not one.endswith("bias")), "")) if origins else ""
    draft.place = draft.place or ".".join(part for part in (call.place, call.operator) if part)
    try:
        if call.operator not in OPERATORS:
            raise CannotCarryError("operator", call.operator)
        try:
            return OPERATORS[call.operator](draft, Arguments(_resolved(call.arguments, values)))
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            told = f"{type(error).__name__}: {error}".splitlines()[0][:120]  # an argument of another kind than it takes
            raise CannotCarryError("arguments", told) from error
    except CannotCarryError as error:
        where = f" in {call.place!r}" if call.place else ""
        raise UsageError(error.line(f"{call.name!r} ({call.operator}{where})")) from None


def _name(origin: str) -> str:
    """Name of the layer that a weight belongs to: ``conv1`` of ``conv1.weight``, ``attn.in_proj`` of its own name."""
    layer, _, part = origin.rpartition(".")
    own = part.removesuffix("weight").removesuffix("_")
    return ".".join(name for name in (layer, own) if name)


def _resolved(found: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(found, Ref):
        return values[found.name]
    if isinstance(found, Mapping):
        return {name: _resolved(one, values) for name, one in found.items()}
    if isinstance(found, list | tuple):
        return [_resolved(one, values) for one in found]
    return found


def references(found: Any) -> list[str]:
    """Names that arguments refer to."""
    if isinstance(found, Ref):
        return [found.name]
    if isinstance(found, Mapping):
        return [name for one in found.values() for name in references(one)]
    if isinstance(found, list | tuple):
        return [name for one in found for name in references(one)]
    return []


def _needed(program: Program) -> set[str]:
    needed = {program.output}
    for call in reversed(program.calls):
        if call.name in needed:
            needed.update(references(call.arguments))
    return needed


def _input(program: Program, examples: Factor) -> tuple[Value, tuple[int, ...]]:
    """Give the input: as it comes, or channels last where a layer of images or sequences takes it channels first."""
    axes: Axes = ((examples,), *(new_axis(size) for size in program.input_shape[1:]))
    places = len(axes) - 2
    order = tuple(range(len(axes)))
    if places in (1, 2) and _channels_first(program, places):
        order = (0, *range(2, len(axes)), 1)
    held = tuple(axes[number] for number in order[1:])
    return Value(node=INPUT, held=held, axes=axes), order


def _channels_first(program: Program, places: int) -> bool:
    """Whether the first call that says so takes the input channels first; images are so unless they are reordered."""
    seen = {program.input}
    for call in program.calls:
        if not seen.intersection(references(call.arguments)):
            continue
        if call.operator in FIRST:
            return True
        if call.operator in ("permute", "transpose", "linear", "gru", "lstm", "embedding", "layer_norm"):
            return False
        seen.add(call.name)
    return places == 2
