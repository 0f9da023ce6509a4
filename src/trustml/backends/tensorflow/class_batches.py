"""Batches of one class: tf-explain takes one class index for a whole batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trustml.attribution.passes import MOST_ROWS, rows_of_pass
from trustml.backends.contract import ExplainRequest
from trustml.data.dataset import Floats


def rows_at_once(request: ExplainRequest) -> int:
    """Rows that go through the model together; path points and noisy copies count."""
    if request.rows != MOST_ROWS:
        return request.rows
    return rows_of_pass(request.model.architecture, request.model.input_shape, most=8 * MOST_ROWS)


def class_by_class(
    request: ExplainRequest, compute: Callable[[Floats, int], tf.Tensor], *, rows_per_example: int = 1
) -> Floats:
    """Call `compute` on the examples of each target class and put the results into their rows.

    Parameters
    ----------
    request : ExplainRequest
    compute : callable
        From inputs of shape (k, *x) and their class to an array of shape (k, ...).
    rows_per_example : int
        Rows that `compute` makes of each example.

    Returns
    -------
    float32 array of shape (n, ...)
    """
    at_once = max(1, rows_at_once(request) // rows_per_example)
    found: Floats | None = None
    for target in np.unique(request.targets):
        members = np.flatnonzero(request.targets == target)
        for start in range(0, len(members), at_once):
            rows = members[start : start + at_once]
            values = np.asarray(compute(request.inputs[_padded(rows)], int(target)), np.float32)[: len(rows)]
            if found is None:
                found = np.zeros((len(request.inputs), *values.shape[1:]), np.float32)
            found[rows] = values
    if found is None:
        raise ValueError("nothing to explain: no examples")
    return found


def _padded(rows: np.ndarray) -> np.ndarray:
    """Repeat the last row up to a power of two: tf-explain compiles anew for every other number of rows."""
    size = 1 << (len(rows) - 1).bit_length()
    return np.pad(rows, (0, size - len(rows)), mode="edge")
