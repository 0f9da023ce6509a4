"""Writes calls for a traced JAX function, and knows what each value was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from trustml.importing.calls import Writer
from trustml.importing.program import Array, Constant, Ref

Operand: TypeAlias = Ref | Constant
Shape: TypeAlias = tuple[int, ...]
_SAME_NUMBERS = ("broadcast_in_dim", "reshape", "squeeze", "stop_gradient", "copy", "copy_p", "expand_dims")


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a value was made from.

    Attributes
    ----------
    primitive : str
    given : sequence of Ref or Constant
    params : mapping of str to object
    """

    primitive: str
    given: Sequence[Operand]
    params: Mapping[str, Any]


@dataclass(kw_only=True)
class PrimitiveWriter:
    """Writes the calls of one primitive after the other.

    Attributes
    ----------
    writer : Writer
    shapes : dict of str to tuple of int
        Of every value, with the axis of examples.
    made : dict of str to Made
    place : str
        Module of what is written now.
    """

    writer: Writer
    shapes: dict[str, Shape]
    made: dict[str, Made] = field(default_factory=dict)
    place: str = ""

    def call(self, operator: str, arguments: Mapping[str, Any], shape: Shape = ()) -> Ref:
        """Write a call."""
        found = self.writer.call(operator, arguments, self.place)
        self.shapes[found.name] = shape
        return found

    def shape(self, value: Operand) -> Shape:
        """Shape of a value."""
        return value.array.shape if isinstance(value, Constant) else self.shapes[value.name]

    def from_(self, value: Any, primitive: str) -> Made | None:
        """Give what a value was made from, if that primitive made it."""
        found = self.made.get(value.name) if isinstance(value, Ref) else None
        return found if found is not None and found.primitive == primitive else None

    def through(self, value: Any) -> Any:
        """Give the value that another shows in another shape."""
        while isinstance(value, Ref) and value.name in self.made and self.made[value.name].primitive in _SAME_NUMBERS:
            value = self.made[value.name].given[0]
        return value

    def shown(self, value: Any) -> Array:
        """Give the number of the place of :meth:`through` that each place of a value shows."""
        made = self.made.get(value.name) if isinstance(value, Ref) else None
        if made is None or made.primitive not in _SAME_NUMBERS:
            return np.arange(math.prod(self.shape(value))).reshape(self.shape(value))
        places, shape = self.shown(made.given[0]), self.shape(value)
        if made.primitive != "broadcast_in_dim":
            return places.reshape(shape)
        own = dict(zip(made.params["broadcast_dimensions"], places.shape, strict=True))
        return np.broadcast_to(places.reshape([own.get(axis, 1) for axis in range(len(shape))]), shape)

    def permuted(self, value: Ref, order: Sequence[int]) -> Ref:
        """Axes in another order."""
        if list(order) == list(range(len(order))):
            return value
        shape = self.shape(value)
        return self.call("permute", {"self": value, "dims": list(order)}, tuple(shape[axis] for axis in order))


def number_of(value: Any) -> float | None:
    """Give the number that a constant holds everywhere; None for any other value."""
    if not isinstance(value, Constant) or not value.array.size or value.array.dtype.kind not in "fiu":
        return None
    first = value.array.reshape(-1)[0]
    return float(first) if (value.array == first).all() else None


Write: TypeAlias = Callable[[PrimitiveWriter, Sequence[Operand], Mapping[str, Any]], Ref]
