"""Examples in a table of numbers, as whoever hands them over has them."""

from __future__ import annotations

import csv
from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

_LARGEST_LABEL = 2**31 - 1


def examples_of_csv(source: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read inputs and labels of a table of numbers, with a line of names above and labels in the last column.

    Raises
    ------
    UsageError
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in csv.reader(stream) if line)
            names, width, values = next(lines, []), 0, array("d")  # eight bytes a number, not the text of all
            for line in lines:
                width = width or len(line)
                if len(line) != width:
                    raise ValueError(f"a line of {len(line)} values, another of {width}")
                values.extend(map(float, line))
    except (csv.Error, ValueError) as error:
        raise UsageError(f"{source.name}: is no table of numbers in UTF-8 ({str(error)[:80]}); give .npz") from None
    if width < 2:
        raise UsageError(f"{source.name}: needs a line of names, then rows of numbers, the label in the last column")
    table = np.frombuffer(values).reshape(-1, width)
    labels = table[:, -1]
    with np.errstate(over="ignore"):
        inputs = table[:, :-1].astype(np.float32)
    for row, column in np.argwhere(~np.isfinite(inputs))[:1]:
        name = names[column] if column < len(names) else f"column {column + 1}"
        raise UsageError(
            f"{source.name}: {name[:60]!r} is {table[row, column]:g} in row {row + 1}, no finite number of float32; "
            "scale the column, or leave the row out"
        )
    for row in np.flatnonzero(~((labels >= 0) & (labels <= _LARGEST_LABEL) & (labels == np.round(labels))))[:1]:
        raise UsageError(
            f"{source.name}: the label is {labels[row]:g} in row {row + 1}; the last column must hold "
            "labels, whole numbers from 0 in the order of the outputs"
        )
    return inputs, labels.astype(np.int64)
