"""What a user should know of the numbers in a data set before they train on them.

These follow from the data: they are shown to whoever runs the scenario, and lie under ``private/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats

_LARGE = 50.0
_TOLD = 3


def precision_warnings(inputs: npt.NDArray[Any], cast: Floats, columns: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of a table of which float32 makes one value of several."""
    found = []
    for number, name in enumerate(columns):
        before, after = (len(np.unique(values[:, number])) for values in (inputs, cast))
        if after < before:
            found.append(f"{name!r} ({before} values become {after})")
    if not found:
        return ()
    return (
        f"float32 cannot tell values of {_listed(found)} apart; subtract an offset, or set data.scaling to standard, "
        "which scales before the cast",
    )


def range_warnings(values: Floats, columns: Sequence[str]) -> tuple[str, ...]:
    """Name the columns that reach far beyond 1, of which networks seldom learn."""
    largest = np.nanmax(np.abs(values), axis=0, initial=0.0)
    found = [f"{name!r} (to {size:.3g})" for name, size in zip(columns, largest, strict=True) if size > _LARGE]
    if not found:
        return ()
    return (
        f"columns {_listed(found)} are far above 1, and networks seldom learn from such inputs: give their known "
        "lowest and highest values in data.ranges, or set data.scaling to standard",
    )


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return ", ".join(found[:_TOLD]) + more
