"""The loss of each example by its task, and its slope by the outputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import Array

from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression, Task, are_classes, require_same_shape


def example_losses(task: Task, outputs: Array, labels: Array) -> Array:
    """Loss of each example, (n,), of outputs (n, c), or (n, steps, c)."""
    if not are_classes(task):
        require_same_shape(outputs.shape, labels.shape)
    match task:
        case Classes():
            found = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
            return found * _of_classes(task, labels) if task.class_weights else found
        case Binary():
            found = optax.sigmoid_binary_cross_entropy(outputs, labels)[:, 0]
            return found * _of_classes(task, labels[:, 0]) if task.class_weights else found
        case Labels():
            return (optax.sigmoid_binary_cross_entropy(outputs, labels) * _of_labels(task)).mean(axis=1)
        case Regression(loss="squared"):
            return jnp.square(outputs - labels).mean(axis=1)
        case Regression(loss="absolute"):
            return jnp.abs(outputs - labels).mean(axis=1)
        case Regression():
            return optax.huber_loss(outputs, labels, delta=task.huber_delta).mean(axis=1)
        case NextToken():
            each = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
            return (each * _of_steps(labels)).sum(axis=1)


def copies_loss(task: Task, outputs: Array, labels: Array, *, copies: int) -> Array:
    """Sum over the examples of their mean loss over copies; outputs are (n * k, c), or (n * k, steps, c).

    Labels are (n, ...), the same for all copies; or (n, k, ...), those of a user's rows, of which one whose label is
    negative or not a number is not there.
    """
    if labels.ndim == outputs.ndim - are_classes(task):
        return example_losses(task, outputs, jnp.repeat(labels, copies, axis=0)).sum() / copies
    rows = labels.reshape(-1, *labels.shape[2:])
    marks = rows.reshape(len(rows), -1)[:, 0]
    there = ~jnp.isnan(marks) if jnp.issubdtype(rows.dtype, jnp.floating) else marks >= 0
    known = jnp.where(there.reshape(-1, *[1] * (rows.ndim - 1)), rows, jnp.zeros_like(rows))
    counts = there.reshape(-1, copies).sum(axis=1)
    shares = there / jnp.repeat(jnp.maximum(counts, 1), copies)
    return (example_losses(task, outputs, known) * shares).sum()


def output_slopes(task: Task, outputs: Array, labels: Array) -> Array:
    """Derivative of each example's loss by its outputs, (n, c), by formula: that of the softmax spares a scatter."""
    if not are_classes(task):
        require_same_shape(outputs.shape, labels.shape)
    match task:
        case Classes():
            wrong = jax.nn.softmax(outputs) - jax.nn.one_hot(labels, outputs.shape[1])
            return wrong * _of_classes(task, labels)[:, None] if task.class_weights else wrong
        case Binary():
            wrong = jax.nn.sigmoid(outputs) - labels
            return wrong * _of_classes(task, labels[:, 0])[:, None] if task.class_weights else wrong
        case Labels():
            return (jax.nn.sigmoid(outputs) - labels) * _of_labels(task) / outputs.shape[1]
        case Regression(loss="squared"):
            return 2 * (outputs - labels) / outputs.shape[1]
        case Regression(loss="absolute"):
            return jnp.sign(outputs - labels) / outputs.shape[1]
        case Regression():
            return jnp.clip(outputs - labels, -task.huber_delta, task.huber_delta) / outputs.shape[1]
        case NextToken():
            wrong = jax.nn.softmax(outputs) - jax.nn.one_hot(labels, outputs.shape[-1])
            return wrong * _of_steps(labels)[..., None]


def _of_classes(task: Classes | Binary, classes: Array) -> Array:
    return jnp.asarray(task.class_weights, jnp.float32)[classes.astype(jnp.int32)]


def _of_steps(labels: Array) -> Array:
    """Share of each step in the mean of its text, 0 where no token follows."""
    follows = (labels > 0).astype(jnp.float32)
    return follows / jnp.maximum(follows.sum(axis=1, keepdims=True), 1.0)


def _of_labels(task: Labels) -> Array:
    return jnp.asarray(task.class_weights or (1.0,), jnp.float32)
