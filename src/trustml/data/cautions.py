"""What a user should know of the numbers in a data set before they train on them.

These follow from the data: they are shown to whoever runs the scenario, and lie under ``private/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.copies import digests
from trustml.data.dataset import Floats
from trustml.data.encoding import Encoded
from trustml.data.separated import BLANK, Form

LARGE = 50.0
"""Above which networks seldom learn from inputs."""
_MOST_HASHED = 10**8
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


def copies_warnings(train: Floats, test: Floats) -> tuple[str, ...]:
    """Tell how many examples have the inputs of another, and how many held-out ones those of a training example."""
    if train.size + test.size > _MOST_HASHED:
        return ()
    ours = digests(train, like=test)
    distinct, known = np.unique(ours), np.isin(digests(test, like=train), ours)
    warnings: tuple[str, ...] = ()
    if len(distinct) < len(train):
        warnings += (
            f"{len(train) - len(distinct)} of {len(train)} training examples have the inputs of another: where they "
            "are of one person, an epsilon for one example is for one of them alone",
        )
    if known.any():
        warnings += (
            f"{known.sum()} of {len(test)} held-out examples have the inputs of a training example: where they are "
            "copies, scores on them are no test of what was learned",
        )
    return warnings


def range_warnings(values: Floats, columns: Sequence[str]) -> tuple[str, ...]:
    """Name the columns that reach far beyond 1, of which networks seldom learn."""
    largest = np.nanmax(np.abs(values), axis=0, initial=0.0)
    found = [f"{name!r} (to {size:.3g})" for name, size in zip(columns, largest, strict=True) if size > LARGE]
    if not found:
        return ()
    return (
        f"columns {_listed(found)} are far above 1, and networks seldom learn from such inputs: give their known "
        "lowest and highest values in data.ranges, or set data.scaling to standard",
    )


def reading_warnings(forms: Sequence[Form], encoded: Encoded, marks: Mapping[str, str]) -> tuple[str, ...]:
    """Tell in a line what was found out of the files and their columns, and in others what became of the data."""
    decimals = [
        f"the decimal mark is {mark!r} in {_listed([repr(name) for name, one in marks.items() if one == mark])}"
        for mark in sorted(set(marks.values()))
    ]
    columns = [f"{name!r}{', ' + order if (order := encoded.orders.get(name)) else ''}" for name in encoded.dates]
    dates = f"dates in {_listed(columns)} (years since 2000, or parts of a day)"
    warnings = list(form_warnings(forms, *decimals, *([dates] if encoded.dates else [])))
    if encoded.missing:
        spelled = {name: f", such as {mark!r}" for name, mark in encoded.spelled.items()}
        told = _listed([f"{name!r} ({count}{spelled.get(name, '')})" for name, count in encoded.missing.items()])
        warnings.append(f"missing values in {told}: numbers became 0 and a mark, texts a category; see data.missing")
    if encoded.left_out:
        told = _listed([f"{name!r} ({count})" for name, count in encoded.left_out.items()])
        warnings.append(
            f"columns of many different texts were left out: {told}; hash them by data.hashing, declare their "
            "categories, or name them in data.drop"
        )
    if encoded.counting:
        told = _listed(list(map(repr, encoded.counting)))
        warnings.append(
            f"columns that count the rows are features: {told}; name them in data.drop if they should not be"
        )
    return tuple(warnings)


def form_warnings(forms: Sequence[Form], *others: str) -> tuple[str, ...]:
    """Tell in a line how files are written where that is not the plain way, and what else was found."""
    found = [*dict.fromkeys(part for form in forms for part in _parts(form)), *others]
    return (f"found in the file: {'; '.join(found)}",) if found else ()


def _parts(form: Form) -> list[str]:
    plain = Form()
    names = {"\t": "tabs", BLANK: "blanks"}
    told = {
        f"text is {form.encoding}": form.encoding != plain.encoding,
        f"columns are separated by {names.get(form.separator, repr(form.separator))}": form.separator
        != plain.separator,
        f"quotes are {form.quote or 'text'}": form.quote != plain.quote,
        "there is no header": form.header != plain.header,
    }
    return [part for part, is_so in told.items() if is_so]


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return ", ".join(found[:_TOLD]) + more
