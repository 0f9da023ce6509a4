"""A network while it is carried over: nodes with their weights, and what was done to get them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from trustml.importing.axes import Axes, Axis, Factor, Value, flat, new_axis, runs, sizes_of
from trustml.importing.program import Array
from trustml.importing.refusals import CannotCarryError
from trustml.models.layers import (
    INPUT,
    Add,
    Flatten,
    Layer,
    LayerSpec,
    Multiply,
    Scale,
    Transpose,
)
from trustml.models.shapes import layer_output
from trustml.models.token_layers import Reshape

Kind: TypeAlias = Literal["folded", "replaced", "written out", "left out", "copied"]
_LONGEST = 64


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that is not in the import as it was in the original.

    Attributes
    ----------
    kind : {"folded", "replaced", "written out", "left out", "copied"}
        *folded* into the weights of another node; *replaced* by a layer that does something else, on request; *written
        out* as several layers that do the same together; *left out* as it does nothing to a trained network, or stands
        at the end; *copied*, where the original uses one weight twice and the import has two.
    node : str
    what : str
    """

    kind: Kind
    node: str
    what: str


class ChannelAffine(LayerSpec, frozen=True, kw_only=True, tag="ChannelAffine"):
    """Multiply each channel by a number and add another: folded, or written out, before anybody sees it.

    Attributes
    ----------
    norm : bool
        Whether it is a BatchNorm, which may be replaced.
    epsilon : float
    """

    norm: bool = False
    epsilon: float = 1e-5


@dataclass(kw_only=True)
class Piece:
    """One node, its weights and the shape of what it gives."""

    name: str
    layer: Layer | ChannelAffine
    inputs: tuple[str, ...]
    weights: dict[str, Array]
    shape: tuple[int, ...]


