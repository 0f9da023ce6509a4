"""The examples that somebody hands over, checked and brought into one form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attribution.asking import Doubles
from trustml.auditing.models import Array
from trustml.auditing.named import as_given, packed, table_of_numbers
from trustml.data.dataset import Ints
from trustml.errors import DataError

_SPACES = re.compile(r"\s")


@dataclass(frozen=True, kw_only=True)
class Given:
    """Examples as their owner has them.

    Attributes
    ----------
    inputs : array of shape (n, *x)
    labels : array of shape (n,)
        In the owner's own words: numbers or names of classes, or targets of a regression.
    columns : tuple of str
        Names of the columns of a table; empty where they have none.
    parts : tuple of str
        Where an input has several parts, such as token numbers and an attention mask, their names: inputs are then
        (n, parts, length).
    """

    inputs: Array
    labels: Array
    columns: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.labels)

    def take(self, kept: npt.NDArray[np.bool_]) -> Given:
        """Give some of them."""
        return replace(self, inputs=self.inputs[kept], labels=self.labels[kept])

    def of_owner(self) -> Any:
        """Give the inputs in the form that their owner has them in."""
        return as_given(self.inputs, parts=self.parts, columns=self.columns)


def are_targets(labels: Array) -> bool:
    """Whether labels can only be numbers of a regression: some are between whole ones."""
    return labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels))


def targets_of(labels: Array) -> Doubles:
    """Targets of a regression, (n, 1).

    Raises
    ------
    DataError
        If some are no numbers.
    """
    if labels.dtype.kind not in "iufb":
        raise DataError(f"labels: {str(labels[0])!r} is no number; a regression needs numbers")
    found = labels.astype(np.float64)
    if not np.isfinite(found).all():
        raise DataError(f"labels: {int((~np.isfinite(found)).sum())} are not finite; leave those examples out")
    return found[:, None]


def in_order(examples: Given, columns: tuple[str, ...], *, field: str) -> Given:
    """Put the columns of a table in the order that a model, or the other table, has them in.

    Raises
    ------
    DataError
        If they are not the same columns.
    """
    if not columns or not examples.columns or examples.columns == columns:
        return examples
    names = examples.columns
    if set(names) != set(columns):
        names = tuple(_SPACES.sub("_", name) for name in names)  # as LightGBM spells them
    odd = sorted(set(columns) ^ set(names))
    if odd or len(set(columns)) < len(names):
        what = repr(odd[0]) if odd else "one twice"
        raise DataError(f"{field}: its columns are not those expected, which differ by {what}; give the same columns")
    order = [names.index(name) for name in columns]
    return replace(
        examples, inputs=examples.inputs[:, order], columns=tuple(examples.columns[place] for place in order)
    )


def given(pair: Any, *, field: str) -> Given:
    """Read ``(inputs, labels)``; inputs may be a table of numbers, or a mapping of parts such as a tokenizer gives.

    Raises
    ------
    DataError
        If they do not belong together.
    """
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise DataError(f"{field}: must be a pair (inputs, labels), not {type(pair).__name__}")
    columns: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    try:
        if isinstance(pair[0], Mapping):
            inputs, parts = packed(pair[0], field=field)
        elif type(pair[0]).__name__ == "DataFrame":
            inputs, columns = table_of_numbers(pair[0], field=field)
        else:
            inputs = np.asarray(pair[0])
        labels = np.asarray(pair[1])
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{field}: is no pair of arrays ({str(error).splitlines()[0]})") from None
    if inputs.dtype == object or inputs.ndim < 2:
        raise DataError(
            f"{field}: inputs have shape {inputs.shape} and type {inputs.dtype}; an array (n, ...) is needed"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "iufb" and np.array_equal(labels.sum(axis=1), np.ones(len(labels))):
        labels = labels.argmax(axis=1)  # one column a class
    if labels.ndim != 1:
        raise DataError(f"{field}: labels have shape {labels.shape}; one class an example, or target, is needed")
    if len(inputs) != len(labels):
        raise DataError(f"{field}: {len(inputs)} inputs and {len(labels)} labels; they must be as many")
    if len(inputs) == 0:
        raise DataError(f"{field}: holds no example")
    return Given(inputs=inputs, labels=labels, columns=columns, parts=parts)


def columns_of(labels: Array, *, classes: Array | None, count: int) -> Ints:
    """Column of the outputs that each label means.

    Raises
    ------
    DataError
        If the model has no such column.
    """
    if classes is not None:
        places = np.searchsorted(classes, labels).clip(0, len(classes) - 1)
        strange = classes[places] != labels
        if strange.any():
            raise DataError(f"labels: the model does not know the class {str(labels[strange][0])!r}")
        return places.astype(np.int64)
    if labels.dtype.kind not in "iufb" or not np.array_equal(labels, labels.astype(np.int64)):
        raise DataError(f"labels: {str(labels[0])!r} is no number of a class; number the classes from 0 to {count - 1}")
    found = labels.astype(np.int64)
    if found.min() < 0 or found.max() >= count:
        raise DataError(f"labels: run from {found.min()} to {found.max()}, but the model has {count} outputs")
    return found
