"""Data sets of time series: laid out to one length, and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.cautions import LARGE
from trustml.data.dataset import Dataset, Examples, Floats, Ints
from trustml.data.gathering import scratch
from trustml.data.preparation import Preparation, Scaled
from trustml.data.series_files import RawSeries, Values, read_series
from trustml.data.splits import encode_and_split
from trustml.data.tables import refuse_same_path
from trustml.errors import DataError
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.scenario.sources import Series

_SCALED: dict[str, Scaled] = {"none": "none", "each": "each example", "standard": "training statistics"}


def load_series(source: Series, task: Task = DEFAULT_TASK) -> Dataset:
    """Read series and their labels, fill, scale and pad.

    Raises
    ------
    DataError
        If a file is broken, or series differ in what the source does not declare.
    """
    refuse_same_path(source)
    paths = [path for path in (source.path, source.test_path) if path is not None]
    raws = [read_series(Path(path), source) for path in paths]
    held = len(raws[1].values) if len(raws) > 1 else 0
    series = _prepared(paths, raws, source)
    where = source.path
    labels = np.concatenate([raw.labels for raw in raws])
    encoded, rows = encode_and_split(labels, source, task, where=where, held=held, by=_split_by(raws, source))
    steps, told = _steps(series, source)
    if source.scaling == "standard":
        series = _standardised(series, rows[0], steps)
    inputs = [_padded([series[row] for row in part], steps, where) for part in rows]
    largest = max(float(np.abs(part).max()) for part in inputs)
    if source.scaling == "none" and largest > LARGE:
        told += (
            f"values reach {largest:.4g}, and networks seldom learn from such inputs: set data.scaling to each or "
            "standard",
        )
    train, test = (Examples(inputs=part, labels=encoded.values[side]) for part, side in zip(inputs, rows, strict=True))
    return Dataset(
        train=train,
        test=test,
        class_names=encoded.names,
        task=task,
        preparation=Preparation(scaling=_SCALED[source.scaling], categories="none", classes="of the data"),
        warnings=(*told, *encoded.warnings),
    )


def _prepared(paths: Sequence[str], raws: Sequence[RawSeries], source: Series) -> list[Values]:
    """Give each series up to its end, without gaps, and scaled by itself where that is declared."""
    found: list[Values] = []
    for path, raw in zip(paths, raws, strict=True):
        if not len(raw.values):
            raise DataError(f"{path}: holds no series; name a file with some")
        for row, values in enumerate(raw.values):
            if values.shape[1] != raws[0].values[0].shape[1]:
                raise DataError(
                    f"{path}: series {row} has {values.shape[1]} channels and the first has "
                    f"{raws[0].values[0].shape[1]}; fix or remove it"
                )
            whole = _without_gaps(path, row, _up_to_its_end(values), source)
            found.append(_by_itself(whole) if source.scaling == "each" else whole)
    return found


def _up_to_its_end(values: Values) -> Values:
    """Cut off the steps at the end that hold nothing: archives fill shorter series so."""
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: known[-1] + 1] if len(known) else values[:0]


def _without_gaps(path: str, row: int, values: Values, source: Series) -> Values:
    if not len(values):
        raise DataError(f"{path}: series {row} holds no value; remove it")
    if np.isinf(values).any():
        raise DataError(f"{path}: series {row} holds an infinite value; fix or remove it")
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if source.missing == "refuse":
        step, channel = np.argwhere(gaps)[0]
        raise DataError(
            f"{path}: series {row} misses {gaps.sum()} values, the first at step {step} of channel {channel}; set "
            "data.missing to interpolate, or remove it"
        )
    steps, found = np.arange(len(values)), values.copy()
    for channel, gap in enumerate(gaps.T):
        if gap.all():
            raise DataError(f"{path}: series {row} has no value in channel {channel} to go by; remove it")
        found[gap, channel] = np.interp(steps[gap], steps[~gap], values[~gap, channel])
    return found


def _by_itself(values: Values) -> Values:
    deviation = values.std(axis=0)
    constant = values.max(axis=0) == values.min(axis=0)
    return (values - np.where(constant, values[0], values.mean(axis=0))) / np.where(constant, 1.0, deviation)


def _steps(series: Sequence[Values], source: Series) -> tuple[int, tuple[str, ...]]:
    """Say how many steps all are to have, and what becomes of them."""
    sizes = [len(values) for values in series]
    short, long = min(sizes), max(sizes)
    if source.length is None and short != long:
        raise DataError(
            f"{source.path}: series have {short} to {long} steps; set data.length, to which shorter ones are padded "
            "with zeros and longer ones are cut"
        )
    steps = source.length or long
    told = [
        f"{count} of {len(sizes)} series {what}"
        for count, what in (
            (sum(size < steps for size in sizes), f"are shorter than {steps} steps: zeros follow them"),
            (sum(size > steps for size in sizes), f"are longer than {steps} steps: the ends were cut off"),
        )
        if count
    ]
    return steps, tuple(told)


def _standardised(series: Sequence[Values], train: Ints, steps: int) -> list[Values]:
    """Scale by the mean and deviation of each channel over all steps of the training series that are used."""
    known = [series[row][:steps] for row in train]
    count = sum(map(len, known))
    mean = sum(values.sum(axis=0) for values in known) / count
    deviation = np.sqrt(sum(((values - mean) ** 2).sum(axis=0) for values in known) / count)
    low, high = (np.array([side(values, axis=0) for values in known]) for side in (np.min, np.max))
    constant = low.min(axis=0) == high.max(axis=0)
    mean, deviation = np.where(constant, low.min(axis=0), mean), np.where(constant, 1.0, deviation)
    return [(values - mean) / deviation for values in series]


def _padded(series: Sequence[Values], steps: int, where: str) -> Floats:
    channels = series[0].shape[1]
    found = scratch((len(series), steps, channels))
    for row, values in enumerate(series):
        kept = values[:steps]
        with np.errstate(over="ignore"):
            found[row, : len(kept)] = kept
        found[row, len(kept) :] = 0.0
        if not np.isfinite(found[row]).all():
            raise DataError(f"{where}: values reach {math.fabs(kept.max()):.3g}, beyond float32; set data.scaling")
    return found


def _split_by(raws: Sequence[RawSeries], source: Series) -> npt.NDArray[Any] | None:
    if source.split_by is None:
        return None
    by = np.concatenate([raw.by for raw in raws if raw.by is not None])
    if source.split == "by group":
        return by.astype(np.str_)
    if by.dtype.kind not in "biuf":
        raise DataError(f"{source.path}: {source.split_by!r} is {by.dtype}, no time; give numbers to split by")
    return by.astype(np.float64)
