"""Which function carries which operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from trustml.importing.axes import Value
from trustml.importing.draft import Draft
from trustml.importing.program import Array, Constant
from trustml.importing.refusals import CannotCarryError

_LARGEST_LIMIT = 1e3
"""Of a clamp: a sum with more loses what the proof asks for."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of a call, with what earlier calls gave.

    Attributes
    ----------
    found : mapping of str to object
    """

    found: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Give one argument; None where it was left out and has no default."""
        return self.found.get(self._known(name))

    def value(self, name: str) -> Value:
        """Give an argument that follows from the input."""
        found = self[name]
        if not isinstance(found, Value):
            raise CannotCarryError(getattr(found, "refusal", "operator"), f"{name} is {type(found).__name__}")
        return found

    def weight(self, name: str) -> Constant | None:
        """Give an argument that follows from no input, or None."""
        found = self[name]
        if found is not None and not isinstance(found, Constant):
            raise CannotCarryError("kernel", name)
        return found

    def array(self, name: str, size: int, otherwise: float) -> Array:
        """Give a vector of weights, or one of a constant where it was left out."""
        found = self.weight(name)
        return np.full(size, otherwise, np.float32) if found is None else found.array.reshape(-1)

    def _known(self, name: str) -> str:
        """Operators call what they take first ``self`` or ``input``, whatever they do."""
        other = {"self": "input", "input": "self"}.get(name, name)
        return other if name not in self.found and other in self.found else name

    def whole(self, name: str, count: int) -> Any:
        """Give one number for each axis; one number speaks of all, and an empty list of the size."""
        found = self[name]
        if isinstance(found, int):
            return (found,) * count
        numbers = tuple(int(one) for one in found or ())
        return numbers * count if len(numbers) == 1 else numbers


Carried: TypeAlias = Any
"""A :class:`Value`, a :class:`Constant`, or a value that only certain operators understand."""
Carry: TypeAlias = Callable[[Draft, Arguments], Carried]


def axis_of(value: Value, number: int) -> int:
    """Place of an axis that may be counted from the end."""
    return number % len(value.axes)


def axes_of(value: Value, numbers: Sequence[int] | int | None) -> tuple[int, ...]:
    """Places of axes, in order; all of them where none are named."""
    if numbers is None or numbers == []:
        return tuple(range(len(value.axes)))
    listed = [numbers] if isinstance(numbers, int) else numbers
    return tuple(sorted(axis_of(value, number) for number in listed))


def limit_of(found: Any, *, low: bool) -> float | None:
    """Give the lower or the upper limit of a clamp as a number; None where it cuts nothing off."""
    if isinstance(found, Constant) and found.array.size == 1:
        found = float(found.array.reshape(-1)[0])
    if found is None or found == (-math.inf if low else math.inf):
        return None
    if not isinstance(found, int | float) or not abs(found) <= _LARGEST_LIMIT:
        raise CannotCarryError("limits", f"{found:g}" if isinstance(found, int | float) else "many, or from the input")
    return float(found)
