"""What a table holds: which column is the label, what it asks of a model, and which columns are no features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.encoding import encode_table, with_mark
from trustml.data.spelling import FaultError, as_text, numbers_in
from trustml.data.tables import Tables, read_tables
from trustml.drafting.found import MANY, Found, outward, source_from
from trustml.errors import DataError, UsageError
from trustml.models.tasks import Classes, Labels, Regression, Task
from trustml.scenario.sources import Csv, Json, Parquet, Table

if TYPE_CHECKING:
    import pandas as pd

AnyTable: TypeAlias = Csv | Parquet | Json

ENDINGS: dict[type[AnyTable], tuple[str, ...]] = {
    Csv: (".csv", ".tsv", ".tab", ".txt", ".data"),
    Parquet: (".parquet", ".pq"),
    Json: (".json", ".jsonl", ".ndjson"),
}
_LABELS = ("label", "labels", "target", "class", "y", "outcome")
_IDENTIFIER = re.compile(r"(^|_| )(id|uuid|guid|index|rownames|identifier)s?$|^id(_| )|[a-z]ID$", re.IGNORECASE)
_FEW_EACH = 10
_BUCKETS = 32
_MANY_TEXTS = 20


def kind_of_table(path: Path) -> type[AnyTable] | None:
    """Give the source that reads such a file, by its name; None where it is no table."""
    name = path.name.lower().removesuffix(".gz")
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)


def find_in_table(path: Path, label: Sequence[str], test: Path | None, settings: Mapping[str, Any]) -> Found:
    """Read a table and say what to make of its columns.

    Raises
    ------
    UsageError
        If no column is named as the label, and none is likely.
    DataError
        If the table cannot be read as it is.
    """
    kind = kind_of_table(path)
    assert kind is not None
    given = {"path": str(path), "test_path": None if test is None else str(test), **settings}
    if not label:
        names = list(map(str, read_tables(source_from(kind, {"label": "", **given})).table))
        label = (likely_label(names, path),)
    source = source_from(kind, {"label": label[0] if len(label) == 1 else list(label), **given})
    read = read_tables(source)
    missing = [name for name in label if name not in read.table]
    if missing:
        known = ", ".join(map(str, read.table))
        raise UsageError(f"--label {missing[0]!r}: {path} has no such column; choose among {known}")
    task, notes = task_of_column(read, source)
    what = notes.get("data.label") or notes.get("task", "")
    told = [f"the label is {' and '.join(map(repr, source.label_columns))}: {what[:1].lower()}{what[1:]}"]
    drops, hashed = _no_features(read, source, task)
    told += [f"{column!r} is left out: {why}" for column, why in drops.items()]
    told += [f"{column!r} is hashed into {buckets} columns: it holds many texts" for column, buckets in hashed.items()]
    told += _told_by_one(read, source, task, drops)
    source = msgspec.structs.replace(
        source,
        drop=(*source.drop, *drops),
        hashing={**hashed, **source.hashing},
    )
    if source.scaling == "none" and not source.ranges:
        source = msgspec.structs.replace(source, scaling="standard")
        notes["data.scaling"] = (
            "Mean and deviation of the training rows, which no epsilon covers. To be covered, give the publicly known "
            "lowest and highest value of each column instead: ranges={'age': (0.0, 120.0), ...}."
        )
    if source.drop:
        notes["data.drop"] = "; ".join(f"{column}: {why}" for column, why in drops.items())
    if source.hashing:
        notes["data.hashing"] = "Columns of many texts; every bucket is a column, whatever the rows hold."
    chosen = ("data.drop", "data.hashing", "task")
    return Found(source=source, task=task, notes=notes, told=tuple(told), chosen=chosen)


def likely_label(names: Sequence[str], path: Path) -> str:
    """Give the column that is named as a label.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    likely = [name for name in names if name.strip().lower() in _LABELS]
    if len(likely) > 1:
        raise UsageError(
            f"--label: {path} has {len(likely)} columns named like labels; name the one to learn: {', '.join(likely)}"
        )
    if likely:
        return likely[0]
    raise UsageError(
        f"--label: no name of a column of {path} is a usual one of a label; name the one to learn: {', '.join(names)}"
    )


def task_of_column(read: Tables, source: Table) -> tuple[Task, dict[str, str]]:
    """Say what the columns of the label ask of a model, and why."""
    columns = source.label_columns
    if not len(read.table):
        raise DataError(f"{source.path}: holds no rows; name a table with some")
    if len(columns) > 1:
        return Labels(), {"task": f"Each of {', '.join(columns)} holds or does not."}
    try:
        text = as_text(read.table[columns[0]])
        values = _numbers(text, source, read.marks.get(columns[0]))
    except FaultError as fault:
        raise DataError(f"{source.path}: label {columns[0]!r} {fault}") from None
    different = len({value for value in text if value is not None})
    if values is None:
        return Classes(), {"data.label": f"{different} texts: classes."}
    known = values[~np.isnan(values)]
    whole = bool((known == np.round(known)).all())
    if whole and (different == 2 or (different <= MANY and len(known) >= _FEW_EACH * different)):
        return Classes(), {"data.label": f"{different} different numbers: classes. To learn them as numbers, set task."}
    span = outward(float(known.min()), float(known.max()))
    why = (
        f"{different} different numbers: a regression. The range maps targets to [-1, 1]; it was read from the data "
        "and rounded outward. Give what is publicly known instead."
    )
    return Regression(target_range=span), {"task": why}


