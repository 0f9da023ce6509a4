"""A source, as declared in a scenario, to a :class:`Dataset` in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Dataset, Examples, Floats, Ints
from trustml.data.encoding import encode_table, key_columns
from trustml.data.files import read_csv, read_idx, read_npz, read_parquet
from trustml.data.preparation import Categories, Preparation, Scaled
from trustml.data.splits import split_indices
from trustml.errors import DataError
from trustml.scenario.sources import BreastCancer, Csv, DataSource, Digits, Idx, Npz, Parquet

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


def _of_file(scaling: Scaled, categories: Categories = "none", learned: tuple[str, ...] = ()) -> Preparation:
    """Preparation of a file of the user's, whose classes are those that its labels hold."""
    return Preparation(scaling=scaling, categories=categories, classes="of the data", learned_columns=learned)


def load_dataset(source: DataSource) -> Dataset:
    """Load, check, split and scale the data that `source` declares.

    Raises
    ------
    DataError
        If a file is missing or broken, or holds anything but finite numbers and at least two classes.
    """
    match source:
        case Digits():
            from sklearn.datasets import load_digits

            digits = load_digits()
            found = _split(digits.images[..., None] / 16.0, digits.target, source, where="digits")
            return replace(found, preparation=_PUBLIC)
        case BreastCancer():
            from sklearn.datasets import load_breast_cancer

            cancer = load_breast_cancer()
            low, high = np.array(_BREAST_CANCER_LOW), np.array(_BREAST_CANCER_HIGH)
            scaled = 2 * (cancer.data - low) / (high - low) - 1
            names = tuple(str(name) for name in cancer.target_names)
            found = _split(scaled, cancer.target, source, where="breast_cancer", class_names=names)
            columns = tuple(map(str, cancer.feature_names))
            return replace(found, feature_names=columns, feature_groups=tuple(range(len(columns))), preparation=_PUBLIC)
        case Idx():
            return _load_idx(source)
        case Csv() | Parquet():
            return _from_table(source)
        case Npz():
            inputs, labels = read_npz(Path(source.path), names=(source.inputs, source.labels))
            found = _split(_as_images(inputs), labels, source, where=source.path)
            return _scaled(replace(_numbered(found), preparation=_of_file("none")), source)


def _numbered(dataset: Dataset) -> Dataset:
    """Name the columns of a table by their numbers; images have none."""
    if len(dataset.input_shape) != 1:
        return dataset
    columns = range(dataset.input_shape[0])
    return replace(dataset, feature_names=tuple(f"feature {i}" for i in columns), feature_groups=tuple(columns))


def _load_idx(source: Idx) -> Dataset:
    dataset = replace(_read_idx(source), preparation=_of_file("public constants"))  # 1/255, of the format
    if (source.mean, source.deviation) == (0.0, 1.0):
        return dataset
    train, test = (
        Examples(inputs=((part.inputs - source.mean) / source.deviation).astype(np.float32), labels=part.labels)
        for part in (dataset.train, dataset.test)
    )
    return replace(dataset, train=train, test=test, preparation=_of_file("declared constants"))


def _read_idx(source: Idx) -> Dataset:
    inputs, labels = _idx_pair(source.images, source.labels)
    if source.first is not None:
        if not 1 <= source.first <= len(inputs):
            raise DataError(f"{source.images}: data.first: {source.first} is not 1 to {len(inputs)} images; fix it")
        inputs, labels = inputs[: source.first], labels[: source.first]
    if (source.test_images is None) != (source.test_labels is None):
        raise DataError("data.test_images: give test_images and test_labels together, or neither")
    if source.test_images is None or source.test_labels is None:
        return _split(inputs, labels, source, where=source.images)
    test_inputs, test_labels = _idx_pair(source.test_images, source.test_labels)
    if test_inputs.shape[1:] != inputs.shape[1:]:
        raise DataError(f"{source.test_images}: images {test_inputs.shape[1:]} differ from {inputs.shape[1:]}")
    both, names = _encode_labels(np.concatenate([labels, test_labels]), source.labels)
    train, test = both[: len(labels)], both[len(labels) :]
    return Dataset(
        train=Examples(inputs=inputs, labels=train),
        test=Examples(inputs=test_inputs, labels=test),
        class_names=names,
    )


def _idx_pair(images: str, labels: str) -> tuple[Floats, npt.NDArray[Any]]:
    pixels, classes = read_idx(Path(images)), read_idx(Path(labels))
    if pixels.ndim not in (3, 4) or classes.ndim != 1 or len(pixels) != len(classes):
        raise DataError(f"{images}: {pixels.shape} images do not go with labels {classes.shape} of {labels}")
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    return (_as_images(pixels) / scale).astype(np.float32), classes


