"""A data set in memory, and its split into training and held-out examples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.preparation import Preparation
from trustml.data.streams import Stream, public_generator
from trustml.models.tasks import DEFAULT_TASK, Task

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]
LabelArray: TypeAlias = Ints | Floats
"""int64 (n,) for classes, (n, steps) for tokens; float32 (n, outputs) for all else (:mod:`trustml.models.tasks`)."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs and their labels.

    Attributes
    ----------
    inputs : float32 array of shape (n, *shape)
    labels : int64 array of shape (n,), in [0, classes), or (n, steps) of tokens, or float32 of shape (n, outputs)
    """

    inputs: Floats
    labels: LabelArray

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training and held-out examples.

    Attributes
    ----------
    train, test : Examples
    class_names : tuple of str
        Of the classes; where the task has none, of the labels or of the target.
    task : Task
    preparation : Preparation
    warnings : tuple of str
        What whoever runs the scenario should know of the numbers. They follow from the data, so they are private.
    feature_names : tuple of str
        Of a table's features; empty for images.
    feature_groups : tuple of int
        Feature that each column of a table belongs to, numbered from 0; empty for images.
    token_names : callable, optional
        Gives the names of the tokens of texts, by their numbers; they may be many.
    train_keys, test_keys : mapping of str to str array of shape (n,)
        Values of the columns that may name clients, as text.
    """

    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    task: Task = DEFAULT_TASK
    preparation: Preparation = field(default_factory=Preparation)
    warnings: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    feature_groups: tuple[int, ...] = ()
    token_names: Callable[[], tuple[str, ...]] | None = None
    train_keys: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    test_keys: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes, labels or targets."""
        return len(self.class_names)


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of the content: shapes, types and values of all four arrays, and the class names."""
    return fingerprint_of(stored(dataset))


def stored(dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Give the arrays in which a run keeps its data."""
    return {
        "train_inputs": dataset.train.inputs,
        "train_labels": dataset.train.labels,
        "test_inputs": dataset.test.inputs,
        "test_labels": dataset.test.labels,
        "class_names": np.array(dataset.class_names, dtype=np.str_),
    }


def fingerprint_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 of data as :func:`stored` gives it."""
    digest = hashlib.sha256()
    for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        array = arrays[name]
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # in place: it may be large
    digest.update("\0".join(map(str, arrays["class_names"])).encode())
    return digest.hexdigest()


def split_indices(labels: Ints, *, test_fraction: float, seed: int) -> tuple[Ints, Ints]:
    """Hold out the same share of every class.

    Parameters
    ----------
    labels : int64 array of shape (n,)
    test_fraction : float
        In (0, 1); at least one example of every class with two or more is held out, and one is kept.
    seed : int

    Returns
    -------
    train, test : int64 arrays
        Both in random order, together a permutation of 0..n-1.
    """
    generator = public_generator(seed, Stream.SPLIT)
    train: list[Ints] = []
    test: list[Ints] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held = int(np.clip(round(len(members) * test_fraction), 1, len(members) - 1)) if len(members) > 1 else 0
        test.append(members[:held])
        train.append(members[held:])
    return generator.permutation(np.concatenate(train)), generator.permutation(np.concatenate(test))
