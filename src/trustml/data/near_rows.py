"""Which examples are among others, though their numbers were scaled, rounded or written otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.copies import digests
from trustml.data.dataset import Floats

_STEP = 1 / 256
"""Of the range of images: less than a step of 8 bits, so that two that are this near look the same."""
_ROUNDING = 1e-6
"""Of the range of a column: what scaling in another order, or by the reciprocal, makes of a float32."""
_ULPS = 4 * float(np.finfo(np.float32).eps)
_WRITTEN = 2.0**-22
"""Of a number: how far its float32 may be from the decimals that were written."""
_MOST_DIGITS, _SAMPLE = 6, 4096
_FEW, _SURELY, _FEWEST_STEPS = 5, 4, 20
"""So many rounded examples, and so many times as many as by chance, are the same ones; a column of fewer steps is none
to tell by."""
_ENDS, _WIDER = (0.1, 0.5, 0.9), 4
"""Where a column begins, lies and ends; so many times as wide, it is in another unit."""
_BLOCKS = 16
_VALUES = 1 << 20
"""Values that are held at once."""
_Doubles = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int_]


def found_again(given: Floats, stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say which given examples are among those stored, and which may be: one of the two was then rounded.

    Several that differ by rounding are the same ones where hardly any would be as near by chance.

    Parameters
    ----------
    given : array of shape (n, *x)
    stored : array
        Of another shape, none is.

    Returns
    -------
    same, near : bool arrays of shape (n,)
        Near are those, too, that are the same.
    """
    same = np.zeros(len(given), np.bool_)
    if given.shape[1:] != stored.shape[1:] or not len(given) or not len(stored):
        return same, same
    same |= np.isin(digests(given, like=stored), digests(stored, like=given))
    near, others = same.copy(), np.flatnonzero(~same)
    if not len(others):
        return same, near
    apart = roundings(given, stored)
    apart = apart[others] if apart.ndim == 2 else apart
    near[others] = are_among(given[others], stored, apart)
    alike = np.flatnonzero(near & ~same)
    if len(alike):
        same[alike] = are_among(given[alike], stored, tolerances(stored))
    rounded = near & ~same
    if rounded.sum() >= _FEW and rounded.sum() > _SURELY * _by_chance(given[others], stored, apart):
        same |= rounded
    return same, near


def _by_chance(given: Floats, stored: npt.NDArray[Any], apart: Floats) -> int:
    """Count examples that are as near when every number that was rounded is three steps from where it was.

    Columns of few steps stay as they are: what is no further than they reach tells nobody apart.
    """
    values = given.reshape(len(given), -1)
    low, high = (np.asarray(end).ravel() for end in (stored.min(axis=0), stored.max(axis=0)))
    moved = (apart > tolerances(stored)) & (apart * _FEWEST_STEPS <= high - low)
    elsewhere = np.where(values + 3 * apart > high, values - 3 * apart, values + 3 * apart)
    return int(are_among(np.where(moved, elsewhere, values).astype(np.float32), stored, apart).sum())


def tolerances(stored: npt.NDArray[Any]) -> Floats:
    """How far values of two copies of an example may be apart, by feature.

    Parameters
    ----------
    stored : array
        Examples of a run. Of images (three axes an example) all values share one range, else every column has its own.
    """
    low, high = (np.asarray(end, np.float64).ravel() for end in (stored.min(axis=0), stored.max(axis=0)))
    rounded = _ULPS * np.maximum(np.abs(low), np.abs(high))
    reach = np.full_like(low, _STEP * (high.max() - low.min())) if stored.ndim == 4 else _ROUNDING * (high - low)
    apart: Floats = (reach + rounded).astype(np.float32)
    return apart


def roundings(given: Floats, stored: npt.NDArray[Any]) -> Floats:
    """How far they may be apart where either was written with fewer decimals, or fewer digits, than the other.

    Returns
    -------
    float32 array of shape (features,) or (n, features)
        By given example where a column was cut to so many digits, as that is more of a larger number.
    """
    apart = tolerances(stored)
    if stored.ndim == 4:
        return apart
    (ours, our_digits), (theirs, their_digits) = (_written(values) for values in (given, stored))
    # on one grid they are the same or a step apart; what was cut off to a coarser one was less than a step of it
    cut = np.where(ours == theirs, ours / 2, np.maximum(ours, theirs) * (1 - 1e-4))
    apart = np.maximum(apart, cut).astype(np.float32)
    digits = np.where(our_digits == their_digits, np.inf, np.minimum(our_digits, their_digits))
    if not np.isfinite(digits).any():
        return apart
    by_row = np.broadcast_to(apart, (len(given), len(apart))).copy()
    for column in np.flatnonzero(np.isfinite(digits)):
        values = np.abs(given.reshape(len(given), -1)[:, column].astype(np.float64))
        steps = 10.0 ** (_exponents(values) - digits[column] + 1)
        by_row[:, column] = np.maximum(by_row[:, column], np.where(values > 0, steps, 0))
    return by_row


