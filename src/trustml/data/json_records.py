"""Tables in JSON: one array of objects, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def records_of(content: bytes) -> pd.DataFrame:
    """Read objects to rows; a name that an object lacks is missing there, and so is ``null``.

    Raises
    ------
    ValueError, RecursionError
        If it is no JSON, anything but objects, or an object has one name twice.
    """
    import pandas as pd

    text = content.decode("utf-8-sig").strip()
    if text.startswith("["):
        records = _parsed(text)
    else:
        lines = (line for line in text.split("\n") if line.strip())  # strings may hold other ends of lines
        records = [_parsed(line, where=f" in line {number}") for number, line in enumerate(lines, 1)]
    odd = next((number for number, record in enumerate(records) if not isinstance(record, dict)), None)
    if not records or odd is not None:
        raise ValueError("is empty" if not records else f"row {odd} is no object; give one object a row")
    names = list(dict.fromkeys(name for record in records for name in record))
    return pd.DataFrame({name: _column([record.get(name) for record in records]) for name in names}, columns=names)


def _parsed(text: str, *, where: str = "") -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}{where or f' in line {error.lineno}'}") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = {name.strip(): value for name, value in pairs}
    if len(found) < len(pairs):
        raise ValueError(f"an object has one name twice among {', '.join(sorted(found))[:80]}")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON; write null")


def _column(values: list[Any]) -> pd.Series:
    import pandas as pd

    kinds = {type(value) for value in values} - {type(None)}
    if kinds and kinds <= {int, float}:
        whole = kinds == {int} and None not in values
        try:
            return pd.Series(np.array(values, np.int64 if whole else np.float64))
        except OverflowError:
            raise ValueError(
                f"a number is beyond what can be computed with: {max(map(str, values), key=len)[:20]}..."
            ) from None
    if kinds == {bool} and None not in values:
        return pd.Series(np.array(values, np.bool_))
    return pd.Series(values, dtype=object)
