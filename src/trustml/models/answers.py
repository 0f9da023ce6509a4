"""What outputs say of an example, by its task: probabilities, answers, what is right, numbers in their own unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.models.losses import AnyArray, Doubles, example_losses, log_probabilities, of_steps, sigmoid, softmax
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression, Task

Ints: TypeAlias = npt.NDArray[np.int64]
Explained: TypeAlias = Literal["true", "predicted"] | int


FOLLOWING, LIKELIEST, MEAN, DEVIATION = 0, 1, 2, 3
"""What is recorded of each step of a text: log-probability of the token that follows, and of the likeliest one; mean
and standard deviation of the log-probability of a token drawn from the model. Records of before hold the first two."""


def recorded(task: Task, outputs: AnyArray, labels: AnyArray) -> AnyArray:
    """What a run keeps of a network's outputs, and what is measured: all of them, or of texts (n, steps, 4).

    Logits of all tokens at each step would fill disks. Four numbers remain, all 0 where no token follows. The first two
    are the same where the token that follows is the answer alone, which of equals is the first: of others the
    likeliest is the next larger number, so that a model that knows nothing is not right.
    """
    if not isinstance(task, NextToken):
        return outputs
    wide = outputs.astype(np.float64)
    said = wide.argmax(axis=-1)
    following = log_probabilities(wide, labels).astype(np.float32)
    likeliest = log_probabilities(wide, said).astype(np.float32)
    above = np.maximum(likeliest, np.nextafter(following, np.float32(np.inf)))
    spread = np.zeros((2, *labels.shape), np.float32)
    for number, text in enumerate(wide):  # one at a time: there may be tens of thousands of tokens
        spread[:, number] = _spread(text)
    four = np.stack([following, np.where(said == labels, following, above), *spread], axis=-1)
    return np.where(labels[..., None] > 0, four, np.float32(0.0))


def _spread(outputs: Doubles) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of the log-probability of a token that is drawn by logits (..., c)."""
    logs = outputs - outputs.max(axis=-1, keepdims=True)
    powers = np.exp(logs)
    sums = powers.sum(axis=-1)
    mean = (powers * logs).sum(axis=-1) / sums
    variance = (powers * (logs - mean[..., None]) ** 2).sum(axis=-1) / sums
    return (mean - np.log(sums)).astype(np.float32), np.sqrt(variance).astype(np.float32)


def recorded_losses(task: Task, outputs: AnyArray, labels: AnyArray) -> Doubles:
    """Loss of each example by what is recorded of its outputs, (n,)."""
    if not isinstance(task, NextToken):
        return example_losses(outputs, labels, task=task)
    return -(of_steps(labels) * outputs[..., FOLLOWING]).sum(axis=1)


def right_steps(outputs: AnyArray, labels: AnyArray) -> Doubles:
    """Whether the likeliest token is the one that follows, 1 or 0 at each step of recorded texts; (n, steps)."""
    return ((outputs[..., FOLLOWING] >= outputs[..., LIKELIEST]) & (labels > 0)).astype(np.float64)


def probabilities(task: Task, outputs: AnyArray) -> Doubles:
    """Probability that each output stands for; a regression's outputs, in scaled units, as they are. Shape (n, c)."""
    wide = outputs.astype(np.float64)
    match task:
        case Classes() | NextToken():
            return softmax(wide)
        case Regression():
            return wide
        case _:
            return sigmoid(wide)


def class_probabilities(outputs: AnyArray) -> Doubles:
    """Probabilities of both classes, (n, 2), by the one output of a binary task."""
    second = sigmoid(outputs.astype(np.float64))
    first = sigmoid(-outputs.astype(np.float64))
    return np.concatenate([first, second], axis=1)


def answers(task: Task, outputs: AnyArray) -> AnyArray:
    """What the model says: in the form of the labels, a regression in scaled units."""
    match task:
        case Classes() | NextToken():
            return outputs.argmax(axis=-1)
        case Regression():
            return outputs
        case _:
            return (outputs > 0).astype(np.float32)


def right(task: Task, outputs: AnyArray, labels: AnyArray) -> Doubles:
    """Share of an example's labels that are right, (n,): 0 or 1 but for several labels and texts, as recorded.

    Not for regression.
    """
    if isinstance(task, NextToken):
        return (of_steps(labels) * right_steps(outputs, labels)).sum(axis=1)
    same = answers(task, outputs) == labels
    return same.reshape(len(labels), -1).mean(axis=1)


def in_unit(task: Task, values: AnyArray) -> Doubles:
    """Scaled targets or predictions of a regression in the unit of the data."""
    wide = values.astype(np.float64)
    if not isinstance(task, Regression) or task.target_range is None:
        return wide
    low, high = task.target_range
    return low + (wide + 1) / 2 * (high - low)


def r_squared(predicted: Doubles, true: Doubles) -> float:
    """Share of the variance that is explained; NaN where all targets are the same."""
    spread = float(((true - true.mean()) ** 2).sum())
    return 1 - float(((predicted - true) ** 2).sum()) / spread if spread else float("nan")


def score(task: Task, outputs: AnyArray, labels: AnyArray) -> float:
    """The measure that the task leads with, of recorded outputs: accuracy, or R2."""
    if isinstance(task, NextToken):
        return float(right_steps(outputs, labels).sum() / (labels > 0).sum())
    if isinstance(task, Regression):
        return r_squared(outputs.astype(np.float64).ravel(), labels.astype(np.float64).ravel())
    return float(right(task, outputs, labels).mean())


def explained_outputs(task: Task, outputs: AnyArray, labels: AnyArray, *, target: Explained) -> Ints:
    """Output of each example that is explained, (n,).

    With several labels ``"true"`` is that label, of those that hold, which the model finds likeliest; of all labels
    where none holds.
    """
    if isinstance(target, int):
        return np.full(len(outputs), target, np.int64)
    match task:
        case Classes():
            return labels.astype(np.int64) if target == "true" else outputs.argmax(axis=1).astype(np.int64)
        case Labels():
            holds = (labels > 0.5) if target == "true" else np.ones(outputs.shape, bool)
            holds = np.where(holds.any(axis=1, keepdims=True), holds, True)
            return np.where(holds, outputs, -np.inf).argmax(axis=1).astype(np.int64)
        case NextToken():  # of the step that is explained, (n, c) and (n,)
            likeliest = outputs.argmax(axis=1).astype(np.int64)
            return np.where(labels > 0, labels, likeliest) if target == "true" else likeliest
        case _:
            return np.zeros(len(outputs), np.int64)


def explained_labels(task: Task, labels: AnyArray) -> AnyArray:
    """Labels of what is explained: of a text, the token that follows its one step."""
    return labels[:, task.step] if isinstance(task, NextToken) else labels


def label_words(task: Task, labels: AnyArray, names: Sequence[str]) -> list[str]:
    """Labels for readers: names of classes, of the labels that hold, or numbers in the unit of the data."""
    match task:
        case Classes():
            return [names[int(label)] for label in labels]
        case Binary():
            return [names[int(label)] for label in labels[:, 0]]
        case Labels():
            return [" + ".join(n for n, holds in zip(names, row, strict=True) if holds > 0) or "none" for row in labels]
        case Regression():
            return [f"{value:.6g}" for value in in_unit(task, labels)[:, 0]]
        case NextToken():
            return ["".join(names[int(token)] for token in row if token > 0) for row in labels]
