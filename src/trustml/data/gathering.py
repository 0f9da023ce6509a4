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


def require_finite(inputs: npt.NDArray[Any], where: str) -> None:
    """Refuse missing and infinite numbers; looks at some rows at a time.

    Raises
    ------
    DataError
    """
    if inputs.dtype.kind != "f":
        return
    step = _rows_at_once(inputs)
    parts = (inputs[start : start + step] for start in range(0, len(inputs), step))
    broken = np.flatnonzero(~np.concatenate([np.isfinite(part.reshape(len(part), -1)).all(axis=1) for part in parts]))
    if len(broken):
        raise DataError(
            f"{where}: {len(broken)} examples hold missing or infinite numbers, the first at row {broken[0]}; "
            "fill or remove them"
        )


def gathered(parts: Sequence[npt.NDArray[Any]], rows: Ints, *, divisor: float = 1.0, where: str) -> Floats:
    """Pick examples from arrays that follow each other, as float32; no more than some are in memory twice.

    Parameters
    ----------
    parts : sequence of array of shape (n, *x)
        Of finite numbers.
    rows : int64 array
        Places among the examples of all parts.
    divisor : float
    where : str
        File, for errors.

    Raises
    ------
    DataError
        If a number is beyond float32.
    """
    found = scratch((len(rows), *parts[0].shape[1:]))
    begin = np.cumsum([0, *map(len, parts)])
    step = _rows_at_once(parts[0])
    for start in range(0, len(rows), step):
        some, out = rows[start : start + step], found[start : start + step]
        for number, part in enumerate(parts):
            chosen = np.flatnonzero((begin[number] <= some) & (some < begin[number + 1]))
            taken = part[some[chosen] - begin[number]]
            with np.errstate(over="ignore"):
                out[chosen] = taken
            refuse_beyond(taken, out[chosen], some[chosen], where)
        if divisor != 1.0:
            out /= np.float32(divisor)
    return found


def refuse_beyond(inputs: npt.NDArray[Any], cast: Floats, rows: Ints, where: str) -> None:
    """Refuse finite numbers that became infinite in float32.

    Raises
    ------
    DataError
    """
    beyond = np.argwhere(np.isinf(cast))
    if len(beyond):
        raise DataError(
            f"{where}: {inputs[tuple(beyond[0])]:g} at row {rows[beyond[0][0]]} is beyond the numbers that networks "
            f"compute with ({np.finfo(np.float32).max:.2g}); scale that column"
        )


def _rows_at_once(inputs: npt.NDArray[Any]) -> int:
    return max(1, _NUMBERS_AT_ONCE // max(1, math.prod(inputs.shape[1:])))
