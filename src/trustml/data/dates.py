"""Dates and times of a table as numbers: years since the beginning of 2000, or the part of a day.

The zero and the unit are constants, so that nothing is taken from the data.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.spelling import MARKS, NEARLY_ALL, FaultError, Texts, is_number
from trustml.scenario.sources import Table

if TYPE_CHECKING:
    import pandas as pd

Numbers: TypeAlias = npt.NDArray[np.float64]
Order: TypeAlias = Literal["day first", "month first"]
_ZERO = datetime.datetime(2000, 1, 1)
_YEAR = 365.2425 * 86_400
_DAY = 86_400
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?(?:\s*(?P<half>am|pm))?"
_ZONE = r"\s*(?P<zone>z|utc|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})([-/])(?P<month>\d{{1,2}})\2(?P<day>\d{{1,2}})(?:[ t]\s*{_CLOCK}{_ZONE})?", re.I
)
_YEAR_LAST = re.compile(rf"(?P<a>\d{{1,2}})([./-])(?P<b>\d{{1,2}})\2(?P<year>\d{{4}})(?:,? {_CLOCK}{_ZONE})?", re.I)
_TIME = re.compile(_CLOCK, re.I)
_MONTH_YEAR = re.compile(rf"{_MONTH} (?P<year>\d{{4}})", re.I)
_NAMED = (
    re.compile(rf"{_MONTH}[ -](?P<day>\d{{1,2}})(?:,? |-)(?P<year>\d{{4}})", re.I),
    re.compile(rf"(?P<day>\d{{1,2}})\.?[ -]{_MONTH},?[ -](?P<year>\d{{4}})", re.I),
)
_FORMS = (_YEAR_FIRST, _YEAR_LAST, _TIME, _MONTH_YEAR)
_LIKE = re.compile(  # what is taken for a date or a time
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?|"
    r"\d{1,2}:\d{2}(:\d{2})?|[A-Za-z]{3} \d{4}"
)


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments as numbers, NaN where one is missing.

    Attributes
    ----------
    values : float64 array
    order : str
        How dates such as 1/2/2024 were read, or that all are times of the day; empty where neither needs a word.
    shown : bool
        Whether rows alone showed the order, so that others might show another one.
    """

    values: Numbers
    order: str
    shown: bool = False


def moments_in(text: Texts, source: Table, *, wide: bool = False) -> Moments | None:
    """Give the moments that a column of text holds; None where it holds none.

    Parameters
    ----------
    text : object array of str or None
    source : Table
    wide : bool
        Whether the names of months make a date too, as in ``17 Aug 1984``.

    Raises
    ------
    FaultError
        If nearly all of it are dates, and one cannot be read, or could be two.
    """
    there = [row for row, value in enumerate(text) if value is not None]
    rows = [row for row in there if text[row].lower() not in MARKS]
    like = [row for row in rows if _is_like(text[row], wide=wide)]
    plain = sum(is_number(text[row], source) for row in rows)
    counted = len(rows if wide else there)
    if not like or 2 * len(like) <= counted - plain or plain + len(like) < NEARLY_ALL * counted:
        return None
    if len(like) < len(rows):
        row = next(row for row in rows if not _is_like(text[row], wide=wide))
        raise FaultError(
            f"holds dates or times such as {text[like[0]]!r}, and {text[row]!r} at row {row}; fix or empty it, or drop "
            "the column"
        )
    return _as_numbers(text, rows, source)


def moments_of(column: pd.Series) -> Numbers | None:
    """Give a column of moments that its file calls so as numbers; None where it is none."""
    import pandas as pd

    if column.dtype.kind == "m":
        return np.asarray(column.dt.total_seconds() / _DAY, np.float64)
    if column.dtype.kind == "M" or isinstance(column.dtype, pd.DatetimeTZDtype):
        if column.dt.tz is not None:
            column = column.dt.tz_convert(None)
        return np.asarray((column - pd.Timestamp(_ZERO)).dt.total_seconds() / _YEAR, np.float64)
    kinds = {type(value) for value in column.dropna()} if column.dtype == object else set()
    if kinds in ({datetime.date}, {datetime.time}):
        return np.array([np.nan if pd.isna(value) else _number(value) for value in column])
    return None


