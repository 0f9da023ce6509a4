"""A source, as declared in a scenario, to a :class:`Dataset` in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.cautions import copies_warnings, precision_warnings, range_warnings, reading_warnings
from trustml.data.dataset import Dataset, Examples, Floats, Ints
from trustml.data.encoding import encode_table, key_columns, split_column
from trustml.data.files import read_idx, read_npz
from trustml.data.gathering import gathered, refuse_beyond, require_finite
from trustml.data.installed import BREAST_CANCER_COLUMNS, read_breast_cancer, read_digits
from trustml.data.labelled_files import load_labelled_files
from trustml.data.labels import encode, labels_of_table
from trustml.data.modules import load_module
from trustml.data.preparation import Categories, Classes, Preparation, Scaled
from trustml.data.series import load_series
from trustml.data.splits import refuse_leakage, require_split, split_rows
from trustml.data.tables import read_tables
from trustml.data.texts import load_texts
from trustml.errors import DataError
from trustml.models.tasks import DEFAULT_TASK, Labels, Regression, Task
from trustml.scenario.sources import (
    Audio,
    BreastCancer,
    Csv,
    DataSource,
    Digits,
    Idx,
    Images,
    Json,
    Module,
    Npz,
    Parquet,
    Series,
    Source,
    Table,
    Text,
)

# The columns' smallest and largest values as printed in the public description of the data set.
_BREAST_CANCER_LOW = (
    [6.981, 9.71, 43.79, 143.5, 0.053, 0.019, 0.0, 0.0, 0.106, 0.05]
    + [0.112, 0.36, 0.757, 6.802, 0.002, 0.002, 0.0, 0.0, 0.008, 0.001]
    + [7.93, 12.02, 50.41, 185.2, 0.071, 0.027, 0.0, 0.0, 0.156, 0.055]
)  # fmt: skip
_BREAST_CANCER_HIGH = (
    [28.11, 39.28, 188.5, 2501.0, 0.163, 0.345, 0.427, 0.201, 0.304, 0.097]
    + [2.873, 4.885, 21.98, 542.2, 0.031, 0.135, 0.396, 0.053, 0.079, 0.03]
    + [36.04, 49.54, 251.2, 4254.0, 0.223, 1.058, 1.252, 0.291, 0.664, 0.208]
)  # fmt: skip


_PUBLIC = Preparation(scaling="public constants", categories="none", classes="public")


def _of_file(scaling: Scaled) -> Preparation:
    """Preparation of a file of the user's, whose classes are those that its labels hold."""
    return Preparation(scaling=scaling, categories="none", classes="of the data")


def load_dataset(source: DataSource, task: Task = DEFAULT_TASK) -> Dataset:
    """Load, check, split and scale the data that `source` declares, with labels as the task wants them.

    Raises
    ------
    DataError
        If a file is missing or broken, or holds anything but finite numbers and labels of the task.
    """
    require_split(source)
    found = _load(source, task)
    if not len(found.train) or not len(found.test):
        raise DataError(
            f"data: {len(found.train)} examples are left to train on, and {len(found.test)} are held out; "
            "give more, or change data.test_fraction"
        )
    found = replace(found, warnings=(*found.warnings, *copies_warnings(found.train.inputs, found.test.inputs)))
    if isinstance(task, Regression):
        classes: Classes = "targets as they are" if task.target_range is None else "targets by a given range"
    elif isinstance(task, Labels):
        classes = "public"  # there are as many as the scenario names
    else:
        return found
    return replace(found, preparation=msgspec.structs.replace(found.preparation, classes=classes))


