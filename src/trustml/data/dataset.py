"""A data set in memory, and its split into training and held-out examples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs and their classes.

    Attributes
    ----------
    inputs : float32 array of shape (n, *shape)
    labels : int64 array of shape (n,), in [0, classes)
    """

    inputs: Floats
    labels: Ints

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
    notes : tuple of str
        What a reader of results must know about the preparation.
    """

    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of the content: shapes, types and values of all four arrays, and the class names."""
    digest = hashlib.sha256()
    for array in (dataset.train.inputs, dataset.train.labels, dataset.test.inputs, dataset.test.labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update("\0".join(dataset.class_names).encode())
    return digest.hexdigest()
