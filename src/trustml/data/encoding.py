"""Columns of a table to numbers: text to one column a category, numbers by their known range."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.dates import Moments, moments_in, moments_of
from trustml.data.spelling import FaultError, Texts, as_text, numbers_in
from trustml.errors import DataError
from trustml.scenario.sources import Csv, Table

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
MOST_CATEGORIES = 100
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?")
_NO_MARKS: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The features of a table as numbers.

    Attributes
    ----------
    values : float64 array of shape (rows, columns)
        Not a number where a number is missing, which the next column then marks.
    names : tuple of str
        Of the features.
    groups : tuple of int
        Feature of each column.
    learned : tuple of str
        Columns of which other rows would make others: categories taken from the data, marks of missing numbers, and
        dates whose order, or that they are dates, rows showed.
    left_out : dict of str to int
        Columns of text that are no features, and how many different values each holds.
    missing : dict of str to int
        Missing values of the columns that have some.
    dates : tuple of str
        Columns of dates or times of the day.
    counting : tuple of str
        Columns that number the rows.
    open : tuple of str
        Columns of numbers to which a row without one would add a mark.
    spelled : dict of str to str
        What stands for a missing value in columns of numbers or dates, where it is text.
    orders : dict of str to str
        How dates of columns were read where it needs a word: which number is the day, or that they are times.
    """

    values: npt.NDArray[np.float64]
    names: tuple[str, ...]
    groups: tuple[int, ...]
    learned: tuple[str, ...]
    left_out: dict[str, int]
    missing: dict[str, int]
    dates: tuple[str, ...]
    counting: tuple[str, ...]
    open: tuple[str, ...] = ()
    spelled: dict[str, str] = field(default_factory=dict)
    orders: dict[str, str] = field(default_factory=dict)


def encode_table(table: pd.DataFrame, source: Table, *, marks: Mapping[str, str] = _NO_MARKS) -> Encoded:
    """Encode all columns but the label, with the decimal mark of each that has one.

    Raises
    ------
    DataError
        If a declared column is not there, a value is missing or none of the declared ones, or a column is neither
        numbers nor text; all such columns at once.
    """
    declared: dict[str, Iterable[str]] = {
        "drop": source.drop,
        "ranges": source.ranges,
        "categories": source.categories,
        "keys": source.keys,
    }
    for option, names in (declared | {"hashing": source.hashing, "marked": source.marked}).items():
        for name in names:
            if name not in table.columns:
                known = ", ".join(map(str, table))
                raise DataError(f"{source.path}: data.{option} names no column {name!r}; choose among {known}")
    features = table.drop(columns=[*source.label_columns, *source.drop])
    if not len(features.columns):
        label = " and ".join(map(repr, source.label_columns))
        raise DataError(f"{source.path}: no column is left beside the label {label}; a model needs features")
    found: dict[str, _Column | _LeftOut] = {}
    faults: list[str] = []
    for name in map(str, features):
        try:
            found[name] = _encode_column(features[name], name, with_mark(source, marks.get(name)))
        except FaultError as fault:
            faults.append(f"column {name!r} {fault}")
    refuse_all(source.path, faults)
    return _joined(found, source)


def _joined(found: Mapping[str, _Column | _LeftOut], source: Table) -> Encoded:
    parts = {name: part for name, part in found.items() if isinstance(part, _Column)}
    left_out = {name: part.values for name, part in found.items() if isinstance(part, _LeftOut)}
    if not parts:
        name, count = next(iter(left_out.items()))
        label = " and ".join(map(repr, source.label_columns))
        raise DataError(
            f"{source.path}: no column is left beside the label {label}: {name!r} holds {count} different "
            f"texts, more than {MOST_CATEGORIES}; declare its categories, or hash it by data.hashing.{name}"
        )
    return Encoded(
        values=np.concatenate([part.values for part in parts.values()], axis=1),
        names=tuple(parts),
        groups=tuple(number for number, part in enumerate(parts.values()) for _ in range(part.values.shape[1])),
        learned=tuple(name for name, part in parts.items() if part.learned),
        left_out=left_out,
        missing={name: part.missing for name, part in parts.items() if part.missing},
        dates=tuple(name for name, part in parts.items() if part.dates),
        counting=tuple(name for name, part in parts.items() if part.counts_rows()),
        open=tuple(name for name, part in parts.items() if part.open),
        spelled={name: part.spelled for name, part in parts.items() if part.spelled},
        orders={name: part.order for name, part in parts.items() if part.order},
    )