def _load(source: DataSource, task: Task) -> Dataset:
    match source:
        case Digits():
            images, target = read_digits()
            found = _split(images[..., None] / 16.0, target, source, task, where="digits")
            return replace(found, preparation=_PUBLIC)
        case BreastCancer():
            values, target, names = read_breast_cancer()
            low, high = np.array(_BREAST_CANCER_LOW), np.array(_BREAST_CANCER_HIGH)
            scaled = 2 * (values - low) / (high - low) - 1
            found = _split(scaled, target, source, task, where="breast_cancer")
            if found.classes == 2:
                found = replace(found, class_names=names)
            columns = BREAST_CANCER_COLUMNS
            return replace(found, feature_names=columns, feature_groups=tuple(range(len(columns))), preparation=_PUBLIC)
        case Idx():
            return _load_idx(source, task)
        case Csv() | Parquet() | Json():
            return _from_table(source, task)
        case Npz():
            return _load_npz(source, task)
        case Images() | Audio():
            return load_labelled_files(source, task)
        case Module():
            return load_module(source, task)
        case Text():
            return load_texts(source, task)
        case Series():
            return load_series(source, task)


def _load_npz(source: Npz, task: Task) -> Dataset:
    named = () if source.split_by is None else (source.split_by,)
    inputs, labels, *by = read_npz(Path(source.path), names=(source.inputs, source.labels, *named))
    warnings: tuple[str, ...] = ()
    if source.channels == "first" or (source.channels is None and _seems_channels_first(inputs)):
        inputs = _channels_last(inputs, source.path)
        warnings = ("found in the file: channels come first, and were moved behind width; see data.channels",)
    scaled: Scaled = "none"
    divisor, standard = 1.0, source.scaling == "standard"
    if inputs.ndim > 2 and inputs.dtype == np.uint8:
        divisor, scaled = 255.0, "public constants"
        warnings += ("inputs are images of bytes: they were scaled to [0, 1] by 1/255",)
    if standard and divisor != 1.0:
        inputs, divisor = inputs.astype(np.float32) / 255.0, 1.0
    found = _split(
        _as_images(inputs), labels, source, task, where=source.path, standard=standard, divisor=divisor, by=by
    )
    found = replace(found, warnings=(*warnings, *found.warnings))
    if source.scaling == "standard":
        scaled = "training statistics"
    return replace(_numbered(found), preparation=_of_file(scaled))


_CHANNELS = (1, 2, 3, 4)


def _seems_channels_first(inputs: npt.NDArray[Any]) -> bool:
    return inputs.ndim == 4 and inputs.shape[1] in _CHANNELS and inputs.shape[3] not in _CHANNELS


