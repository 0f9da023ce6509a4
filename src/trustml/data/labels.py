"""Labels to classes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError

_MOST_CLASSES = 10_000
_MANY = 20
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?")


def encode_labels(labels: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Number the classes in their order, and name them.

    Parameters
    ----------
    labels : array of shape (n,)
        Text, whose spaces at both ends do not count, bytes of UTF-8, or whole numbers.
    where : str
        File, for errors.

    Returns
    -------
    encoded : int64 array of shape (n,)
    names : tuple of str

    Raises
    ------
    DataError
        If a label is missing or no class, or there is one class, or too many.
    """
    if labels.dtype.kind == "f" and not np.isfinite(labels.astype(float)).all():
        raise DataError(f"{where}: some labels are missing; remove those rows")
    if labels.dtype.kind in "OSU":
        labels = _text(labels, where)
    elif labels.dtype.kind not in "biuf":
        raise DataError(f"{where}: labels are {labels.dtype}, no classes; give text or whole numbers")
    values, encoded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if labels.dtype.kind == "f" and not np.array_equal(values, np.round(values.astype(float))):
        raise DataError(f"{where}: label {values[0]} is no class; trustml classifies, it does not regress")
    if not len(values):
        raise DataError(f"{where}: holds no examples; name a table with rows")
    if len(values) < 2:
        raise DataError(f"{where}: all labels are {values[0]!r}; give at least two classes")
    alone = int((counts == 1).sum())
    if len(values) > _MOST_CLASSES or (len(values) > _MANY and 2 * alone > len(values)):
        raise DataError(
            f"{where}: of {len(values)} different labels {alone} come once, such as {values[counts.argmin()]!s}: is "
            "that a class? trustml classifies, it does not regress; name the column of classes in data.label"
        )
    names = tuple(str(int(value)) if labels.dtype.kind == "f" else str(value) for value in values)
    return encoded.astype(np.int64), names


def as_numbers(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels of a file that does not tell text from numbers: numbers where all are, none with a leading zero."""
    text = [str(label).strip() for label in labels]
    return np.array(text, np.float64) if all(map(_NUMBER.fullmatch, text)) else labels


def _text(labels: npt.NDArray[Any], where: str) -> npt.NDArray[np.str_]:
    found: list[str] = []
    for row, label in enumerate(labels):
        if isinstance(label, bytes):
            try:
                label = label.decode()
            except UnicodeDecodeError:
                raise DataError(f"{where}: the label at row {row} is no UTF-8; give text") from None
        if not isinstance(label, str | int | bool | np.bool_ | np.integer) or (
            isinstance(label, str) and not label.strip()
        ):
            raise DataError(f"{where}: label {label!r} at row {row} is neither text nor a whole number; fix that row")
        found.append(str(label).strip())
    return np.array(found, dtype=np.str_)