def refuse_all(where: str, faults: list[str]) -> None:
    """Raise for all faults of a table at once; nothing where there are none.

    Raises
    ------
    DataError
    """
    if len(faults) == 1:
        raise DataError(f"{where}: {faults[0]}")
    if faults:
        listed = "  ".join(f"({number}) {fault}" for number, fault in enumerate(faults, 1))
        raise DataError(f"{where}: {len(faults)} faults: {listed}")


def key_columns(table: pd.DataFrame, source: Table) -> dict[str, npt.NDArray[np.str_]]:
    """Give the columns that may name clients as text, one value a row; a missing value is a name of its own."""
    return {name: _as_groups(column_of_keys(table[name])) for name in source.keys}


def with_mark(source: Table, mark: str | None) -> Table:
    """Give the source as it is for a column that shows a decimal mark."""
    return msgspec.structs.replace(source, decimal=mark) if mark and isinstance(source, Csv) else source


def split_column(
    table: pd.DataFrame, source: Table, *, marks: Mapping[str, str] = _NO_MARKS
) -> npt.NDArray[Any] | None:
    """Give the column to split by: groups as text, times as numbers; None where none is named.

    Raises
    ------
    DataError
        If it is not there, or holds no times.
    """
    name = source.split_by
    if name is None:
        return None
    if name not in table.columns:
        raise DataError(
            f"{source.path}: data.split_by names no column {name!r}; choose among {', '.join(map(str, table))}"
        )
    if source.split != "by time":
        return _as_groups(column_of_keys(table[name]))
    plain = msgspec.structs.replace(
        with_mark(source, marks.get(name)), marked=(), ranges={}, categories={}, hashing={}, missing="mark"
    )
    try:
        found = _encode_column(table[name], name, plain)
    except FaultError as fault:
        raise DataError(f"{source.path}: column {name!r} {fault}") from None
    if isinstance(found, _LeftOut) or found.values.shape[1] > 1 + bool(found.missing):
        raise DataError(
            f"{source.path}: column {name!r} holds text, no times; name a column of numbers or dates in data.split_by"
        )
    return np.where(found.values[:, -1] > 0, np.nan, found.values[:, 0]) if found.missing else found.values[:, 0]


def column_of_keys(column: pd.Series) -> npt.NDArray[np.str_]:
    """Give a column as text, one value a row; a missing value is a name of its own."""
    absent = column.isna().to_numpy()
    found = column.astype(object).where(~absent, MISSING).astype(str).str.strip()
    return found.to_numpy(dtype=np.str_)


