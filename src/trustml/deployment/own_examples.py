"""Whether a file of examples that is said to be public holds some of a run's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats

_STEP = 1 / 256
"""Of the range of images: less than a step of 8 bits, so that two that are this near look the same."""
_ROUNDING = 1e-6
"""Of the range of a column: what scaling in another order, or by the reciprocal, makes of a float32."""
_ULPS = 4 * float(np.finfo(np.float32).eps)
_BLOCKS = 16
_VALUES = 1 << 20
"""Values that are held at once."""


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


def are_among(given: Floats, stored: npt.NDArray[Any], apart: Floats) -> npt.NDArray[np.bool_]:
    """Say which given examples are near one of those stored in every value, reading these in pieces.

    Parameters
    ----------
    given : array
    stored : array
        May be a file that is mapped: a piece at a time is held.
    apart : array
        See :func:`tolerances`.
    """
    given = given.reshape(len(given), -1)
    # What is near in every value is so in the mean of any of them: few pairs remain to be compared in full.
    edges = np.unique(np.linspace(0, given.shape[1], _BLOCKS, endpoint=False).astype(int))
    keys, allowed = _means(given, edges), _means(apart[None], edges)[0] * (1 + 1e-6)
    found = np.zeros(len(given), np.bool_)
    rows = max(1, _VALUES // max(given.shape))
    for start in range(0, len(stored), rows):
        piece = np.asarray(stored[start : start + rows], np.float32).reshape(-1, given.shape[1])
        for ones, others in _pairs(keys, _means(piece, edges), allowed, most=max(1, _VALUES // given.shape[1])):
            near = (np.abs(given[ones] - piece[others]) <= apart).all(axis=1)
            found[ones[near]] = True
    return found


def _means(examples: Floats, edges: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    """Mean of every block of features."""
    sizes = np.diff(np.append(edges, examples.shape[1]))
    means: npt.NDArray[np.float64] = np.add.reduceat(examples, edges, axis=1, dtype=np.float64) / sizes
    return means


def _pairs(
    keys: npt.NDArray[np.float64], others: npt.NDArray[np.float64], allowed: npt.NDArray[np.float64], *, most: int
) -> Iterator[tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]]:
    """Pairs of which every mean is near, so many at once."""
    left, right = np.nonzero(np.abs(keys[:, None, 0] - others[None, :, 0]) <= allowed[0])
    for block in range(1, len(allowed)):
        near = np.abs(keys[left, block] - others[right, block]) <= allowed[block]
        left, right = left[near], right[near]
    for start in range(0, len(left), most):
        yield left[start : start + most], right[start : start + most]
