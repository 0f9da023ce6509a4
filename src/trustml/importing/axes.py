"""Which axes of the original's values are which of ours.

The original's arrays have an axis of examples and, for images, channels first; ours have channels last and no axis of
examples. Both are made of the same *factors*: an axis of heads times channels has two. To reorder, split and merge axes
of the original costs nothing until an operator needs them in another order than ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from trustml.importing.refusals import CannotCarryError


@dataclass(frozen=True, eq=False)
class Factor:
    """A factor of the size of an axis; two of one size are not the same."""

    size: int
    examples: bool = False


Axis: TypeAlias = tuple[Factor, ...]
"""Factors whose product is the size, the slowest first; empty for an axis of one place."""
Axes: TypeAlias = tuple[Axis, ...]


def new_axis(size: int) -> Axis:
    """Give an axis of a factor of its own."""
    return (Factor(size),) if size > 1 else ()


def size_of(axis: Axis) -> int:
    """Places along an axis."""
    return math.prod(factor.size for factor in axis)


def sizes_of(axes: Axes) -> tuple[int, ...]:
    """Places along each axis."""
    return tuple(size_of(axis) for axis in axes)


def flat(axes: Axes) -> Axis:
    """All factors, in order."""
    return tuple(factor for axis in axes for factor in axis)


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a node gives, and how the original sees it.

    Attributes
    ----------
    node : str
    held : tuple of Axis
        Axes of the node's output, without that of examples.
    axes : tuple of Axis
        Axes of the original's array, of the same factors and that of examples.
    """

    node: str
    held: Axes
    axes: Axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the original's array."""
        return sizes_of(self.axes)

    def split(self, factor: Factor, sizes: Sequence[int]) -> Value:
        """Split one factor into several, the slowest first."""
        if factor.examples:
            raise CannotCarryError("batch")
        parts = tuple(Factor(size) for size in sizes if size > 1)

        def within(axes: Axes) -> Axes:
            return tuple(tuple(p for f in axis for p in (parts if f is factor else (f,))) for axis in axes)

        return replace(self, held=within(self.held), axes=within(self.axes))

    def permuted(self, order: Sequence[int]) -> Value:
        """Axes of the original in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def viewed(self, shape: Sequence[int]) -> Value:
        """Give the same numbers in the original's order, seen in another shape.

        Raises
        ------
        CannotCarryError
            If a new axis begins or ends within the axis of examples, or within one that has no such divisor.
        """
        value, position, axes = self, 0, []
        for size in shape:
            taken: list[Factor] = []
            while (found := size_of(tuple(taken))) < size:
                factor, rest = flat(value.axes)[position], size // found
                if size % found or (rest < factor.size and factor.size % rest) or rest % min(rest, factor.size):
                    raise CannotCarryError("view", f"{value.shape} seen as {tuple(shape)}")
                if rest < factor.size:
                    value = value.split(factor, (rest, factor.size // rest))
                    factor = flat(value.axes)[position]
                taken.append(factor)
                position += 1
            axes.append(tuple(taken))
        return replace(value, axes=tuple(axes))


def matched(first: Value, second: Value) -> tuple[Value, Value]:
    """Give two values of one shape whose axes have factors of the same sizes.

    Raises
    ------
    CannotCarryError
        If the axis of examples of one lies elsewhere in the other.
    """
    place = 0
    while place < len(flat(first.axes)):
        one, other = flat(first.axes)[place], flat(second.axes)[place]
        if one.examples != other.examples:
            raise CannotCarryError("batch")
        small, large = sorted((one.size, other.size))
        if large % small:
            raise CannotCarryError("view", f"factors of {one.size} and of {other.size} side by side")
        if one.size > other.size:
            first = first.split(one, (small, large // small))
        elif other.size > one.size:
            second = second.split(other, (small, large // small))
        place += 1
    return first, second


def layout_of(value: Value, like: Value) -> Axes:
    """Axes as `like` is held, in the factors of `value`; both have been matched."""
    same = dict(zip(flat(like.axes), flat(value.axes), strict=True))
    return tuple(tuple(same[factor] for factor in axis) for axis in like.held)


def runs(held: Axis, wanted: Axis) -> list[Axis]:
    """Factors that stay together from one order to another, in the first one."""
    place = {factor: number for number, factor in enumerate(wanted)}
    found: list[list[Factor]] = []
    for factor in held:
        if found and place[factor] == place[found[-1][-1]] + 1:
            found[-1].append(factor)
        else:
            found.append([factor])
    return [tuple(run) for run in found]
