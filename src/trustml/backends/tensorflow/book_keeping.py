"""Clipped sums from one forward and one backward pass: the norms and the sums come from what the pass leaves behind.

Bu et al., arXiv 2210.00038. TF Privacy's fast clipping goes backward twice; here its clip weights are put on the
recorded gradients of the layers' outputs instead of on the loss.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads

from trustml.backends.tensorflow.layer_rules import Backward, PerExample, rule_for, tied_rows
from trustml.backends.tensorflow.losses import copies_loss
from trustml.backends.tensorflow.network import walk_nodes
from trustml.backends.tensorflow.tokens import TiedProduct
from trustml.models.layers import INPUT, Architecture
from trustml.models.tasks import DEFAULT_TASK, Task


def per_example_gradients(
    model: tf.keras.Model,
    architecture: Architecture,
    variables: list[tf.Variable],
    inputs: tf.Tensor,
    labels: tf.Tensor,
    *,
    copies: int,
    own_labels: bool = False,
    task: Task = DEFAULT_TASK,
) -> list[PerExample]:
    """Gradients of the loss of each example, averaged over its copies, in the order of `variables`.

    Parameters
    ----------
    model : tf.keras.Model
        As it is built from `architecture`; every layer with weights has a rule.
    architecture : Architecture
    variables : list of tf.Variable
    inputs : tf.Tensor
        Shape (b * copies, *x), the copies of an example one after another.
    labels : tf.Tensor
        Shape (b,), or (b, c); with `own_labels` (b, copies) or (b, copies, c).
    copies : int
    own_labels : bool
        Whether the copies are rows of a user, each with its own label.
    task : Task

    Raises
    ------
    NotImplementedError
        If a layer with weights has no rule.
    """
    outputs: list[tf.Tensor] = []
    ways_back: list[tuple[Any, tf.Tensor, Backward]] = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def call(layer: Any, given: Any) -> tf.Tensor:
            tied = isinstance(layer, TiedProduct)
            if not layer.trainable_weights and not tied:
                return _pass(layer, given)
            rule = rule_for(layer)
            if rule is None and not tied:
                raise NotImplementedError(f"no rule for {type(layer).__name__}")
            values, backward = rule(layer, given) if rule else (layer(given), _none)
            tape.watch(values)
            outputs.append(values)
            ways_back.append((layer, given, backward))
            return values

        values = walk_nodes(model, architecture.nodes, {INPUT: inputs}, call)
        total = copies_loss(task, values, labels, copies=copies, own_labels=own_labels)
    found: dict[object, PerExample] = {}
    came_back = list(zip(ways_back, tape.gradient(total, outputs), strict=True))
    uses = {id(layer.lookup): (given, g) for (layer, given, _), g in came_back if isinstance(layer, TiedProduct)}
    for (layer, given, backward), gradient in came_back:
        if id(layer) in uses:
            parts = [tied_rows(layer, given, gradient, uses[id(layer)], copies)]
        else:
            parts = backward(gradient, copies)
        found |= {weight.ref(): part for weight, part in zip(layer.trainable_weights, parts, strict=True)}
    return [found[weight.ref()] for weight in variables]


def clipped_sum(
    gradients: list[PerExample], mask: tf.Tensor, clipping_norm: tf.Tensor, *, per_layer: bool
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Sum of gradients clipped by TF Privacy's weights, flat or each weight by itself, and the number not clipped.

    Rows whose mask is 0 do not count.
    """
    norms = tf.sqrt(tf.add_n([part.squared_norms for part in gradients]))
    if per_layer:
        each = clipping_norm / math.sqrt(len(gradients))
        weights = [clip_grads.compute_clip_weights(each, tf.sqrt(part.squared_norms)) for part in gradients]
    else:
        weights = [clip_grads.compute_clip_weights(clipping_norm, norms)] * len(gradients)
    sums = [part.weighted_sum(mask * weight) for part, weight in zip(gradients, weights, strict=True)]
    return sums, tf.reduce_sum(tf.cast((norms <= clipping_norm) & (mask > 0), tf.int32))


def _none(gradient: tf.Tensor, copies: int) -> list[PerExample]:
    """A product with a table of another layer has no weights of its own."""
    return []


def _pass(layer: Any, values: Any) -> tf.Tensor:
    """Call a layer without weights as in training, if that makes a difference to it."""
    if "training" in inspect.signature(layer.call).parameters:
        return layer(values, training=True)
    return layer(values)
