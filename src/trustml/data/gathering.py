"""Arrays of examples that may be larger than memory: made in a file without a name, and filled some rows at a time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from trustml.data.dataset import Floats, Ints
from trustml.errors import DataError

_NUMBERS_AT_ONCE = 2**22


def scratch(shape: tuple[int, ...]) -> Floats:
    """Make room for an array, in a file without a name where it would take more than a quarter of the free memory."""
    size = 4 * math.prod(shape)
    if size <= _most_in_memory():
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:  # whose pages stay while they are mapped
        return np.memmap(file, np.float32, "w+", shape=shape)


def _most_in_memory() -> int:
    return int(psutil.virtual_memory().available // 4)


def gathered(parts: Sequence[npt.NDArray[Any]], rows: Ints, *, divisor: float = 1.0, where: str) -> Floats:
    """Pick examples from arrays that follow each other, as float32; no more than some are in memory twice.

    Parameters
    ----------
    parts : sequence of array of shape (n, *x)
    rows : int64 array
        Places among the examples of all parts.
    divisor : float
    where : str
        File, for errors.

    Raises
    ------
    DataError
        If a number is missing, infinite or beyond float32.
    """
    found = scratch((len(rows), *parts[0].shape[1:]))
    begin = np.cumsum([0, *map(len, parts)])
    step = max(1, _NUMBERS_AT_ONCE // max(1, math.prod(parts[0].shape[1:])))
    for start in range(0, len(rows), step):
        some, out = rows[start : start + step], found[start : start + step]
        for number, part in enumerate(parts):
            chosen = np.flatnonzero((begin[number] <= some) & (some < begin[number + 1]))
            with np.errstate(over="ignore"):
                out[chosen] = part[some[chosen] - begin[number]]
        if divisor != 1.0:
            out /= np.float32(divisor)
        broken = np.flatnonzero(~np.isfinite(out.reshape(len(out), -1)).all(axis=1))
        if len(broken):
            raise DataError(
                f"{where}: example {some[broken[0]]} holds missing or infinite numbers, or some beyond float32; fix it"
            )
    return found
