"""Numbers as people spell them: read rightly, or refused by the form they have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.scenario.sources import Csv, Table

if TYPE_CHECKING:
    import pandas as pd

Texts: TypeAlias = npt.NDArray[np.object_]
"""Text, and None where a value is missing."""


class FaultError(Exception):
    """What is wrong with one column, and what to do."""


def as_text(column: pd.Series) -> npt.NDArray[np.object_]:
    """Values as text without spaces around it; None where one is missing.

    Raises
    ------
    FaultError
        If it holds anything else.
    """
    values: npt.NDArray[np.object_] = column.astype(object).where(~column.isna().to_numpy(), None).to_numpy(object)
    kinds = {type(value) for value in values} - {type(None)}
    strange = kinds - _TEXT_LIKE
    if strange:
        row = next(row for row, value in enumerate(values) if type(value) in strange)
        times = isinstance(values[row], date | time)
        what = "times" if times else f"a {type(values[row]).__name__} a row"
        way = "give numbers or text" + ("" if times else ", yield it from a Module")
        raise FaultError(f"holds {what}, such as {str(values[row])[:40]} at row {row}; {way}, or drop it")
    try:
        found = [None if v is None else (v.decode() if isinstance(v, bytes) else str(v)).strip() for v in values]
    except UnicodeDecodeError:
        raise FaultError("holds bytes that are no UTF-8; give text, or drop it") from None
    return np.array([value or None for value in found], dtype=object)


_TEXT_LIKE = {str, bytes, bool, int, float, Decimal, np.bool_, np.int64, np.float64}
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_GROUPED = {  # a group never begins with zero: 0.125 is an eighth, whatever the mark
    ".": re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d*)?([eE][+-]?\d+)?"),
}
_WITH_COMMA = re.compile(r"[+-]?\d[\d.]*(,\d+)+(\.\d*)?")
_PERCENT = re.compile(r"[+-]?\d+([.,]\d+)?\s*%")
_DECORATED = re.compile(  # a sign of another alphabet, brackets, a currency, a unit, groups by spaces or apostrophes
    r"[\u2212\u2013-]?[(\u20ac$\u00a3\u00a5]?\s*(\d[\d\s\u00a0\u202f'\u2019.,]*)?\d[)\u20ac$\u00a3\u00a5]?\s*[A-Za-z\u00b0\u00b5]{0,3}\.?"
)
_CODE = re.compile(r"0\d+")
INFINITE = {"inf", "-inf"}
MARKS = {"-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown", *INFINITE}
"""What people write in a column of numbers where there is none."""
NEARLY_ALL = 0.9


def numbers_in(text: npt.NDArray[np.object_], source: Table, *, codes: bool) -> npt.NDArray[np.float64] | None:
    """Numbers that a column of text holds; None where it holds text.

    Raises
    ------
    FaultError
        If it holds numbers that cannot be read as such.
    """
    decimal = source.decimal if isinstance(source, Csv) else None
    form = _form_of(source)
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
        marks = [row for row in odd if text[row].lower() in MARKS - (INFINITE if source.missing == "mark" else set())]
        if not good or (len(marks) < len(odd) and len(good) < NEARLY_ALL * len(rows)):
            return None
        if len(marks) < len(odd) or source.missing == "refuse":
            raise FaultError(
                f"holds numbers but for {len(odd)} of {len(rows)} values, such as {text[odd[0]]!r} at row {odd[0]}; "
                "fix or empty them, or declare its categories"
            )
    found = np.full(len(text), np.nan)
    for row in good:
        found[row] = number(text[row], source)
    return found


def _refuse_other_forms(text: npt.NDArray[np.object_], rows: list[int], odd: list[int], *, decimal: str | None) -> None:
    """Refuse a column that is nearly all numbers or dates, of which some are written in a form that is not read."""
    other = "," if decimal == "." else "."
    marks = 'set data.decimal to "." if they group thousands, or to "," if not'
    if decimal:
        marks = f"they do not follow data.decimal={decimal!r} (groups have three digits); is it {other!r}?"
    forms = (
        (_PERCENT, "percentages", "write plain numbers"),
        (_WITH_COMMA, "numbers with commas", marks),
        (_PLAIN, "numbers with points", marks),
        (_DECORATED, "numbers in a form of their own", "write them as 1234.5, or declare its categories"),
    )
    for form, what, fix in forms:
        matching = [row for row in odd if form.fullmatch(text[row])]
        numbers = len(rows) - len(odd) + len(matching)
        if matching and 2 * len(matching) > len(odd) and numbers >= NEARLY_ALL * len(rows):
            raise FaultError(f"holds {what} such as {text[matching[0]]!r} at row {matching[0]}; {fix}")


def is_number(text: str, source: Table) -> bool:
    """Say whether it is a number in the form that is declared, else one with a point."""
    return _form_of(source).fullmatch(text) is not None


def is_plain(text: str) -> bool:
    """Say whether it is a number with a point and no groups."""
    return _PLAIN.fullmatch(text.strip()) is not None


def number(text: str, source: Table) -> float:
    """Read a number, of which :func:`is_number` must hold."""
    decimal = source.decimal if isinstance(source, Csv) else None
    other = {".": ",", ",": "."}.get(decimal or "", "")
    return float((text.replace(other, "") if other else text).replace(",", "."))


def _form_of(source: Table) -> re.Pattern[str]:
    decimal = source.decimal if isinstance(source, Csv) else None
    return _GROUPED[decimal] if decimal else _PLAIN


def decimal_mark(parts: Sequence[Sequence[str]], separators: Iterable[str], *, comma_elsewhere: bool = False) -> str:
    """Give the decimal mark that a column shows by itself; empty where it shows none, or its numbers have none.

    ``1.234,5`` and ``1,23`` have a decimal comma, ``1,234.5`` and ``1,234,567`` a point; ``1,234`` may be either. A
    decimal comma is believed only where commas do not separate the columns too.

    Parameters
    ----------
    parts : sequence of sequences of str
        What is there of the column in each of the files.
    separators : iterable of str
        Of the columns of the files.
    comma_elsewhere : bool
        Whether other columns have a decimal comma, so that points may group thousands here.

    Raises
    ------
    FaultError
        If a part of it may be read either way, or files show different marks.
    """
    own = [_mark_of(part, separators) for part in parts]
    shown = set(own) - {""}
    if len(shown) > 1:
        raise FaultError("is written otherwise in the two files, with a decimal comma and with a point; write one")
    doubted = [part for part, mark in zip(parts, own, strict=True) if not mark]
    if shown or comma_elsewhere:
        for part in doubted:
            either = next((value for value in part if _is_either(value) and (shown != {"."} or "," in value)), None)
            if either is not None and _all_of(_GROUPED["."], part) and _all_of(_GROUPED[","], part):
                raise FaultError(
                    f"holds numbers such as {either!r}, which may be read in two ways, and only another column or file "
                    'shows a decimal mark; set data.decimal to "." or to ","'
                )
    return next(iter(shown), "")


def _is_either(value: str) -> bool:
    """Say whether it is one number with a decimal point and another one with a decimal comma."""
    return not value.lstrip("+-").isdigit() and all(form.fullmatch(value) for form in _GROUPED.values())


def _mark_of(text: Sequence[str], separators: Iterable[str]) -> str:
    forms = [bool(_WITH_COMMA.fullmatch(value)) for value in text]
    numbers = sum(forms) + sum(_PLAIN.fullmatch(value) is not None for value in text)
    if not any(forms) or numbers < NEARLY_ALL * len(text):
        return ""
    possible = [mark for mark, form in _GROUPED.items() if _all_of(form, text)]
    return possible[0] if len(possible) == 1 and possible[0] not in separators else ""


def _all_of(form: re.Pattern[str], text: Sequence[str]) -> bool:
    """Say whether all that is no mark of a missing value has the form."""
    return all(form.fullmatch(value) or value.lower() in MARKS for value in text)
