"""The prepared data of a run, mapped: every worker of the run shares one copy, and batches are gathered from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustml.data.dataset import Examples, LabelArray, fingerprint_of
from trustml.errors import RecordError
from trustml.record.mapped import map_arrays


def read_prepared(path: Path, *, fingerprint: str) -> tuple[Examples, Examples]:
    """Map the data and check what it is; that reads it once.

    Returns
    -------
    train, held_out : Examples

    Raises
    ------
    RecordError
        If it is not the data that the run was planned on.
    """
    arrays = map_arrays(path)
    try:
        same = fingerprint_of(arrays) == fingerprint
    except KeyError as missing:
        raise RecordError(f"{path}: holds no array {missing}") from None
    if not same:
        raise RecordError(f"{path}: is not the data this run was planned on; a model of other data is another run")
    return _examples(arrays["train_inputs"], arrays["train_labels"]), _held_out(arrays)


def held_out_examples(path: Path) -> Examples:
    """Map the held-out examples alone; nothing is read yet, nor checked."""
    return _held_out(map_arrays(path, names=("test_inputs", "test_labels")))


def _held_out(arrays: dict[str, np.ndarray]) -> Examples:
    return _examples(arrays["test_inputs"], arrays["test_labels"])


def _examples(inputs: np.ndarray, labels: np.ndarray) -> Examples:
    return Examples(inputs=inputs.astype(np.float32, copy=False), labels=labels_of(labels))


def labels_of(stored: np.ndarray) -> LabelArray:
    """Labels in the type that trainers take: numbers of classes, or what other tasks have."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32, copy=False)
    return stored.astype(np.int64, copy=False)