@dataclass(kw_only=True)
class Draft:
    """What has been carried so far.

    Attributes
    ----------
    examples : Factor
        The axis of examples.
    pieces : dict of str to Piece
        In an order in which they can be computed.
    notes : list of Note
    place : str
        Name for what is made now.
    taken : set of str
        Origins of weights that a node has.
    tables : dict of str to str
        Embedding by the origin of its table.
    """

    examples: Factor
    pieces: dict[str, Piece] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    place: str = ""
    taken: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)

    def note(self, kind: Kind, what: str) -> None:
        """Remember what was done to get the present node."""
        self.notes.append(Note(kind=kind, node=self.place, what=what))

    def shape(self, node: str) -> tuple[int, ...]:
        """Shape of one example after a node."""
        return self.pieces[node].shape

    def add(
        self,
        layer: Layer | ChannelAffine,
        inputs: Sequence[str],
        weights: dict[str, Array] | None = None,
        name: str = "",
    ) -> str:
        """Add a node and give its name."""
        shapes = [self.shape(one) for one in inputs]
        found = shapes[0] if isinstance(layer, ChannelAffine) else layer_output(layer, shapes, field="model")
        unique = self._unique(name or self.place)
        own = {part: np.asarray(array, np.float32) for part, array in (weights or {}).items()}
        self.pieces[unique] = Piece(name=unique, layer=layer, inputs=tuple(inputs), weights=own, shape=found)
        return unique

    def same(self, layer: Layer, value: Value, weights: dict[str, Array] | None = None) -> Value:
        """Add a node that gives the shape that it takes."""
        return Value(node=self.add(layer, (value.node,), weights), held=value.held, axes=value.axes)

    def changed(
        self, layer: Layer, values: Sequence[Value], weights: dict[str, Array] | None = None
    ) -> tuple[str, Axes]:
        """Add a node that gives axes of its own."""
        node = self.add(layer, [value.node for value in values], weights)
        return node, tuple(new_axis(size) for size in self.shape(node))

    def affine(self, value: Value, scale: Array | float, shift: Array | float, *, norm: float | None = None) -> Value:
        """Multiply channels and add to them; `norm` is the epsilon where it is a BatchNorm."""
        if norm is None and np.ndim(scale) == 0 and not np.any(shift):
            return value if float(scale) == 1 else self.same(Scale(value=self._factor(float(scale))), value)
        layer = ChannelAffine() if norm is None else ChannelAffine(norm=True, epsilon=norm)
        channels = self.shape(value.node)[-1]
        weights = {part: np.broadcast_to(array, (channels,)) for part, array in (("scale", scale), ("shift", shift))}
        return Value(node=self.add(layer, (value.node,), weights), held=value.held, axes=value.axes)

    def sum(self, first: Value, second: Value) -> Value:
        """Add two values of one layout."""
        return Value(node=self.add(Add(), (first.node, second.node)), held=first.held, axes=first.axes)

    def product(self, first: Value, second: Value) -> Value:
        """Multiply two values of one layout."""
        return Value(node=self.add(Multiply(), (first.node, second.node)), held=first.held, axes=first.axes)

    def laid_out(self, value: Value, layout: Axes) -> Value:
        """Hold a value in another layout of the same factors, by nodes that reorder it where that is needed."""
        if value.held == layout:
            return value
        current, wanted, held, node = flat(value.held), flat(layout), value.held, value.node
        if current != wanted:
            parts = list(held) if _moves_whole(held, wanted) else runs(current, wanted)
            if len(parts) > 3:
                raise CannotCarryError("order", f"{len(parts)} groups of axes")
            node = self._reshaped(node, sizes_of(tuple(parts)))
            order = sorted(range(len(parts)), key=lambda number: wanted.index(parts[number][0]))
            node = self.add(Transpose(axes=tuple(order)), (node,), name=f"{value.node}.order")
        node = self._reshaped(node, sizes_of(layout))
        return Value(node=node, held=layout, axes=value.axes)

    def last_axis(self, value: Value) -> Value:
        """Hold a value so that its last axis is that of the original, whatever comes before it."""
        last = value.axes[-1]
        if self.examples in last:
            raise CannotCarryError("batch")
        if value.held[-1] == last:
            return value
        rest = tuple(factor for factor in flat(value.held) if factor not in last)
        return self.laid_out(value, (*((rest,) if rest else ()), last))

    def places_then_channels(self, value: Value, places: int) -> Value:
        """Hold (examples, channels, places...) as an image or a sequence."""
        if len(value.axes) != places + 2:
            raise CannotCarryError("axes", f"shape {value.shape}")
        if value.axes[0] != (self.examples,):
            raise CannotCarryError("batch")
        return self.laid_out(value, (*value.axes[2:], value.axes[1]))

    def factors_are_whole(self, axes: Iterable[Axis]) -> None:
        """Refuse what reaches across examples."""
        if any(self.examples in axis for axis in axes):
            raise CannotCarryError("batch")

    def _reshaped(self, node: str, shape: tuple[int, ...]) -> str:
        if self.shape(node) == shape:
            return node
        if len(shape) > 3:
            raise CannotCarryError("order", f"{len(shape)} axes")
        layer = Flatten() if len(shape) == 1 else Reshape(shape=shape)
        return self.add(layer, (node,), name=f"{node}.shape")

    def _unique(self, name: str) -> str:
        clean = ".".join(part for part in re.sub(r"[^A-Za-z0-9_.-]+", "_", name).split(".") if part)
        if len(clean) > _LONGEST:
            clean = clean[-_LONGEST:].lstrip(".")
        if not clean or clean.isdigit() or clean == INPUT:
            clean = f"layer{clean}" if clean.isdigit() else "node"
        found, number = clean, 1
        while found in self.pieces:
            number += 1
            found = f"{clean}_{number}"
        return found

    @staticmethod
    def _factor(value: float) -> float:
        if value == 0 or not np.isfinite(value):
            raise CannotCarryError("nothing", f"{value}")
        return value


def _moves_whole(held: Axes, wanted: Axis) -> bool:
    """Whether the axes as they are need only be put in another order."""
    if not 1 < len(held) <= 3 or not all(held):
        return False
    places = [[wanted.index(factor) for factor in axis] for axis in held]
    return all(found == list(range(found[0], found[0] + len(found))) for found in places)
