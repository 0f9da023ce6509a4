"""Examples in a table of numbers, as whoever hands them over has them."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trustml.data.separated import is_float
from trustml.errors import UsageError

_LARGEST_LABEL = 2**31 - 1
_SHOWN = 60


def examples_of_csv(
    source: Path, *, beside: Path | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read inputs and labels of a table of numbers, with a line of names above and labels in the last column.

    Parameters
    ----------
    source : Path
    beside : Path, optional
        Table of other examples for the same model: its columns must be the same.

    Raises
    ------
    UsageError
    """
    names, values = _read(source)
    if beside is not None:
        _refuse_other_columns(source, names, beside, _read(beside, rows=False)[0])
    if len(names) < 2 or not values:
        raise UsageError(f"{source.name}: needs a line of names, then rows of numbers, the label in the last column")
    table = np.frombuffer(values).reshape(-1, len(names))
    labels = table[:, -1]
    with np.errstate(over="ignore"):
        inputs = table[:, :-1].astype(np.float32)
    for row, column in np.argwhere(~np.isfinite(inputs))[:1]:
        raise UsageError(
            f"{source.name}: {names[column][:60]!r} is {table[row, column]:g} in row {row + 1}, no finite number of "
            "float32; scale the column, or leave the row out"
        )
    for row in np.flatnonzero(~((labels >= 0) & (labels <= _LARGEST_LABEL) & (labels == np.round(labels))))[:1]:
        raise UsageError(
            f"{source.name}: the label is {labels[row]:g} in row {row + 1}; the last column must hold "
            "labels, whole numbers from 0 in the order of the outputs"
        )
    return inputs, labels.astype(np.int64)


def _read(source: Path, *, rows: bool = True) -> tuple[list[str], array[float]]:
    """Names above a table, and its numbers row by row: eight bytes each, not the text of all."""
    values = array("d")
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in csv.reader(stream) if line)
            names = [name.strip() for name in next(lines, [])]
            if names and all(map(is_float, names)):
                raise UsageError(
                    f"{source.name}: its first line holds numbers alone, and would be lost as names; write a line of "
                    "names above it"
                )
            for line in lines if rows else ():
                if len(line) != len(names):
                    raise UsageError(
                        f"{source.name}: {len(names)} names stand above a row of {len(line)} values; give each column "
                        "one name, and each row one value for each"
                    )
                values.extend(map(float, line))
    except (csv.Error, ValueError) as error:
        raise UsageError(f"{source.name}: is no table of numbers in UTF-8 ({str(error)[:80]}); give .npz") from None
    return names, values


def _refuse_other_columns(source: Path, names: Sequence[str], beside: Path, others: Sequence[str]) -> None:
    """Refuse a table whose values would go into other inputs than those of the same name."""
    if list(names) == list(others):
        return
    told = "in another order" if sorted(names) == sorted(others) else "others"
    raise UsageError(
        f"{source.name}: its columns ({_listed(names)}) are {told} than those of {beside.name} ({_listed(others)}); "
        "give both the same, in the order that the model takes them"
    )


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