def _written(examples: npt.NDArray[Any]) -> tuple[_Doubles, _Doubles]:
    """Step of the decimals that the numbers of each column have, 0 for all of them; and to how many digits they are.

    The digits are infinite where no number has more of them than the steps alone would leave it.
    """
    some = examples[:: max(1, len(examples) // _SAMPLE)]
    values = np.abs(np.asarray(some, np.float64).reshape(len(some), -1))
    largest, noise = values.max(axis=0), _WRITTEN * values
    step, digits = np.zeros(values.shape[1]), np.full(values.shape[1], np.inf)
    leading = values / 10.0 ** _exponents(values)
    for places in range(_MOST_DIGITS, -_MOST_DIGITS, -1):  # the coarsest that fits is the last one set
        grid = 10.0**-places
        fits = (np.abs(values - np.round(values, places)) <= noise).all(axis=0)
        step[fits & (largest >= grid) & (4 * _WRITTEN * largest < grid)] = grid
    for places in range(_MOST_DIGITS, 0, -1):
        fits = (np.abs(leading - np.round(leading, places - 1)) <= _WRITTEN * leading).all(axis=0)
        digits[fits] = places
    on_grid = np.where(step > 0, largest / np.where(step > 0, step, 1.0), np.inf)
    digits[on_grid < 10.0**digits * (1 - 1e-6)] = np.inf
    return step, digits


def _exponents(values: _Doubles) -> _Doubles:
    found: _Doubles = np.floor(np.log10(np.where(values > 0, values, 1.0)) + 1e-7)
    return found


def in_one_unit(given: Floats, stored: npt.NDArray[Any]) -> bool:
    """Whether every column, or channel, is about as wide in both, and lies about there: else its unit may differ."""
    ends = []
    for examples in (given, stored):
        some = np.asarray(examples[:: max(1, len(examples) // _SAMPLE)], np.float64)
        ends.append(np.quantile(some.reshape(-1, some.shape[-1]), _ENDS, axis=0))
    (low, middle, high), (other_low, other_middle, other_high) = ends
    ours, theirs = high - low, other_high - other_low
    wider, narrower = np.maximum(ours, theirs), np.minimum(ours, theirs)
    alike = (narrower == 0) | (wider <= _WIDER * narrower)
    near = (wider == 0) | (np.abs(middle - other_middle) <= _WIDER * wider)
    return bool((alike & near).all())


def are_among(given: Floats, stored: npt.NDArray[Any], apart: Floats) -> npt.NDArray[np.bool_]:
    """Say which given examples are near one of those stored in every value, reading these in pieces.

    Parameters
    ----------
    given : array
    stored : array
        May be a file that is mapped: a piece at a time is held.
    apart : array of shape (features,) or (n, features)
        See :func:`tolerances`.
    """
    given = given.reshape(len(given), -1)
    # What is near in every value is so in the mean of any of them, here in units of what is allowed: few pairs remain.
    edges = np.unique(np.linspace(0, given.shape[1], _BLOCKS, endpoint=False).astype(int))
    widest = np.atleast_2d(apart).max(axis=0).astype(np.float64)
    scale = 1 / np.where(widest > 0, widest, 1.0)
    keys = _means(given, edges, scale)
    allowed = np.broadcast_to(_means(np.atleast_2d(apart), edges, scale) * (1 + 1e-6), keys.shape)
    telling = np.argsort(-keys.std(axis=0) / (allowed.mean(axis=0) + 1e-300))  # those that rule most out come first
    keys, allowed = keys[:, telling], allowed[:, telling]
    found = np.zeros(len(given), np.bool_)
    rows = max(1, _VALUES // (2 * given.shape[1]))
    for start in range(0, len(stored), rows):
        piece = np.asarray(stored[start : start + rows], np.float32).reshape(-1, given.shape[1])
        others = _means(piece, edges, scale)[:, telling]
        for ones, twos in _pairs(keys, others, allowed, most=max(1, _VALUES // given.shape[1])):
            near = (np.abs(given[ones] - piece[twos]) <= (apart if apart.ndim == 1 else apart[ones])).all(axis=1)
            found[ones[near]] = True
    return found


def _means(examples: Floats, edges: _Places, scale: _Doubles) -> _Doubles:
    """Mean of every block of features, scaled."""
    sizes = np.diff(np.append(edges, examples.shape[1]))
    found = np.empty((len(examples), len(edges)))
    rows = max(1, _VALUES // (4 * examples.shape[1]))
    for start in range(0, len(examples), rows):
        found[start : start + rows] = np.add.reduceat(examples[start : start + rows] * scale, edges, axis=1) / sizes
    return found


def _pairs(keys: _Doubles, others: _Doubles, allowed: _Doubles, *, most: int) -> Iterator[tuple[_Places, _Places]]:
    """Pairs of which every mean is near, so many at once."""
    order = np.argsort(others[:, 0])
    line = others[order, 0]
    first = np.searchsorted(line, keys[:, 0] - allowed[:, 0], "left")
    counts = np.searchsorted(line, keys[:, 0] + allowed[:, 0], "right") - first
    ends = np.cumsum(counts)
    start = 0
    while start < len(keys):
        before = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _VALUES, "right")))
        left = np.repeat(np.arange(start, stop), counts[start:stop])
        shift = np.repeat(first[start:stop] - (ends[start:stop] - counts[start:stop] - before), counts[start:stop])
        right = order[np.arange(len(left)) + shift]
        for block in range(1, keys.shape[1]):
            near = np.abs(keys[left, block] - others[right, block]) <= allowed[left, block]
            left, right = left[near], right[near]
        for at in range(0, len(left), most):
            yield left[at : at + most], right[at : at + most]
        start = stop
