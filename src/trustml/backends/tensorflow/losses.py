"""The loss of examples by their task."""

from __future__ import annotations

import tensorflow as tf

from trustml.backends.contract import Model
from trustml.models.tasks import DEFAULT_TASK, Binary, Classes, Labels, NextToken, Regression, Task, are_classes


@tf.autograph.experimental.do_not_convert
def example_losses(task: Task, outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Loss of each example, (n,), of outputs (n, c), or (n, steps, c)."""
    if not are_classes(task):
        labels.shape.assert_is_compatible_with(outputs.shape)  # else they would broadcast
    match task:
        case Classes():
            found = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs)
            return found * _of_classes(task, labels) if task.class_weights else found
        case Binary():
            found = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs)[:, 0]
            return found * _of_classes(task, labels[:, 0]) if task.class_weights else found
        case Labels():
            each = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs)
            return tf.reduce_mean(each * tf.constant(task.class_weights or (1.0,), tf.float32), axis=1)
        case Regression(loss="squared"):
            return tf.reduce_mean(tf.square(outputs - labels), axis=1)
        case Regression(loss="absolute"):
            return tf.reduce_mean(tf.abs(outputs - labels), axis=1)
        case Regression():
            size, delta = tf.abs(outputs - labels), task.huber_delta
            return tf.reduce_mean(tf.where(size <= delta, size**2 / 2, delta * (size - delta / 2)), axis=1)
        case NextToken():
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs)
            follows = tf.cast(labels > 0, each.dtype)
            return tf.reduce_sum(each * follows, axis=1) / tf.maximum(tf.reduce_sum(follows, axis=1), 1.0)


@tf.autograph.experimental.do_not_convert
def copies_loss(task: Task, outputs: tf.Tensor, labels: tf.Tensor, *, copies: int, own_labels: bool) -> tf.Tensor:
    """Sum over the examples of their mean loss over copies; outputs are of all n * k rows.

    Labels are (n, ...), the same for all copies; or (n, k, ...), those of a user's rows, of which one whose label is
    negative or not a number is not there.
    """
    if not own_labels:
        return tf.reduce_sum(example_losses(task, outputs, tf.repeat(labels, copies, axis=0))) / copies
    rows = tf.reshape(labels, (-1, *labels.shape[2:]))
    marks = tf.reshape(rows, (tf.shape(rows)[0], -1))[:, 0]
    there = ~tf.math.is_nan(marks) if rows.dtype.is_floating else marks >= 0
    known = tf.where(tf.reshape(there, (-1, *[1] * (rows.shape.rank - 1))), rows, tf.zeros_like(rows))
    counted = tf.reshape(tf.cast(there, tf.float32), (-1, copies))
    shares = counted / tf.maximum(tf.reduce_sum(counted, axis=1, keepdims=True), 1.0)
    return tf.reduce_sum(example_losses(task, outputs, known) * tf.reshape(shares, (-1,)))


def keras_loss(task: Task, reduction: str = tf.keras.losses.Reduction.AUTO) -> tf.keras.losses.Loss:
    """The same as a loss of Keras; where it has its own, that."""
    if task == DEFAULT_TASK:
        return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    return _TaskLoss(task, reduction)


def label_spec(model: Model, rows: int | None, *, rows_of_user: int | None = None) -> tf.TensorSpec:
    """Type and shape of the labels of so many examples, or of so many users with so many rows each."""
    each = () if rows_of_user is None else (rows_of_user,)
    return tf.TensorSpec((rows, *each, *model.label_shape), label_type(model.task))


def label_type(task: Task) -> tf.DType:
    """Type of labels."""
    return tf.int64 if are_classes(task) else tf.float32


class _TaskLoss(tf.keras.losses.Loss):
    def __init__(self, task: Task, reduction: str) -> None:
        super().__init__(reduction=reduction)
        self._task = task

    @tf.autograph.experimental.do_not_convert
    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        # Keras may give classes an axis of their own
        labels = tf.reshape(y_true, (-1,)) if isinstance(self._task, Classes) else y_true
        return example_losses(self._task, y_pred, tf.cast(labels, label_type(self._task)))


def _of_classes(task: Classes | Binary, classes: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(task.class_weights, tf.float32), tf.cast(classes, tf.int32))
