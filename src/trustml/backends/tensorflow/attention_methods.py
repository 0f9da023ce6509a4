"""Methods for attention: rollout, and relevance that is kept on its way through attention and norms."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trustml.attribution.passes import MOST_ROWS
from trustml.attribution.rollout import rollout
from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.class_batches import rows_at_once
from trustml.backends.tensorflow.network import layer_name, walk_nodes
from trustml.backends.tensorflow.own_targets import examples_at_once
from trustml.data.dataset import Floats
from trustml.models.graph import downstream
from trustml.models.layers import INPUT, Architecture, GroupNorm, LayerNorm, Multiply, Node, RMSNorm
from trustml.models.relevance import PASSES_ON, SHARES_OUT
from trustml.models.token_layers import Attention
from trustml.models.token_space import relevance_at
from trustml.scenario import methods as m


def attention_rollout(model: tf.keras.Model, request: ExplainRequest, method: m.AttentionRollout) -> Attributions:
    """Shares of tokens by the model's attention; shape (n, *x)."""
    architecture = request.model.architecture

    def outputs(inputs: Floats, names: Sequence[str]) -> dict[str, Floats]:
        values = _walk(model, architecture, tf.constant(inputs))
        return {name: values[name].numpy() for name in names}

    return {"native": rollout(architecture, request.inputs, outputs, rows=request.rows)}


def transformer_lrp(model: tf.keras.Model, request: ExplainRequest, method: m.TransformerLRP) -> Attributions:
    """Relevance of each value; shape (n, *x)."""
    architecture = request.model.architecture
    rows = examples_at_once(request.inputs.shape[1:], 1, most=rows_at_once(request))
    program = functools.partial(_relevance, model, architecture, method.epsilon)
    if request.rows < MOST_ROWS:  # as a graph a large network keeps a quarter of what it does called as it is
        program = tf.function(program, autograph=False, reduce_retracing=True)
    starts = range(0, len(request.inputs), rows)
    parts = [(request.inputs[at : at + rows], request.targets[at : at + rows]) for at in starts]
    whole = np.concatenate([program(tf.constant(some), tf.constant(own)).numpy() for some, own in parts])
    missing = request.inputs.shape[-1] - whole.shape[-1]  # of tokens that were looked up: what says which are padding
    return {"native": np.pad(whole, [(0, 0)] * (whole.ndim - 1) + [(0, missing)])}


def _relevance(
    model: tf.keras.Model, architecture: Architecture, epsilon: float, inputs: tf.Tensor, targets: tf.Tensor
) -> tf.Tensor:
    entry = relevance_at(architecture)
    values = _walk(model, architecture, inputs)
    start = values[entry]
    with tf.GradientTape() as tape:
        tape.watch(start)
        for node in downstream(architecture, entry):
            values[node.name] = _with_rule(model, node, values, epsilon)
        logits = values[architecture.nodes[-1].name]
        chosen = tf.reduce_sum(tf.gather(logits, targets, axis=1, batch_dims=1))
    return start * tape.gradient(chosen, start)


def _walk(model: tf.keras.Model, architecture: Architecture, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    values = {INPUT: inputs}
    walk_nodes(model, architecture.nodes, values, lambda layer, given: layer(given))
    return values


def _with_rule(model: tf.keras.Model, node: Node, values: dict[str, tf.Tensor], epsilon: float) -> tf.Tensor:
    """Output of a node, through which a gradient goes back as its rule says."""
    layer, inputs = node.layer, [values[name] for name in node.inputs]
    if isinstance(layer, Attention):
        queries, keys, *others = inputs
        held = [tf.stop_gradient(queries), tf.stop_gradient(keys), *others]
        return _shared_out(model.get_layer(layer_name(node.name))(held), epsilon)
    if isinstance(layer, LayerNorm | GroupNorm | RMSNorm):
        return _shared_out(_norm(layer, model.get_layer(layer_name(node.name)), inputs[0]), epsilon)
    if isinstance(layer, Multiply):
        return _product(inputs)
    output = walk_nodes(model, (node,), dict(values), lambda keras, given: keras(given))
    if isinstance(layer, PASSES_ON):
        return inputs[0] * tf.stop_gradient(tf.math.divide_no_nan(output, inputs[0]))
    return _shared_out(output, epsilon) if isinstance(layer, SHARES_OUT) else output


def _shared_out(output: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The epsilon rule: of a sum near zero, the stabilizer keeps a part. The value stays as it is."""
    own = tf.stop_gradient(output)
    return own + own / (own + epsilon * tf.where(own < 0, -1.0, 1.0)) * (output - own)


def _norm(layer: LayerNorm | GroupNorm | RMSNorm, keras_layer: tf.keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
    """A norm whose spread is held as it is."""
    groups = layer.groups if isinstance(layer, GroupNorm) else 1
    rank, channels = len(values.shape), values.shape[-1]
    apart = tf.reshape(values, (-1, *values.shape[1:-1], groups, channels // groups))
    axes = [*range(1, rank - 1), rank] if isinstance(layer, GroupNorm) else [rank]
    spread = apart if isinstance(layer, RMSNorm) else apart - tf.reduce_mean(apart, axis=axes, keepdims=True)
    size = tf.math.rsqrt(tf.reduce_mean(tf.square(spread), axis=axes, keepdims=True) + layer.epsilon)
    normal = tf.reshape(spread * tf.stop_gradient(size), (-1, *values.shape[1:])) * keras_layer.gamma
    return normal if isinstance(layer, RMSNorm) else normal + keras_layer.beta


def _product(inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """A product each of whose factors gets an equal part."""
    parts = []
    for number, own in enumerate(inputs):
        others = [tf.stop_gradient(one) for place, one in enumerate(inputs) if place != number]
        parts.append(own * math.prod(others[1:], start=others[0]))
    return tf.add_n(parts) / len(parts)
