"""Columns of a table to numbers: text to one column a category, numbers by their known range."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError
from trustml.scenario.sources import Csv, Parquet

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
MOST_CATEGORIES = 100


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
        Columns of text whose categories were taken from the data.
    """

    values: npt.NDArray[np.float64]
    names: tuple[str, ...]
    groups: tuple[int, ...]
    learned: tuple[str, ...]


def encode_table(table: pd.DataFrame, source: Csv | Parquet) -> Encoded:
    """Encode all columns but the label.

    Raises
    ------
    DataError
        If a declared column is not there, a value is missing or none of the declared ones, or a column is neither
        numbers nor text; all such columns at once.
    """
    declared = {"drop": source.drop, "ranges": source.ranges, "categories": source.categories, "keys": source.keys}
    for field, names in declared.items():
        for name in names:
            if name not in table.columns:
                known = ", ".join(map(str, table))
                raise DataError(f"{source.path}: data.{field} names no column {name!r}; choose among {known}")
    features = table.drop(columns=[*source.label_columns, *source.drop])
    if not len(features.columns):
        label = " and ".join(map(repr, source.label_columns))
        raise DataError(f"{source.path}: no column is left beside the label {label}; a model needs features")
    parts: list[_Column] = []
    faults: list[str] = []
    for name in map(str, features):
        try:
            parts.append(_encode_column(features[name], name, source))
        except _FaultError as fault:
            faults.append(f"column {name!r} {fault}")
    refuse_all(source.path, faults)
    return Encoded(
        values=np.concatenate([part.values for part in parts], axis=1),
        names=tuple(map(str, features)),
        groups=tuple(number for number, part in enumerate(parts) for _ in range(part.values.shape[1])),
        learned=tuple(name for name, part in zip(map(str, features), parts, strict=True) if part.learned),
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


def key_columns(table: pd.DataFrame, source: Csv | Parquet) -> dict[str, npt.NDArray[np.str_]]:
    """Give the columns that may name clients as text, one value a row; a missing value is a name of its own."""
    found = {}
    for name in source.keys:
        column = table[name]
        absent = column.isna().to_numpy()
        found[name] = column.astype(object).where(~absent, MISSING).astype(str).str.strip().to_numpy(dtype=np.str_)
    return found


class _FaultError(Exception):
    """What is wrong with one column, and what to do."""


@dataclass(frozen=True, kw_only=True)
class _Column:
    values: npt.NDArray[np.float64]
    learned: bool = False  # whether other rows would make other columns


def _encode_column(column: pd.Series, name: str, source: Csv | Parquet) -> _Column:
    if column.dtype.kind in "Mm":
        raise _FaultError(f"holds times such as {column.iloc[0]}; give numbers, such as days since a date, or drop it")
    if name in source.categories:
        return _one_hot(_as_text(column), name, source)
    if column.dtype.kind in "biuf":
        return _numbers(column.to_numpy(np.float64, na_value=np.nan), name, source)
    text = _as_text(column)
    codes = isinstance(source, Parquet) and any(isinstance(value, str) for value in column)  # its file says it is text
    numbers = _numbers_in(text, source, codes=codes)
    return _one_hot(text, name, source) if numbers is None else _numbers(numbers, name, source)


def _as_text(column: pd.Series) -> npt.NDArray[np.object_]:
    """Values as text without spaces around it; None where one is missing."""
    values: npt.NDArray[np.object_] = column.astype(object).where(~column.isna().to_numpy(), None).to_numpy(object)
    kinds = {type(value) for value in values} - {type(None)}
    strange = kinds - _TEXT_LIKE
    if strange:
        row = next(row for row, value in enumerate(values) if type(value) in strange)
        what = "times" if isinstance(values[row], date | time) else f"a {type(values[row]).__name__} a row"
        raise _FaultError(
            f"holds {what}, such as {str(values[row])[:40]} at row {row}; give numbers or text, or drop it"
        )
    try:
        found = [None if v is None else (v.decode() if isinstance(v, bytes) else str(v)).strip() for v in values]
    except UnicodeDecodeError:
        raise _FaultError("holds bytes that are no UTF-8; give text, or drop it") from None
    return np.array([value or None for value in found], dtype=object)


_TEXT_LIKE = {str, bytes, bool, int, float, Decimal, np.bool_, np.int64, np.float64}
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_GROUPED = {  # a group never begins with zero: 0.125 is an eighth, whatever the mark
    ".": re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d*)?([eE][+-]?\d+)?"),
}
_WITH_COMMA = re.compile(r"[+-]?\d[\d.]*(,\d+)+(\.\d*)?")
_PERCENT = re.compile(r"[+-]?\d+([.,]\d+)?\s*%")
_DATE = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?|"
    r"\d{1,2}:\d{2}(:\d{2})?|[A-Za-z]{3} \d{4}"
)
_DECORATED = re.compile(  # a sign of another alphabet, brackets, a currency, a unit, groups by spaces or apostrophes
    r"[\u2212\u2013-]?[(\u20ac$\u00a3\u00a5]?\s*\d[\d\s\u00a0\u202f'\u2019.,]*[)\u20ac$\u00a3\u00a5]?\s*[A-Za-z\u00b0\u00b5]{0,3}\.?"
)
_CODE = re.compile(r"0\d+")
_MARKS = {"-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown", "inf", "-inf"}
"""What people write in a column of numbers where there is none."""
_NEARLY_ALL = 0.9