def _number(value: datetime.date | datetime.time) -> float:
    if isinstance(value, datetime.time):
        return (value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6) / _DAY
    return (datetime.datetime(value.year, value.month, value.day) - _ZERO).total_seconds() / _YEAR


def _is_like(text: str, *, wide: bool) -> bool:
    return bool(_LIKE.fullmatch(text)) or (wide and any(form.fullmatch(text) for form in _NAMED))


def _as_numbers(text: Texts, rows: list[int], source: Table) -> Moments:
    found = np.full(len(text), np.nan)
    order: Order | None = None
    shown = False
    known: dict[str, float] = {}
    kinds: set[bool] = set()
    for row in rows:
        value = text[row]
        if value not in known:
            match = next((match for form in (*_FORMS, *_NAMED) if (match := form.fullmatch(value))), None)
            if match is None:
                raise FaultError(
                    f"holds {value!r} at row {row}, a date or time in a form that is not read; write it like 2024-01-31"
                )
            parts = match.groupdict()
            if "a" in parts and order is None:
                order, shown = _order(text, rows, source)
            kinds.add("year" in parts)
            try:
                known[value] = _moment(parts, order)
            except ValueError:
                raise FaultError(
                    f"holds {value!r} at row {row}, which is no date or time; fix that row, or see data.dates"
                ) from None
        found[row] = known[value]
    if len(kinds) > 1:
        raise FaultError(f"holds dates and times of the day, such as {text[rows[0]]!r}; give one kind, or drop it")
    return Moments(values=found, order=order or ("times of the day" if kinds == {False} else ""), shown=shown)


def _order(text: Texts, rows: list[int], source: Table) -> tuple[Order, bool]:
    """Say which of two numbers is the day: as told, where there are points the first, else as one above 12 shows.

    Then only rows showed it.
    """
    if source.dates is not None:
        return source.dates, False
    matches = [match for row in rows if (match := _YEAR_LAST.fullmatch(text[row]))]
    dotted = [match[2] == "." for match in matches]
    if all(dotted):
        return "day first", False
    if any(dotted):
        told = " and ".join(repr(matches[dotted.index(one)][0]) for one in (True, False))
        raise FaultError(
            f'holds dates in two forms, such as {told}; write one, or set data.dates to "day first" or "month first"'
        )
    day_first = any(int(match["a"]) > 12 for match in matches)
    month_first = any(int(match["b"]) > 12 for match in matches)
    if day_first == month_first:
        both = "and others, of which no order fits all" if day_first else "which may be two days"
        raise FaultError(
            f'holds dates such as {text[rows[0]]!r}, {both}; set data.dates to "day first" or "month first"'
        )
    return "day first" if day_first else "month first", True


def _moment(parts: dict[str, str | None], order: Order | None) -> float:
    """Number of one date or time; a ValueError where there is none such."""
    hour, minute, second = (float(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + 12 * (half.lower() == "pm")
    if hour >= 24 or minute >= 60 or second >= 60:
        raise ValueError
    seconds = 3600 * hour + 60 * minute + second - _offset(parts.get("zone"))
    if "year" not in parts:
        return seconds / _DAY
    if "a" in parts:
        day, month = (parts["a"], parts["b"]) if order == "day first" else (parts["b"], parts["a"])
    elif "name" in parts:
        day, month = parts.get("day") or "1", str(_MONTHS.index(str(parts["name"])[:3].lower()) + 1)
    else:
        day, month = parts["day"], parts["month"]
    date = datetime.datetime(int(str(parts["year"])), int(str(month)), int(str(day)))
    return ((date - _ZERO).total_seconds() + seconds) / _YEAR


def _offset(zone: str | None) -> int:
    """Seconds that a zone is before UTC."""
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "")
    return (1 if zone[0] == "+" else -1) * (3600 * int(digits[:2]) + 60 * int(digits[2:]))
