"""Time series from the files that they come in, of any length, to arrays of (steps, channels)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trustml.data.files import read_npz
from trustml.data.labels import as_numbers
from trustml.data.npy import DAMAGED, largest_now
from trustml.data.parquet import why_not_a_table
from trustml.data.tables import content_of, first_line, require_file
from trustml.errors import DataError
from trustml.scenario.sources import Series

if TYPE_CHECKING:
    import pyarrow as pa

Values = npt.NDArray[np.float64]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MISSING = {"", "?", "nan"}


@dataclass(frozen=True, kw_only=True)
class RawSeries:
    """What a file holds.

    Attributes
    ----------
    values : sequence of float64 arrays of shape (steps, channels)
        What is missing is no number.
    labels : array of shape (n,)
    by : array of shape (n,), optional
        What examples are split by.
    """

    values: Sequence[Values] | Values
    labels: npt.NDArray[Any]
    by: npt.NDArray[Any] | None = None


def read_series(path: Path, source: Series) -> RawSeries:
    """Read a file by its name.

    Raises
    ------
    DataError
        If it is missing or damaged, or a value is no number.
    """
    require_file(path)
    name = path.name.lower()
    if name.endswith(".npz"):
        return _of_arrays(path, source)
    if name.endswith((".parquet", ".pq")):
        return _of_lists(path, source)
    if source.split_by is not None:
        raise DataError(f"data.split_by: {path.name} names nothing to split by; use stratified or random")
    if source.inputs or source.label is not None:
        raise DataError(f"data.inputs, data.label: {path.name} has no columns of names; remove them")
    try:
        lines = content_of(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; name an .npz, .parquet, .ts or text file") from None
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); fix or replace it") from error
    return _of_ts(path, lines) if any(line.strip().lower() == "@data" for line in lines) else _of_rows(path, lines)


def _of_arrays(path: Path, source: Series) -> RawSeries:
    if len(source.inputs) > 1:
        raise DataError(
            f"data.inputs: {list(source.inputs)} are several arrays; name one, whose last axis are channels"
        )
    named = () if source.split_by is None else (source.split_by,)
    names = (*(source.inputs or ("inputs",)), source.label or "labels", *named)
    inputs, labels, *by = read_npz(path, names=names)
    if inputs.dtype.kind not in "biuf" or inputs.ndim not in (2, 3) or not inputs.size:
        raise DataError(
            f"{path}: {names[0]!r} is {inputs.dtype} of shape {inputs.shape}; give numbers of shape (n, steps) or "
            "(n, steps, channels)"
        )
    for name, array, most in zip(names[1:], (labels, *by), (2, 1), strict=False):
        if not 1 <= array.ndim <= most or len(array) != len(inputs):
            raise DataError(f"{path}: {name!r} has shape {array.shape}; give one for each of {len(inputs)} series")
    inputs = inputs[:, :, None] if inputs.ndim == 2 else inputs
    if source.channels == "first":
        inputs = np.moveaxis(inputs, 1, 2)
    return RawSeries(values=list(inputs.astype(np.float64)), labels=labels, by=by[0] if by else None)


def _of_lists(path: Path, source: Series) -> RawSeries:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            if problem := why_not_a_table(stream, most_bytes=largest_now()):
                raise ValueError(problem)
            stream.seek(0)
            table = pq.ParquetFile(stream).read()
            columns = {name: table.column(name).combine_chunks() for name in dict.fromkeys(table.column_names)}
    except (pa.ArrowException, *DAMAGED) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}); fix or replace it") from error
    label = source.label or "label"
    lists = tuple(name for name, column in columns.items() if _is_list(column.type))
    names = source.inputs or tuple(name for name in lists if name not in (label, source.split_by))
    for name in (*names, label, *([source.split_by] if source.split_by else [])):
        if name not in columns:
            raise DataError(f"{path}: holds no column {name!r}; choose among {', '.join(columns)}")
    if not names:
        raise DataError(f"{path}: no column holds lists of numbers; write one for each channel")
    channels = [_lists(path, name, columns[name]) for name in names]
    values = []
    for row, parts in enumerate(zip(*channels, strict=True)):
        if len({len(part) for part in parts}) > 1:
            sizes = ", ".join(f"{name} {len(part)}" for name, part in zip(names, parts, strict=True))
            raise DataError(f"{path}: channels of row {row} differ in length ({sizes}); fix or remove that row")
        values.append(np.stack(parts, axis=1))
    by = None if source.split_by is None else columns[source.split_by].to_pandas().to_numpy()
    return RawSeries(values=values, labels=columns[label].to_pandas().to_numpy(), by=by)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _lists(path: Path, name: str, column: pa.ListArray) -> list[Values]:
    """Give the numbers of each list."""
    import pyarrow as pa

    kind = column.type.value_type if _is_list(column.type) else column.type
    if not _is_list(column.type) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{path}: column {name!r} is {column.type}, no list of numbers; name others in data.inputs")
    if column.null_count:
        raise DataError(f"{path}: column {name!r} holds no list in {column.null_count} rows; remove them")
    lengths = column.value_lengths().to_numpy()
    numbers = column.flatten().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.split(numbers, np.cumsum(lengths)[:-1])


def _of_ts(path: Path, lines: Sequence[str]) -> RawSeries:
    """Read the format of the UEA and UCR archives: a header, then channels between colons and the label last."""
    head = {}
    begin = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data")
    for line in lines[:begin]:
        if line.startswith("@"):
            key, *rest = line[1:].split() or [""]
            head[key.lower()] = [word.lower() for word in rest]
    if head.get("timestamps", ["false"])[:1] == ["true"]:
        raise DataError(f"{path}: has time stamps, which are not read; write the values alone, at even steps")
    if "true" not in (head.get("classlabel", [""])[:1] + head.get("targetlabel", [""])[:1]):
        raise DataError(f"{path}: says that it has no labels; name a file with @classLabel true or @targetLabel true")
    values, labels = [], []
    for number, line in enumerate(lines[begin + 1 :], begin + 2):
        if not line.strip() or line.startswith(("#", "%")):
            continue
        *channels, label = line.split(":")
        if not channels:
            raise DataError(f"{path}: line {number} holds no colon before a label; fix or remove it")
        parts = [_numbers(path, number, channel.split(",")) for channel in channels]
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"{path}: channels of line {number} differ in length; fill them with NaN, or remove it")
        values.append(np.stack(parts, axis=1))
        labels.append(label.strip())
    return RawSeries(values=values, labels=_labels(labels))


def _of_rows(path: Path, lines: Sequence[str]) -> RawSeries:
    """Read rows of text: the label, then the values."""
    values, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = "\t" if "\t" in line else "," if "," in line else None
        label, *rest = line.split(separator)
        if not rest:
            raise DataError(f"{path}: line {number} is no label and values behind tabs, commas or blanks; fix it")
        values.append(_numbers(path, number, rest)[:, None])
        labels.append(label.strip())
    return RawSeries(values=values, labels=_labels(labels))


def _numbers(path: Path, line: int, parts: Sequence[str]) -> Values:
    """Read numbers, of which some are missing."""
    text = [part.strip() for part in parts]
    for place, part in enumerate(text):
        if not _NUMBER.fullmatch(part) and part.lower() not in _MISSING:
            raise DataError(f"{path}: {part[:40]!r} at line {line}, value {place + 1}, is no number; fix that line")
    return np.array([np.nan if part.lower() in _MISSING else float(part) for part in text], np.float64)


def _labels(labels: Sequence[str]) -> npt.NDArray[Any]:
    """Labels as numbers where all are, however they are written: 2.0000000e+00 is class 2."""
    if labels and all(map(_NUMBER.fullmatch, labels)):
        return np.array(labels, np.float64)
    return as_numbers(np.array(labels))
