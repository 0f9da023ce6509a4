"""Outputs and labels of every task, for whoever tests losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression, Task

EXAMPLES = 7
TASKS_TRIED: tuple[Task, ...] = (
    Classes(),
    Classes(class_weights=(0.5, 2.0, 1.5)),
    Binary(),
    Binary(class_weights=(0.25, 3.0)),
    Labels(),
    Labels(class_weights=(0.5, 2.0, 1.5)),
    Regression(),
    Regression(loss="absolute"),
    Regression(loss="huber", huber_delta=0.6),
    NextToken(),
)
STEPS = 2
"""Of a text."""


def outputs_of(task: Task) -> int:
    return 3 if isinstance(task, Classes | Labels | NextToken) else 1


def draw_outputs(task: Task) -> npt.NDArray[np.float32]:
    steps = (STEPS,) if isinstance(task, NextToken) else ()
    return (2 * np.random.default_rng(1).normal(size=(EXAMPLES, *steps, outputs_of(task)))).astype(np.float32)


def draw_labels(
    task: Task, *, examples: int = EXAMPLES, seed: int = 2
) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    generator, outputs = np.random.default_rng(seed), outputs_of(task)
    if isinstance(task, Classes):
        return generator.integers(outputs, size=examples)
    if isinstance(task, NextToken):  # a whole text, one that ends, one that nothing follows in, and so on
        return np.resize([[2, 1], [1, 0], [0, 0], [1, 1], [2, 0]], (examples, STEPS))
    if isinstance(task, Regression):
        return generator.normal(size=(examples, outputs)).astype(np.float32)
    return generator.integers(2, size=(examples, outputs)).astype(np.float32)