def _numbers_in(text: npt.NDArray[np.object_], source: Csv | Parquet, *, codes: bool) -> npt.NDArray[np.float64] | None:
    """Numbers that a column of text holds; None where it holds text.

    Raises
    ------
    _FaultError
        If it holds numbers that cannot be read as such, or dates.
    """
    decimal = source.decimal if isinstance(source, Csv) else None
    form = _GROUPED[decimal] if decimal else _PLAIN
    rows = [row for row, value in enumerate(text) if value is not None]
    good = [row for row in rows if form.fullmatch(text[row])]
    odd = [row for row in rows if not form.fullmatch(text[row])]
    if any(_CODE.fullmatch(text[row]) for row in rows) and len(good) == len(rows):
        return None  # 01 and 1 are two codes, and one number
    if odd:
        _refuse_other_forms(text, rows, odd, decimal=decimal)
    if codes or not rows:
        return None
    if odd:
        marks = [row for row in odd if text[row].lower() in _MARKS]
        if not good or (len(marks) < len(odd) and len(good) < _NEARLY_ALL * len(rows)):
            return None
        if len(marks) < len(odd) or source.missing == "refuse":
            raise _FaultError(
                f"holds numbers but for {len(odd)} of {len(rows)} values, such as {text[odd[0]]!r} at row {odd[0]}; "
                "fix or empty them, or declare its categories"
            )
    other = {".": ",", ",": "."}.get(decimal or "", "")
    found = np.full(len(text), np.nan)
    for row in good:
        value = text[row].replace(other, "") if other else text[row]
        found[row] = float(value.replace(",", "."))
    return found


def _refuse_other_forms(text: npt.NDArray[np.object_], rows: list[int], odd: list[int], *, decimal: str | None) -> None:
    """Refuse a column that is nearly all numbers or dates, of which some are written in a form that is not read."""
    other = "," if decimal == "." else "."
    marks = 'set data.decimal to "." if they group thousands, or to "," if not'
    if decimal:
        marks = f"they do not follow data.decimal={decimal!r} (groups have three digits); is it {other!r}?"
    forms = (
        (_PERCENT, "percentages", "write plain numbers"),
        (_DATE, "dates or times", "give numbers, such as days since a date, or drop it"),
        (_WITH_COMMA, "numbers with commas", marks),
        (_PLAIN, "numbers with points", marks),
        (_DECORATED, "numbers in a form of their own", "write them as 1234.5, or declare its categories"),
    )
    for form, what, fix in forms:
        matching = [row for row in odd if form.fullmatch(text[row])]
        numbers = len(rows) - len(odd) + len(matching)
        if matching and 2 * len(matching) > len(odd) and numbers >= _NEARLY_ALL * len(rows):
            raise _FaultError(f"holds {what} such as {text[matching[0]]!r} at row {matching[0]}; {fix}")


def _numbers(values: npt.NDArray[np.float64], name: str, source: Csv | Parquet) -> _Column:
    infinite, absent = np.flatnonzero(np.isinf(values)), np.isnan(values)
    if len(infinite):
        raise _FaultError(
            f"holds {len(infinite)} infinite numbers, the first at row {infinite[0]}; fill or remove them"
        )
    if absent.any() and source.missing == "refuse":
        raise _FaultError(
            f"holds {absent.sum()} missing numbers, the first at row {np.flatnonzero(absent)[0]}; fill or remove them, "
            "or set data.missing to category"
        )
    if name in source.ranges:
        low, high = source.ranges[name]
        if not low < high:
            raise _FaultError(f"is given data.ranges.{name}: {low} is not below {high}; give lowest and highest")
        values = 2 * (values - low) / (high - low) - 1
    if not absent.any():
        return _Column(values=values[:, None])
    return _Column(values=np.stack([values, absent.astype(np.float64)], axis=1), learned=True)


def _one_hot(text: npt.NDArray[np.object_], name: str, source: Csv | Parquet) -> _Column:
    absent = np.array([value is None for value in text], dtype=bool)
    if source.categorical == "refuse":
        raise _FaultError(
            f"holds text such as {text[0]!r}; encode it as numbers, drop it, or set data.categorical to one-hot"
        )
    if absent.any() and source.missing == "refuse":
        raise _FaultError(
            f"holds {absent.sum()} missing values, the first at row {np.flatnonzero(absent)[0]}; fill them, or set "
            "data.missing to category"
        )
    text = np.where(absent, MISSING, text)
    categories = source.categories.get(name)
    learned = categories is None
    if categories is None:
        categories = tuple(str(value) for value in np.unique(text.astype(str)))
        if len(categories) > MOST_CATEGORIES:
            raise _FaultError(
                f"holds {len(categories)} different texts, more than {MOST_CATEGORIES}; drop it, or declare its "
                "categories"
            )
    elif source.missing == "category" and MISSING not in categories:
        categories = (*categories, MISSING)  # whether or not one is missing: columns must not depend on the rows
    unknown = np.flatnonzero(~np.isin(text.astype(str), categories))
    if len(unknown):
        raise _FaultError(
            f"holds {text[unknown[0]]!r} at row {unknown[0]}, none of its declared categories; add it to "
            f"data.categories.{name}"
        )
    values = (text[:, None] == np.array(categories, dtype=object)[None, :]).astype(np.float64)
    return _Column(values=values, learned=learned)