def _as_groups(names: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """Give numbers that are written in several ways, such as 1 and 1.0, one name."""
    known = names[names != MISSING]
    if not all(map(_NUMBER.fullmatch, known)):
        return names
    plain = {name: (name.rstrip("0").rstrip(".") if "." in name else name).lstrip("+") for name in set(known)}
    if len(set(plain.values())) == len(plain):
        return names
    return np.array([plain.get(name, name) for name in names], dtype=np.str_)


@dataclass(frozen=True, kw_only=True)
class _Column:
    values: npt.NDArray[np.float64]
    learned: bool = False
    missing: int = 0
    dates: bool = False
    open: bool = False
    spelled: str = ""
    order: str = ""

    def counts_rows(self) -> bool:
        """Say whether it goes 0, 1, 2, ... or 1, 2, 3, ...."""
        rows = len(self.values)
        if rows < 3 or self.values[0, 0] not in (0, 1):
            return False
        return np.array_equal(self.values, np.arange(rows)[:, None] + self.values[0, 0])


@dataclass(frozen=True, kw_only=True)
class _LeftOut:
    values: int


def _encode_column(column: pd.Series, name: str, source: Table) -> _Column | _LeftOut:
    if name in source.hashing:
        return _hashed(as_text(column), name, source)
    if name in source.categories:
        return _one_hot(as_text(column), name, source)
    if column.dtype.kind in "biuf":
        return _numbers(column.to_numpy(np.float64, na_value=np.nan), name, source)
    moments = moments_of(column)
    if moments is not None:
        return replace(_numbers(moments, name, source), dates=True)
    text = as_text(column)
    found = moments_in(text, source, wide=source.dates is not None)
    if found is not None:
        return _dates(found, text, name, source)
    codes = not isinstance(source, Csv) and any(isinstance(value, str) for value in column)  # its file says it is text
    numbers = numbers_in(text, source, codes=codes)
    if numbers is None:
        return _text(text, name, source)
    return replace(_numbers(numbers, name, source), spelled=_spelled(numbers, text))


def _dates(found: Moments, text: Texts, name: str, source: Table, *, by_count: bool = False) -> _Column:
    """Encode dates; where rows showed their order, or were so many that they are no categories, others might not."""
    column = _numbers(found.values, name, source)
    return replace(
        column,
        dates=True,
        learned=column.learned or found.shown or by_count,
        order=found.order,
        spelled=_spelled(found.values, text),
    )


def _spelled(numbers: npt.NDArray[np.float64], text: Texts) -> str:
    """Give the first text that was taken for a missing value."""
    return next((str(text[row]) for row in np.flatnonzero(np.isnan(numbers)) if text[row] is not None), "")


def _text(text: Texts, name: str, source: Table) -> _Column | _LeftOut:
    """Encode text of few values as categories, the dates of many as numbers, and leave out what else has many."""
    different = len({value for value in text if value is not None})
    if different + (None in text) <= MOST_CATEGORIES or source.categorical == "refuse":
        return _one_hot(text, name, source)
    found = moments_in(text, source, wide=True)
    if found is not None:
        return _dates(found, text, name, source, by_count=source.dates is None)
    return _LeftOut(values=different)


def _numbers(values: npt.NDArray[np.float64], name: str, source: Table) -> _Column:
    infinite, absent = np.flatnonzero(np.isinf(values)), np.isnan(values)
    if len(infinite):
        raise FaultError(f"holds {len(infinite)} infinite numbers, the first at row {infinite[0]}; fill or remove them")
    if absent.any() and source.missing == "refuse":
        raise FaultError(
            f"holds {absent.sum()} missing numbers, the first at row {np.flatnonzero(absent)[0]}; fill or remove them, "
            "or set data.missing to category"
        )
    if name in source.ranges:
        low, high = source.ranges[name]
        if not low < high:
            raise FaultError(f"is given data.ranges.{name}: {low} is not below {high}; give lowest and highest")
        values = 2 * (values - low) / (high - low) - 1
    declared = name in source.marked
    if not absent.any() and not declared:
        return _Column(values=values[:, None], open=source.missing != "refuse")
    marked = np.stack([values, absent.astype(np.float64)], axis=1)
    return _Column(values=marked, learned=not declared, missing=int(absent.sum()))


def _one_hot(text: Texts, name: str, source: Table) -> _Column:
    absent = np.array([value is None for value in text], dtype=bool)
    if source.categorical == "refuse":
        raise FaultError(
            f"holds text such as {text[0]!r}; encode it as numbers, drop it, or set data.categorical to one-hot"
        )
    categories = source.categories.get(name)
    learned = categories is None
    if absent.any() and (
        source.missing == "refuse" or (source.missing == "mark" and MISSING not in (categories or [MISSING]))
    ):
        raise FaultError(
            f"holds {absent.sum()} missing values, the first at row {np.flatnonzero(absent)[0]}; fill them, or set "
            "data.missing to category"
        )
    text = np.where(absent, MISSING, text)
    if categories is None:
        categories = tuple(str(value) for value in np.unique(text.astype(str)))
    elif source.missing == "category" and MISSING not in categories:
        categories = (*categories, MISSING)  # whether or not one is missing: columns must not depend on the rows
    unknown = np.flatnonzero(~np.isin(text.astype(str), categories))
    if len(unknown):
        raise FaultError(
            f"holds {text[unknown[0]]!r} at row {unknown[0]}, none of its declared categories; add it to "
            f"data.categories.{name}"
        )
    values = (text[:, None] == np.array(categories, dtype=object)[None, :]).astype(np.float64)
    return _Column(values=values, learned=learned, missing=int(absent.sum()))


def _hashed(text: Texts, name: str, source: Table) -> _Column:
    """Give each of so many buckets a column: a text's is that of its hash, whatever other rows hold."""
    buckets = source.hashing[name]
    if name in source.categories:
        raise FaultError("is in data.hashing and in data.categories; take it out of one of them")
    absent = sum(value is None for value in text)
    if absent and source.missing == "refuse":
        raise FaultError(f"holds {absent} missing values; fill them, or set data.missing to mark")
    bucket = {value: _bucket(MISSING if value is None else value, buckets) for value in set(text)}
    values = np.zeros((len(text), buckets))
    values[np.arange(len(text)), [bucket[value] for value in text]] = 1.0
    return _Column(values=values, missing=absent)


def _bucket(text: str, buckets: int) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % buckets
