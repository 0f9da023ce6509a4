"""Labels as a task wants them: classes, labels that hold or do not, numbers."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Ints, LabelArray
from trustml.data.encoding import with_mark
from trustml.data.spelling import FaultError, as_text, is_number, is_plain, number
from trustml.data.tables import Tables, mark_of
from trustml.errors import DataError
from trustml.models.answers import in_unit
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression, Task
from trustml.scenario.sources import Csv

if TYPE_CHECKING:
    import pandas as pd

_MOST_CLASSES = 10_000
_MANY = 20
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?")
_HOLDS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}
_LARGE = 50.0
_TENTHS = 10
_EXACT = 2.0**53  # from here on float64 makes one number of two


@dataclass(frozen=True, kw_only=True)
class EncodedLabels:
    """The labels of all examples.

    Attributes
    ----------
    values : int64 array of shape (n,), or (n, steps) of tokens, or float32 of shape (n, outputs)
    names : tuple of str
        Of the classes, the labels or the target.
    kinds : int64 array of shape (n,)
        Whose shares are the same in the training and the held-out examples: classes, where there are any.
    warnings : tuple of str
    """

    values: LabelArray
    names: tuple[str, ...]
    kinds: Ints
    warnings: tuple[str, ...] = ()


def encode(task: Task, labels: npt.NDArray[Any], where: str, *, names: tuple[str, ...] = ()) -> EncodedLabels:
    """Encode labels for a task.

    Parameters
    ----------
    task : Task
    labels : array of shape (n,) or (n, k)
    where : str
        File, for errors.
    names : tuple of str
        Of the columns they are from, where they have names.

    Raises
    ------
    DataError
        If a label is missing, or is none that the task can have.
    """
    if not len(labels):
        raise DataError(f"{where}: holds no examples; name a table with rows")
    several = labels.ndim == 2 and labels.shape[1] > 1
    if several and not isinstance(task, Labels):
        raise DataError(f"{where}: {labels.shape[1]} labels an example; name one, or set task to Labels()")
    if not isinstance(task, Labels) and labels.ndim == 2:
        labels = labels[:, 0]
    match task:
        case Classes():
            classes, found = encode_labels(labels, where)
            return EncodedLabels(values=classes, names=found, kinds=classes)
        case Binary():
            classes, found = encode_labels(labels, where)
            if len(found) != 2:
                told = ", ".join(found[:5])
                raise DataError(f"{where}: {len(found)} classes ({told}), and Binary() tells two apart; use Classes()")
            return EncodedLabels(values=classes.astype(np.float32)[:, None], names=found, kinds=classes)
        case Labels():
            return _several(labels.reshape(len(labels), -1), where, names)
        case Regression():
            return _targets(task, labels, where, names)
        case NextToken():
            raise DataError(f"{where}: holds no tokens; use data=Text(...), or another task than NextToken()")


@dataclass(frozen=True, kw_only=True)
class KindsOfExamples:
    """The kind of each example, numbered from 0.

    Attributes
    ----------
    train, test : int64 arrays
    names : tuple of str
    """

    train: Ints
    test: Ints
    names: tuple[str, ...]


def kinds_of(task: Task, train: LabelArray, test: LabelArray, *, names: tuple[str, ...]) -> KindsOfExamples:
    """What clients may be skewed by: classes, combinations of labels, or tenths of the training targets."""
    match task:
        case Classes():
            return KindsOfExamples(train=train.astype(np.int64), test=test.astype(np.int64), names=names)
        case Binary():
            return KindsOfExamples(train=train[:, 0].astype(np.int64), test=test[:, 0].astype(np.int64), names=names)
        case Labels():
            return _combinations(train, test, names)
        case Regression():
            borders = np.unique(np.quantile(train[:, 0], np.arange(1, _TENTHS) / _TENTHS))
            numbers = [np.searchsorted(borders, part[:, 0], side="right").astype(np.int64) for part in (train, test)]
            edges = [f"{edge:.4g}" for edge in in_unit(task, borders)]
            ends = [f"below {edges[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(edges))]
            return KindsOfExamples(train=numbers[0], test=numbers[1], names=(*ends, f"{edges[-1]} or more"))
        case NextToken():
            none = [np.zeros(len(part), np.int64) for part in (train, test)]
            return KindsOfExamples(train=none[0], test=none[1], names=("texts",))


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
        raise DataError(f"{where}: label {values[0]} is no class; for numbers set task to Regression()")
    if len(values) < 2:
        raise DataError(f"{where}: all labels are {values[0]!r}; give at least two classes")
    alone = int((counts == 1).sum())
    if len(values) > _MOST_CLASSES or (len(values) > _MANY and 2 * alone > len(values)):
        raise DataError(
            f"{where}: of {len(values)} different labels {alone} come once, such as {values[counts.argmin()]!s}: is "
            "that a class? name the column of classes in data.label, or set task to Regression() for numbers"
        )
    names = tuple(str(int(value)) if labels.dtype.kind == "f" else str(value) for value in values)
    return encoded.astype(np.int64), names


def _several(labels: npt.NDArray[Any], where: str, names: tuple[str, ...]) -> EncodedLabels:
    """Labels that hold or do not: 0 and 1, true and false, yes and no."""
    names = names or tuple(f"label {number}" for number in range(labels.shape[1]))
    if len(names) < 2:
        raise DataError(f"{where}: one label an example; name several in data.label, or set task to Binary()")
    values = np.empty(labels.shape, np.float32)
    for column, name in enumerate(names):
        for row, label in enumerate(labels[:, column]):
            text = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
            value = _HOLDS.get(text.strip().lower())
            if value is None:
                raise DataError(f"{where}: label {name!r} is {text!r} at row {row}; give 0 or 1 (true, false, yes, no)")
            values[row, column] = value
    same = [name for name, column in zip(names, values.T, strict=True) if column.min() == column.max()]
    if same:
        raise DataError(f"{where}: label {same[0]!r} is the same in all rows; leave it out")
    return EncodedLabels(values=values, names=names, kinds=np.zeros(len(values), np.int64))


def _targets(task: Regression, labels: npt.NDArray[Any], where: str, names: tuple[str, ...]) -> EncodedLabels:
    """Numbers, mapped by the declared range."""
    wide = np.empty(len(labels), np.float64)
    for row, label in enumerate(labels):
        try:
            if isinstance(label, str) and not is_plain(label):  # float() takes 1_005 for 1005
                raise ValueError
            wide[row] = float(label)
        except (TypeError, ValueError):
            raise DataError(f"{where}: target {label!r} at row {row} is no number; fix or remove that row") from None
    broken = np.flatnonzero(~np.isfinite(wide))
    if len(broken):
        raise DataError(
            f"{where}: {len(broken)} targets are missing or not finite, the first at row {broken[0]}; remove those rows"
        )
    if len(wide) and wide.min() == wide.max():
        raise DataError(f"{where}: all targets are {wide[0]:g}; there is nothing to learn")
    warnings: tuple[str, ...] = ()
    if task.target_range is not None:
        low, high = task.target_range
        outside = int(((wide < low) | (wide > high)).sum())
        if outside:
            warnings = (f"{outside} targets are outside of task.target_range, {low:g} to {high:g}; they were kept",)
        wide = 2 * (wide - low) / (high - low) - 1
    elif np.abs(wide).max() > _LARGE:
        warnings = (
            f"targets reach {np.abs(wide).max():.4g}, and networks seldom learn such numbers: give their known lowest "
            "and highest value in task.target_range",
        )
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)[:, None]
    if not np.isfinite(values).all():
        raise DataError(f"{where}: some targets are beyond float32; give task.target_range")
    before, after = len(np.unique(wide)), len(np.unique(values))
    if after < before:
        warnings += (
            f"float32 cannot tell all targets apart ({before} values become {after}); give their known lowest and "
            "highest value in task.target_range, or subtract an offset",
        )
    kinds = np.zeros(len(values), np.int64)
    return EncodedLabels(values=values, names=names or ("target",), kinds=kinds, warnings=warnings)


def _combinations(train: LabelArray, test: LabelArray, names: tuple[str, ...]) -> KindsOfExamples:
    both = np.concatenate([train, test])
    found, numbers = np.unique(both, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1).astype(np.int64)
    told = tuple(" + ".join(name for name, holds in zip(names, row, strict=True) if holds) or "none" for row in found)
    return KindsOfExamples(train=numbers[: len(train)], test=numbers[len(train) :], names=told)


def as_numbers(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels of a file that does not tell text from numbers: numbers where all are exact, none with a leading zero."""
    text = [str(label).strip() for label in labels]
    if not all(map(_NUMBER.fullmatch, text)):
        return labels
    numbers = np.array(text, np.float64)
    return numbers if np.abs(numbers).max(initial=0.0) < _EXACT else labels