def _as_images(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give grey images their channel axis."""
    return inputs[..., None] if inputs.ndim == 3 else inputs


def _from_table(source: Csv | Parquet) -> Dataset:
    import pandas as pd

    read = read_csv if isinstance(source, Csv) else read_parquet
    train = read(Path(source.path))
    both = train
    if source.test_path is not None:
        test = read(Path(source.test_path))
        if set(test.columns) != set(train.columns):
            odd = sorted(map(str, set(test.columns) ^ set(train.columns)))
            raise DataError(f"{source.test_path}: column {odd[0]!r} is not in both files; give both the same columns")
        both = pd.concat([train, test[train.columns]], ignore_index=True)  # one encoding for both
    if source.label not in both.columns:
        raise DataError(
            f"{source.path}: data.label names no column {source.label!r}; choose among {', '.join(map(str, both))}"
        )
    encoded = encode_table(both, source)
    labels = both[source.label].to_numpy()
    if source.test_path is None:
        dataset = _split(encoded.values, labels, source, where=source.path)
        train_rows, test_rows = _split_rows(labels, source, where=source.path)
    else:
        dataset = _cut(encoded.values, labels, len(train), where=source.path)
        train_rows, test_rows = np.arange(len(train)), np.arange(len(train), len(both))
    keys = key_columns(both, source)
    return _scaled(
        replace(
            dataset,
            feature_names=encoded.names,
            feature_groups=encoded.groups,
            preparation=_of_file(
                "declared constants" if source.ranges else "none",
                "of the data" if encoded.learned else "declared" if source.categories else "none",
                encoded.learned,
            ),
            train_keys={name: values[train_rows] for name, values in keys.items()},
            test_keys={name: values[test_rows] for name, values in keys.items()},
        ),
        source,
    )


def _cut(inputs: npt.NDArray[Any], labels: npt.NDArray[Any], count: int, *, where: str) -> Dataset:
    """Split where the training file ends."""
    encoded, names = _encode_labels(labels, where)
    values = np.ascontiguousarray(inputs, np.float32)
    return Dataset(
        train=Examples(inputs=values[:count], labels=encoded[:count]),
        test=Examples(inputs=values[count:], labels=encoded[count:]),
        class_names=names,
    )


def _split(
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    source: DataSource,
    *,
    where: str,
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    if inputs.dtype.kind not in "biuf" or inputs.ndim not in (2, 4):
        raise DataError(f"{where}: inputs are {inputs.dtype} of shape {inputs.shape}; give (n, features) or images")
    if labels.ndim != 1 or len(labels) != len(inputs) or len(labels) < 2:
        raise DataError(f"{where}: {labels.shape} labels do not go with {inputs.shape} inputs; give one per example")
    values = np.ascontiguousarray(inputs, dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(broken):
        raise DataError(
            f"{where}: {len(broken)} examples hold missing or infinite numbers, the first at row {broken[0]}; "
            "fill or remove them"
        )
    encoded, names = _encode_labels(labels, where)
    train, test = _split_rows(labels, source, where=where)
    return Dataset(
        train=Examples(inputs=values[train], labels=encoded[train]),
        test=Examples(inputs=values[test], labels=encoded[test]),
        class_names=class_names or names,
    )


def _split_rows(labels: npt.NDArray[Any], source: DataSource, *, where: str) -> tuple[Ints, Ints]:
    encoded, _ = _encode_labels(labels, where)
    return split_indices(encoded, test_fraction=source.test_fraction, seed=source.split_seed)


def _encode_labels(labels: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if labels.dtype.kind == "f" and not np.isfinite(labels.astype(float)).all():
        raise DataError(f"{where}: some labels are missing; remove those rows")
    if labels.dtype.kind == "O":
        missing = [label for label in labels if not isinstance(label, str | int | bool)]
        if missing:
            raise DataError(f"{where}: label {missing[0]!r} is neither text nor a whole number; fix that row")
        labels = labels.astype(str)
    values, encoded = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "f" and not np.array_equal(values, np.round(values.astype(float))):
        raise DataError(f"{where}: label {values[0]} is no class; trustml classifies, it does not regress")
    if len(values) < 2:
        raise DataError(f"{where}: all labels are {values[0]!r}; give at least two classes")
    if len(values) > 10_000:
        raise DataError(f"{where}: {len(values)} classes; is {values[0]!r} really a class?")
    names = tuple(str(int(value)) if labels.dtype.kind == "f" else str(value) for value in values)
    return encoded.astype(np.int64), names


def _scaled(dataset: Dataset, source: Csv | Parquet | Npz) -> Dataset:
    if source.scaling == "none":
        return dataset
    inputs = dataset.train.inputs.astype(np.float64)
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    deviation[deviation == 0] = 1.0

    def scale(examples: Examples) -> Examples:
        return Examples(inputs=((examples.inputs - mean) / deviation).astype(np.float32), labels=examples.labels)

    return replace(
        dataset,
        train=scale(dataset.train),
        test=scale(dataset.test),
        preparation=msgspec.structs.replace(dataset.preparation, scaling="training statistics"),
    )
