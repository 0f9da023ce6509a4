"""The loss of each example by its task, and its slope by the outputs, in float64: what all backends are held to."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.models.tasks import (
    DEFAULT_TASK,
    Binary,
    Classes,
    Labels,
    NextToken,
    Regression,
    Task,
    are_classes,
    require_same_shape,
)

Doubles: TypeAlias = npt.NDArray[np.float64]
AnyArray: TypeAlias = npt.NDArray[Any]


def example_losses(outputs: AnyArray, labels: AnyArray, *, task: Task = DEFAULT_TASK) -> Doubles:
    """Loss of each example; shape (n,).

    Parameters
    ----------
    outputs : array of shape (n, c), or (n, steps, c) for the next token
    labels : array of shape (n,) for classes, (n, steps) for the next token, else (n, c)
    task : Task
    """
    wide = outputs.astype(np.float64)
    if not are_classes(task):
        require_same_shape(outputs.shape, labels.shape)
    match task:
        case Classes():
            found = -log_probabilities(wide, labels)
            return found * _of_examples(task, labels) if task.class_weights else found
        case Binary():
            return _of_examples(task, labels) * _sigmoid_cross_entropies(wide, labels)[:, 0]
        case Labels():
            return (_of_labels(task) * _sigmoid_cross_entropies(wide, labels)).mean(axis=1)
        case Regression():
            residual = wide - labels
            size = np.abs(residual)
            each = {"squared": residual**2, "absolute": size}.get(task.loss)
            if each is None:
                delta = task.huber_delta
                each = np.where(size <= delta, residual**2 / 2, delta * (size - delta / 2))
            return each.mean(axis=1)
        case NextToken():
            return -(of_steps(labels) * log_probabilities(wide, labels)).sum(axis=1)


def of_steps(labels: AnyArray) -> Doubles:
    """Share of each step in the mean of its text: equal over those that a token follows, and 0 of padding."""
    follows = labels > 0
    found: Doubles = follows / np.maximum(follows.sum(axis=-1, keepdims=True), 1)
    return found


def log_probabilities(outputs: AnyArray, labels: AnyArray) -> Doubles:
    """Logarithm of the softmax at each label; shape of the labels, where outputs have one axis more."""
    wide = outputs.astype(np.float64)
    top = wide.max(axis=-1)
    sums = top + np.log(np.exp(wide - top[..., None]).sum(axis=-1))
    found: Doubles = np.take_along_axis(wide, labels[..., None].astype(np.int64), axis=-1)[..., 0] - sums
    return found


def output_slopes(outputs: AnyArray, labels: AnyArray, *, task: Task = DEFAULT_TASK) -> Doubles:
    """Derivative of each example's loss by each of its outputs; shape (n, c). Parameters as above."""
    wide = outputs.astype(np.float64)
    match task:
        case Classes():
            shares = softmax(wide)
            found = shares - np.eye(wide.shape[1])[labels]
            return found * _of_examples(task, labels)[:, None] if task.class_weights else found
        case Binary():
            return _of_examples(task, labels)[:, None] * (sigmoid(wide) - labels)
        case Labels():
            return _of_labels(task) * (sigmoid(wide) - labels) / wide.shape[1]
        case Regression():
            residual = wide - labels
            each = {"squared": 2 * residual, "absolute": np.sign(residual)}.get(task.loss)
            if each is None:
                each = np.clip(residual, -task.huber_delta, task.huber_delta)
            return each / wide.shape[1]
        case NextToken():
            return of_steps(labels)[..., None] * (softmax(wide) - np.eye(wide.shape[-1])[labels])


def softmax(logits: Doubles) -> Doubles:
    """Probabilities (..., c) of logits (..., c)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: Doubles) -> Doubles:
    """Probabilities of log-odds, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _sigmoid_cross_entropies(logits: Doubles, labels: AnyArray) -> Doubles:
    return np.logaddexp(0.0, logits) - labels * logits


def _of_examples(task: Classes | Binary, labels: AnyArray) -> Doubles:
    """Weight of each example's loss; shape (n,)."""
    classes = labels.reshape(len(labels)).astype(np.int64)
    return np.array(task.class_weights)[classes] if task.class_weights else np.ones(len(labels))


def _of_labels(task: Labels) -> Doubles:
    """Weights of the labels, or 1."""
    return np.array(task.class_weights or (1.0,))
