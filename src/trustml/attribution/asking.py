"""What a measure may ask of a model, and how: in pieces that fit into memory.

Shapes in this package: ``n`` examples, ``c`` classes, ``*x`` the shape of one input (channels last), ``k`` or ``p``
variants of each example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, Ints
from trustml.models.answers import probabilities as chances
from trustml.models.tasks import DEFAULT_TASK, Task

Doubles: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

Predict: TypeAlias = Callable[[Floats], Floats]
"""Inputs (rows, *x) to logits (rows, c), for any number of rows."""

Explain: TypeAlias = Callable[[Floats], Floats]
"""Inputs (n, *x) to attributions (n, *x). It is always given the same number of rows, row i being example i or a
variant of it, so that targets and baselines stay with whoever made it and nothing is compiled anew."""

ROWS_AT_ONCE = 1024
"""Most rows that one call of a :data:`Predict` gets."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model says of the target class.

    Attributes
    ----------
    logits : float64 array of shape (n, p)
    probabilities : float64 array of shape (n, p)
        At the target, by the task of the model: softmax of all logits, or sigmoid of its own; of a regression the
        output itself.
    """

    logits: Doubles
    probabilities: Doubles


def score_variants(
    predict: Predict,
    *,
    targets: Ints,
    variants: int,
    make: Callable[[slice], Floats],
    task: Task = DEFAULT_TASK,
) -> Scores:
    """Logit and probability of the target for several variants of each example.

    Parameters
    ----------
    predict : callable
    targets : int64 array of shape (n,)
    variants : int
        Variants of each example, p.
    make : callable
        Gives the variants of a slice of examples, as an array of shape (examples, p, *x); called for few
        examples at a time, so that all variants of all examples need never be in memory together.
    task : Task

    Returns
    -------
    Scores
    """
    logits, probabilities = (np.empty((len(targets), variants)) for _ in range(2))
    examples_at_once = max(1, ROWS_AT_ONCE // max(1, variants))
    for start in range(0, len(targets), examples_at_once):
        rows = slice(start, start + examples_at_once)
        made = make(rows).astype(np.float32, copy=False)
        found = predict_all(predict, made.reshape(-1, *made.shape[2:]))
        wanted = np.repeat(targets[rows], variants)[:, None]
        shape = (len(made), variants)
        logits[rows] = np.take_along_axis(found, wanted, axis=1).reshape(shape)
        probabilities[rows] = np.take_along_axis(chances(task, found), wanted, axis=1).reshape(shape)
    return Scores(logits=logits, probabilities=probabilities)


def predict_all(predict: Predict, inputs: Floats) -> Doubles:
    """Logits (rows, c) of any number of rows, asked in pieces."""
    parts = [predict(inputs[start : start + ROWS_AT_ONCE]) for start in range(0, len(inputs), ROWS_AT_ONCE)]
    return np.concatenate(parts).astype(np.float64)
