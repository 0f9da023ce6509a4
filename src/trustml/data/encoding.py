"""Columns of a table to numbers: text to one column a category, numbers by their known range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        If a declared column is not there, a value is missing or none of the declared ones, or text is refused.
    """
    declared = {"drop": source.drop, "ranges": source.ranges, "categories": source.categories, "keys": source.keys}
    for field, names in declared.items():
        for name in names:
            if name not in table.columns:
                known = ", ".join(map(str, table))
                raise DataError(f"{source.path}: data.{field} names no column {name!r}; choose among {known}")
    features = table.drop(columns=[source.label, *source.drop])
    parts: list[npt.NDArray[Any]] = []
    groups: list[int] = []
    learned: list[str] = []
    for number, name in enumerate(map(str, features)):
        column = features[name]
        if column.dtype.kind in "biuf" and name not in source.categories:
            parts.append(_numbers(column, name, source)[:, None])
        else:
            parts.append(_one_hot(column, name, source))
            if name not in source.categories:
                learned.append(name)
        groups += [number] * parts[-1].shape[1]
    return Encoded(
        values=np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0)),
        names=tuple(map(str, features)),
        groups=tuple(groups),
        learned=tuple(learned),
    )


def key_columns(table: pd.DataFrame, source: Csv | Parquet) -> dict[str, npt.NDArray[np.str_]]:
    """Give the columns that may name clients as text, one value a row; a missing value is a name of its own."""
    found = {}
    for name in source.keys:
        column = table[name]
        absent = column.isna().to_numpy()
        found[name] = column.astype(object).where(~absent, MISSING).astype(str).str.strip().to_numpy(dtype=np.str_)
    return found


def _numbers(column: pd.Series, name: str, source: Csv | Parquet) -> npt.NDArray[np.float64]:
    values = column.to_numpy(np.float64)
    absent = np.flatnonzero(~np.isfinite(values))
    if len(absent):
        raise DataError(
            f"{source.path}: column {name!r} holds {len(absent)} missing or infinite numbers, the first at row "
            f"{absent[0]}; fill or remove them"
        )
    if name not in source.ranges:
        return values
    low, high = source.ranges[name]
    if not low < high:
        raise DataError(f"{source.path}: data.ranges.{name}: {low} is not below {high}; give lowest and highest")
    return 2 * (values - low) / (high - low) - 1


def _one_hot(column: pd.Series, name: str, source: Csv | Parquet) -> npt.NDArray[np.float64]:
    absent = column.isna().to_numpy()
    text = column.astype(object).where(~absent, MISSING).astype(str).str.strip().to_numpy()
    if source.categorical == "refuse":
        raise DataError(
            f"{source.path}: column {name!r} holds text such as {text[0]!r}; encode it as numbers, drop it, or set "
            "data.categorical to one-hot"
        )
    if absent.any() and source.missing == "refuse":
        raise DataError(
            f"{source.path}: column {name!r} holds {absent.sum()} missing values, the first at row "
            f"{np.flatnonzero(absent)[0]}; fill them, or set data.missing to category"
        )
    categories = source.categories.get(name)
    if categories is None:
        categories = tuple(str(value) for value in np.unique(text))
        if len(categories) > MOST_CATEGORIES:
            raise DataError(
                f"{source.path}: column {name!r} holds {len(categories)} different texts, more than {MOST_CATEGORIES}; "
                "drop it, or declare its categories"
            )
    elif source.missing == "category" and MISSING not in categories:
        categories = (*categories, MISSING)  # whether or not one is missing: columns must not depend on the rows
    unknown = np.flatnonzero(~np.isin(text, categories))
    if len(unknown):
        raise DataError(
            f"{source.path}: column {name!r} holds {text[unknown[0]]!r} at row {unknown[0]}, none of its declared "
            f"categories; add it to data.categories.{name}"
        )
    return (text[:, None] == np.array(categories, dtype=object)[None, :]).astype(np.float64)