def labels_of_table(read: Tables, task: Task) -> npt.NDArray[Any]:
    """Labels of a table: (n,), or (n, k) where several columns are named.

    Raises
    ------
    DataError
        If a target of a regression is no number, or may be two.
    """
    columns = [read.table[name] for name in read.source.label_columns]
    if isinstance(read.source, Csv) and isinstance(task, Regression):
        found = [_read_targets(column, read, read.source) for column in columns]
    elif isinstance(read.source, Csv):
        found = [as_numbers(column.to_numpy()) for column in columns]
    else:
        found = [column.to_numpy() for column in columns]
    return found[0] if len(found) == 1 else np.column_stack(found)


def _read_targets(column: pd.Series, read: Tables, source: Csv) -> npt.NDArray[np.float64]:
    """Numbers of a column of text with the decimal mark that is declared, or that it shows by itself."""
    cut = read.train_rows
    try:
        mark = source.decimal or mark_of(
            [part for part in (column.iloc[:cut], column.iloc[cut:]) if len(part)], read.forms,
            comma_elsewhere="," in read.marks.values(),
        )  # fmt: skip
        text = as_text(column)
    except FaultError as fault:
        raise DataError(f"{source.path}: label {column.name!r} {fault}") from None
    form = with_mark(source, mark)
    found = np.full(len(text), np.nan)
    for row, value in enumerate(text):
        if value is not None and not is_number(value, form):
            raise DataError(
                f"{source.path}: target {value!r} at row {row} is no number with the decimal mark {mark or '.'!r}; fix "
                "or remove that row, or set data.decimal"
            )
        found[row] = np.nan if value is None else number(value, form)
    return found


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
