"""Nested Gauss rules as long as they converge fast, then cells that are divided where the gradient changes most."""

from __future__ import annotations

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.quadrature import PATTERSON_SIZES, gauss_legendre, patterson
from trustml.data.dataset import Floats

_SMALL = 0.02
"""Completeness error of 3 points below which a path is taken for smooth."""

_FAR = 10
"""Times that an error must fall from which on 4 more points at once are the cheaper way for any path."""

_FAST = 20
"""Fall of the error, from that of the rule before or from a small one, that a kinked path (it falls by about 2) will
hardly show."""


class Subdivision:
    """One example's path, by gradients alone.

    It begins with Patterson's rule of 3 points and goes on to 7, 15 and 31 while that pays: on a smooth path the
    error falls geometrically. Else, on the path of a network with kinks (ReLU, max-pooling), each point stands for a
    cell as long as its weight, and the cell across which the gradient changes most is cut into three, its point
    staying. A cell between equal gradients changes nothing: it lies within one linear piece and is never cut.
    Completeness, which is free, says when to stop.

    Parameters
    ----------
    change : float
        Target logit of the input minus that of the baseline.
    tolerance : float
        Completeness error asked for, as a share of the change.
    """

    def __init__(self, *, change: float, tolerance: float) -> None:
        self._change, self._tolerance = np.array([change]), tolerance
        self._points, self._widths, self._starts = np.zeros(0), np.zeros(0), np.zeros(0)
        self._seen: Floats = np.zeros((0, 0), np.float32)
        self._errors: list[float] = []
        self._nested = True
        self._cut = -1

    def wanted(self, left: int) -> Doubles:
        """Points in (0, 1) to look at next, at most `left`; none when the error is reached or nothing helps."""
        if not self._errors:
            first = patterson(3) if left >= 3 else gauss_legendre(max(left, 1))
            self._nested = left >= 3
            return first.points
        if self._errors[-1] <= self._tolerance:
            return np.zeros(0)
        size = self._larger(left)
        if size:
            return np.setdiff1d(patterson(size).points, self._points)
        if left < 2:
            return np.zeros(0)
        self._nested = False
        self._cut = int(np.argmax(self._doubts()))
        low, high = self._inner(self._cut)
        start = self._starts[self._cut]
        return np.array([(start + low) / 2, (high + start + self._widths[self._cut]) / 2])

    def take(self, points: Doubles, contributions: Floats) -> None:
        """Take what was seen at the wanted points: gradient times (input - baseline), shape (k, d)."""
        if not self._nested and self._errors:
            self._divide(points, contributions)
        else:
            known = np.concatenate([self._points, points])
            order = np.argsort(known)
            seen = contributions if not len(self._points) else np.concatenate([self._seen, contributions])
            self._points, self._seen = known[order], seen[order]
            rule = patterson(len(known)) if len(known) in PATTERSON_SIZES else gauss_legendre(len(known))
            self._widths = rule.weights
            self._starts = np.cumsum(rule.weights) - rule.weights
        self._errors.append(float(relative_errors(self.attributions()[None], self._change)[0]))

    def attributions(self) -> Doubles:
        """Integrated gradients from all that was seen, shape (d,)."""
        return self._widths @ self._seen

    def _larger(self, left: int) -> int:
        """Size of the nested rule to go on with; 0 if cells are the better way."""
        count, error = len(self._points), self._errors[-1]
        larger = [size for size in PATTERSON_SIZES if size > count]
        if not self._nested or not larger or larger[0] - count > left:
            return 0
        if count == PATTERSON_SIZES[0]:
            return larger[0] if error <= _SMALL or error >= _FAR * self._tolerance else 0
        return larger[0] if error * _FAST <= max(self._errors[-2], _SMALL) else 0

    def _doubts(self) -> Doubles:
        """Upper limit of what each cell may add to the error if the gradient is monotone between points."""
        changes = np.abs(np.diff(self._seen, axis=0)).sum(axis=1) / np.maximum(np.diff(self._points), 1e-12)
        slopes = np.zeros(len(self._points))
        slopes[:-1] += changes
        slopes[1:] += changes
        return slopes * self._widths**2

    def _inner(self, cell: int) -> tuple[float, float]:
        """Cell that keeps the point of a cell when it is cut: a third of it, around the point."""
        start, width, point = self._starts[cell], self._widths[cell], self._points[cell]
        return max(start + width / 12, point - width / 6), min(start + width * 11 / 12, point + width / 6)

    def _divide(self, points: Doubles, contributions: Floats) -> None:
        cell = self._cut
        low, high = self._inner(cell)
        start, end = self._starts[cell], self._starts[cell] + self._widths[cell]
        self._points = np.insert(self._points, [cell, cell + 1], points)
        self._seen = np.insert(self._seen, [cell, cell + 1], contributions, axis=0)
        at = slice(cell, cell + 1)
        self._starts = np.concatenate([self._starts[: at.start], [start, low, high], self._starts[at.stop :]])
        cut = [low - start, high - low, end - high]
        self._widths = np.concatenate([self._widths[: at.start], cut, self._widths[at.stop :]])


def relative_errors(attributions: Floats | Doubles, changes: Doubles) -> Doubles:
    """``|sum - change| / |change|`` of attributions (n, ...); 0 where the sum is the change, even if both vanish."""
    gaps = np.abs(attributions.reshape(len(attributions), -1).sum(axis=1, dtype=np.float64) - changes)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps == 0, 0.0, gaps / np.abs(changes))