def _channels_last(inputs: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    if inputs.ndim != 4:
        raise DataError(f"{where}: data.channels is first, but inputs have shape {inputs.shape}; remove it")
    return np.moveaxis(inputs, 1, 3)


def _numbered(dataset: Dataset) -> Dataset:
    """Name the columns of a table by their numbers; images have none."""
    if len(dataset.input_shape) != 1:
        return dataset
    columns = range(dataset.input_shape[0])
    return replace(dataset, feature_names=tuple(f"feature {i}" for i in columns), feature_groups=tuple(columns))


def _load_idx(source: Idx, task: Task) -> Dataset:
    dataset = replace(_read_idx(source, task), preparation=_of_file("public constants"))  # 1/255, of the format
    if _seems_channels_first(dataset.test.inputs):
        told = f"images have shape {dataset.input_shape}: if channels come first, set data.channels to first"
        dataset = replace(dataset, warnings=(*dataset.warnings, told))
    if (source.mean, source.deviation) == (0.0, 1.0):
        return dataset
    for part in (dataset.train, dataset.test):
        inputs = part.inputs  # ours, in place: it may be larger than memory
        inputs -= source.mean
        inputs /= source.deviation
    return replace(dataset, preparation=_of_file("declared constants"))


def _read_idx(source: Idx, task: Task) -> Dataset:
    inputs, labels = _idx_pair(source.images, source.labels, source)
    if source.first is not None:
        if not 1 <= source.first <= len(inputs):
            raise DataError(f"{source.images}: data.first: {source.first} is not 1 to {len(inputs)} images; fix it")
        inputs, labels = inputs[: source.first], labels[: source.first]
    if (source.test_images is None) != (source.test_labels is None):
        raise DataError("data.test_images: give test_images and test_labels together, or neither")
    divisor = 255.0 if inputs.dtype == np.uint8 else 1.0
    if source.test_images is None or source.test_labels is None:
        return _split(inputs, labels, source, task, where=source.images, divisor=divisor)
    if Path(source.test_images).resolve() == Path(source.images).resolve():
        raise DataError(f"data.test_images: {source.test_images} are the training images; name others, or leave it out")
    test_inputs, test_labels = _idx_pair(source.test_images, source.test_labels, source)
    if test_inputs.shape[1:] != inputs.shape[1:]:
        raise DataError(f"{source.test_images}: images {test_inputs.shape[1:]} differ from {inputs.shape[1:]}")
    if test_inputs.dtype != inputs.dtype:
        raise DataError(f"{source.test_images}: {test_inputs.dtype} differs from {inputs.dtype}; write both alike")
    rows = np.arange(len(inputs)), np.arange(len(inputs), len(inputs) + len(test_inputs))
    both = np.concatenate([labels, test_labels])
    return _picked([inputs, test_inputs], both, rows, task, divisor=divisor, where=source.images)


def _idx_pair(images: str, labels: str, source: Idx) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    pixels, classes = read_idx(Path(images)), read_idx(Path(labels))
    if pixels.ndim not in (3, 4) or classes.ndim != 1 or len(pixels) != len(classes):
        raise DataError(f"{images}: {pixels.shape} images do not go with labels {classes.shape} of {labels}")
    if source.channels == "first":
        pixels = _channels_last(pixels, images)
    require_finite(pixels, images)
    return _as_images(pixels), classes


def _as_images(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give grey images their channel axis."""
    return inputs[..., None] if inputs.ndim == 3 else inputs


def _from_table(declared: Table, task: Task) -> Dataset:
    read = read_tables(declared)
    both, source = read.table, read.source
    columns = source.label_columns
    for name in columns:
        if name not in both.columns:
            raise DataError(
                f"{source.path}: data.label names no column {name!r}; choose among {', '.join(map(str, both))}"
            )
    encoded = encode_table(both, source, marks=read.marks)
    labels = labels_of_table(read, task)
    by = split_column(both, source, marks=read.marks)
    if source.test_path is None:
        rows = _split_rows(labels, source, task, where=source.path, by=by, names=columns)
    else:
        rows = np.arange(read.train_rows), np.arange(read.train_rows, len(both))
        if by is not None:
            refuse_leakage(by, source, *rows, where=source.path)
    standard = source.scaling == "standard"
    dataset = _assemble(
        encoded.values, labels, rows, task, where=source.path, standard=standard,
        columns=[encoded.names[group] for group in encoded.groups], label_names=columns,
    )  # fmt: skip
    scaling: Scaled = "training statistics" if standard else "declared constants" if source.ranges else "none"
    learned: Categories = (
        "of the data" if encoded.learned or encoded.left_out else "marks not declared" if encoded.open
        else "declared" if source.categories else "none"
    )  # fmt: skip
    keys = key_columns(both, source)
    return replace(
        dataset,
        feature_names=encoded.names,
        feature_groups=encoded.groups,
        preparation=Preparation(
            scaling=scaling,
            categories=learned,
            classes="of the data",
            learned_columns=encoded.learned,
            left_out_columns=tuple(encoded.left_out),
        ),
        warnings=(*read.warnings, *dataset.warnings, *reading_warnings(read.forms, encoded, read.marks)),
        train_keys={name: values[rows[0]] for name, values in keys.items()},
        test_keys={name: values[rows[1]] for name, values in keys.items()},
    )


def _split(
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    source: DataSource,
    task: Task,
    *,
    where: str,
    standard: bool = False,
    divisor: float = 1.0,
    by: Sequence[npt.NDArray[Any]] = (),
) -> Dataset:
    if inputs.dtype.kind not in "biuf" or inputs.ndim not in (2, 4):
        raise DataError(f"{where}: inputs are {inputs.dtype} of shape {inputs.shape}; give (n, features) or images")
    if labels.ndim not in (1, 2) or len(labels) != len(inputs) or len(labels) < 2:
        raise DataError(f"{where}: {labels.shape} labels do not go with {inputs.shape} inputs; give one per example")
    require_finite(inputs, where)
    each = _one_each(by[0], len(labels), source, where) if by else None
    rows = _split_rows(labels, source, task, where=where, by=each)
    if standard:
        return _assemble(inputs, labels, rows, task, where=where, standard=standard)
    return _picked([inputs], labels, rows, task, divisor=divisor, where=where)


def _picked(
    parts: Sequence[npt.NDArray[Any]],
    labels: npt.NDArray[Any],
    rows: tuple[Ints, Ints],
    task: Task,
    *,
    divisor: float,
    where: str,
) -> Dataset:
    """Pick both sides from arrays without gaps, which may be larger than memory."""
    encoded = encode(task, labels, where)
    train, test = (
        Examples(inputs=gathered(parts, side, divisor=divisor, where=where), labels=encoded.values[side])
        for side in rows
    )
    return Dataset(train=train, test=test, class_names=encoded.names, task=task, warnings=encoded.warnings)


def _split_rows(
    labels: npt.NDArray[Any],
    source: Source,
    task: Task,
    *,
    where: str,
    by: npt.NDArray[Any] | None = None,
    names: tuple[str, ...] = (),
) -> tuple[Ints, Ints]:
    kinds = encode(task, labels, where, names=names).kinds
    return split_rows(kinds, source, where=where, by=by)


def _one_each(by: npt.NDArray[Any], count: int, source: DataSource, where: str) -> npt.NDArray[Any]:
    """Give the array to split by, as numbers where it holds times."""
    kinds = "biuf" if source.split == "by time" else "biufSU"
    if by.shape != (count,) or by.dtype.kind not in kinds:
        raise DataError(
            f"{where}: array {source.split_by!r} is {by.dtype} of shape {by.shape}; give one for each example"
        )
    return by.astype(np.float64) if source.split == "by time" else by


def _assemble(
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    rows: tuple[Ints, Ints],
    task: Task,
    *,
    where: str,
    standard: bool = False,
    columns: Sequence[str] = (),
    label_names: tuple[str, ...] = (),
) -> Dataset:
    """Scale in the precision that the data came in, cast to float32, and cut.

    What is not a number is a missing number of a table, and becomes 0 after the scaling.
    """
    encoded = encode(task, labels, where, names=label_names)
    train, test = rows
    if standard:
        _require_known(inputs[train], columns, where)
        inputs = _standardised(inputs.astype(np.float64), train)
    values = _cast(inputs, where)
    warnings = precision_warnings(inputs, values, columns)
    if not standard and columns:
        warnings += range_warnings(values, columns)
    values = np.nan_to_num(values, copy=False, nan=0.0)
    return Dataset(
        train=Examples(inputs=values[train], labels=encoded.values[train]),
        test=Examples(inputs=values[test], labels=encoded.values[test]),
        class_names=encoded.names,
        task=task,
        warnings=(*warnings, *encoded.warnings),
    )


def _require_known(inputs: npt.NDArray[Any], columns: Sequence[str], where: str) -> None:
    """Refuse to standardise by rows that have not one number."""
    if not columns:  # arrays have no gaps
        return
    empty = np.flatnonzero(np.isnan(inputs.astype(np.float64)).all(axis=0))
    if len(empty):
        raise DataError(
            f"{where}: column {columns[empty[0]]!r} has no value in any training row to be standardised by; name it in "
            "data.drop, or set data.scaling to none"
        )


def _standardised(inputs: npt.NDArray[np.float64], train: Ints) -> npt.NDArray[np.float64]:
    known = inputs[train]
    mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    constant = np.nanmax(known, axis=0) == np.nanmin(known, axis=0)  # its deviation may be rounding
    deviation[constant | (deviation == 0)] = 1.0
    mean[constant] = np.nanmin(known, axis=0)[constant]
    return (inputs - mean) / deviation


def _cast(inputs: npt.NDArray[Any], where: str) -> Floats:
    with np.errstate(over="ignore"):
        values: Floats = np.ascontiguousarray(inputs, dtype=np.float32)
    refuse_beyond(inputs, values, np.arange(len(values)), where)
    return values