def _numbers(text: npt.NDArray[np.object_], source: Table, mark: str | None) -> npt.NDArray[np.float64] | None:
    found = numbers_in(text, with_mark(source, mark), codes=False)
    return None if found is None or np.isnan(found).all() else found


def _no_features(read: Tables, source: Table, task: Task) -> tuple[dict[str, str], dict[str, Any]]:
    """Columns to leave out, each with its reason, and columns to hash, each with its buckets."""
    table = read.table
    rows = len(table)
    declared = {*source.label_columns, *source.drop, *source.keys, *source.categories, *source.hashing}
    drops: dict[str, str] = {}
    for name in map(str, table):
        if name in declared or name == source.split_by:
            continue
        if why := why_no_feature(table[name], name, rows) or _why_it_is_the_label(table, name, source, task):
            drops[name] = why
    if not set(map(str, table)) - declared - set(drops):
        raise UsageError(_nothing_left(drops, source))
    encoded = encode_table(table, msgspec.structs.replace(source, drop=(*source.drop, *drops)), marks=read.marks)
    for name in encoded.counting:
        drops[name] = "it counts the rows"
    hashed: dict[str, Any] = {}
    for name, different in encoded.left_out.items():
        if different > rows / 2:
            drops[name] = f"nearly every row has a text of its own ({different} in {rows} rows)"
        else:
            hashed[name] = _BUCKETS
    if not hashed and not set(encoded.names) - set(drops):
        raise UsageError(_nothing_left(drops, source))
    return drops, hashed


def _nothing_left(drops: Mapping[str, str], source: Table) -> str:
    reasons = "; ".join(f"{name}: {why}" for name, why in drops.items()) or "there is none beside the label"
    return f"{source.path}: no column is left to learn from ({reasons}); write the scenario by hand"


def _told_by_one(read: Tables, source: Table, task: Task, drops: Mapping[str, str]) -> list[str]:
    """Name columns of numbers of which one threshold tells two classes apart: they may be known only afterwards."""
    label = source.label_columns[0]
    kinds = read.table[label].dropna().unique()
    if not isinstance(task, Classes) or len(kinds) != 2:
        return []
    found = []
    for name in map(str, read.table):
        column = read.table[name]
        if name == label or name in drops or name in source.drop or column.dtype.kind not in "iuf":
            continue
        ends = column.groupby(read.table[label]).agg(["min", "max"]).to_numpy(float)
        if column.nunique() > 2 and (ends[0, 1] < ends[1, 0] or ends[1, 1] < ends[0, 0]):
            found.append(
                f"a threshold of {name!r} alone tells the classes apart: drop it if it is known only afterwards"
            )
    return found


def why_no_feature(column: pd.Series, name: str, rows: int) -> str:
    """Say why a column is nothing to learn from, by its values and its name; empty where it may be."""
    try:
        different = column.nunique(dropna=False)
    except TypeError:  # lists and the like, which the reader refuses by name
        return ""
    if different <= 1:
        return "it holds one value"
    texts = column.dtype.kind not in "biufMm"
    if texts and different > max(_MANY_TEXTS, rows / 2) and not _are_numbers(column):
        return f"nearly every row has a text of its own ({different} in {rows} rows)"
    if different > 0.9 * rows and column.dtype.kind != "f" and _IDENTIFIER.search(name):
        return "it names the rows"
    return ""


def _are_numbers(column: pd.Series) -> bool:
    """Whether a column of texts may be numbers or dates, which the reader tells apart."""
    return bool(column.dropna().astype(str).str.contains(r"\d").mean() > 0.9)


def _why_it_is_the_label(table: pd.DataFrame, name: str, source: Table, task: Task) -> str:
    """Say that a column tells the label without a model: a copy of it under another name."""
    columns = source.label_columns
    if len(columns) > 1:
        return ""
    label, column = table[columns[0]], table[name]
    if isinstance(task, Regression):
        import pandas as pd

        numbers = pd.to_numeric(label, errors="coerce")
        if column.dtype.kind not in "iuf":
            return ""
        known = numbers.notna() & column.notna()
        if numbers[known].nunique() < 3 or column[known].nunique() < 3:
            return ""
        ranks = np.corrcoef(numbers[known].rank().to_numpy(), column[known].rank().to_numpy())[0, 1]
        return f"it tells {columns[0]!r} exactly" if abs(ranks) > 1 - 1e-12 else ""  # also the logarithm of it
    try:
        different = column.nunique(dropna=False)
    except TypeError:  # lists and the like, which the reader refuses by name
        return ""
    if different != label.nunique() or different == len(table):
        return ""
    pairs = table[[name, columns[0]]].drop_duplicates()
    return f"it tells {columns[0]!r} exactly" if len(pairs) == label.nunique() else ""
