"""Methods for attention: rollout, and relevance that is kept on its way through attention and norms. All compiled."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.attribution.rollout import rollout
from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.network import Params, Values, node_output, to_params
from trustml.backends.jax.rules import walk
from trustml.backends.jax.tiling import in_tiles, on_every_core, rows_at_once
from trustml.backends.jax.tokens import attention
from trustml.data.dataset import Floats
from trustml.models.graph import downstream, held_beside
from trustml.models.layers import Architecture, GroupNorm, LayerNorm, Multiply, Node, RMSNorm
from trustml.models.relevance import PASSES_ON, SHARES_OUT
from trustml.models.token_layers import Attention
from trustml.models.token_space import relevance_at
from trustml.scenario import methods as m


def attention_rollout(request: ExplainRequest, method: m.AttentionRollout) -> Floats:
    """Shares of tokens by the model's attention; shape (n, *x)."""
    architecture, params = request.model.architecture, to_params(request.model.weights)

    def outputs(inputs: Floats, names: Sequence[str]) -> dict[str, Floats]:
        found = _outputs(architecture, tuple(names), params, inputs)
        return {name: np.asarray(array) for name, array in found.items()}

    return rollout(architecture, request.inputs, outputs, rows=request.rows)


def transformer_lrp(request: ExplainRequest, method: m.TransformerLRP) -> Floats:
    """Relevance of each value; shape (n, *x)."""
    architecture, params = request.model.architecture, to_params(request.model.weights)
    program = functools.partial(_relevance, architecture, method.epsilon, params)
    found = on_every_core(program, request.inputs, request.targets)
    missing = request.inputs.shape[-1] - found.shape[-1]  # of tokens that were looked up: what says which are padding
    return np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, missing)])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(architecture: Architecture, names: Sequence[str], params: Params, inputs: Array) -> Values:
    values = walk(architecture, params, inputs)
    return {name: values[name] for name in names}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _relevance(architecture: Architecture, epsilon: float, params: Params, inputs: Array, targets: Array) -> Array:
    some = functools.partial(_of_tile, architecture, epsilon, params)
    return in_tiles(some, (inputs, targets), size=rows_at_once(architecture, inputs.shape[1:]))


def _of_tile(architecture: Architecture, epsilon: float, params: Params, inputs: Array, targets: Array) -> Array:
    """Value times gradient, of a network whose gradients are the shares that the rules give out."""
    entry = relevance_at(architecture)
    values = walk(architecture, params, inputs)
    beside = {name: values[name] for name in held_beside(architecture, entry)}

    def chosen(start: Array) -> Array:
        known: Values = {entry: start, **beside}
        for node in downstream(architecture, entry):
            known[node.name] = _with_rule(node, params, known, epsilon)
        logits = known[architecture.nodes[-1].name]
        return jnp.take_along_axis(logits, targets[:, None], axis=1).sum()

    return values[entry] * jax.grad(chosen)(values[entry])


def _with_rule(node: Node, params: Params, values: Values, epsilon: float) -> Array:
    """Output of a node, through which a gradient goes back as its rule says."""
    layer, inputs = node.layer, [values[name] for name in node.inputs]
    if isinstance(layer, Attention):
        queries, keys, *others = inputs
        return _shared_out(attention(layer, lax.stop_gradient(queries), lax.stop_gradient(keys), *others), epsilon)
    if isinstance(layer, LayerNorm | GroupNorm | RMSNorm):
        return _shared_out(_norm(layer, inputs[0], params, node.name), epsilon)
    if isinstance(layer, Multiply):
        return _product(inputs)
    output = node_output(node, params, values)
    if isinstance(layer, PASSES_ON):
        there = inputs[0] != 0
        ratio = jnp.where(there, output / jnp.where(there, inputs[0], 1.0), 0.0)
        return inputs[0] * lax.stop_gradient(ratio)
    return _shared_out(output, epsilon) if isinstance(layer, SHARES_OUT) else output


def _shared_out(output: Array, epsilon: float) -> Array:
    """The epsilon rule: of a sum near zero, the stabilizer keeps a part. The value stays as it is."""
    share = lax.stop_gradient(output / (output + epsilon * jnp.where(output < 0, -1.0, 1.0)))
    return lax.stop_gradient(output) + share * (output - lax.stop_gradient(output))


def _norm(layer: LayerNorm | GroupNorm | RMSNorm, values: Array, params: Params, name: str) -> Array:
    """A norm whose spread is held as it is."""
    if isinstance(layer, RMSNorm):
        size = lax.rsqrt(jnp.square(values).mean(axis=-1, keepdims=True) + layer.epsilon)
        return values * lax.stop_gradient(size) * params[f"{name}.scale"]
    groups = layer.groups if isinstance(layer, GroupNorm) else 1
    apart = values.reshape(*values.shape[:-1], groups, -1)
    axes = (*range(1, values.ndim - 1), values.ndim) if isinstance(layer, GroupNorm) else (values.ndim,)
    spread = apart - apart.mean(axis=axes, keepdims=True)
    size = lax.rsqrt(jnp.square(spread).mean(axis=axes, keepdims=True) + layer.epsilon)
    normal = (spread * lax.stop_gradient(size)).reshape(values.shape)
    return normal * params[f"{name}.scale"] + params[f"{name}.bias"]


def _product(inputs: Sequence[Array]) -> Array:
    """A product each of whose factors gets an equal part."""
    parts = []
    for number, own in enumerate(inputs):
        others = [lax.stop_gradient(one) for place, one in enumerate(inputs) if place != number]
        parts.append(own * math.prod(others[1:], start=others[0]))
    return sum(parts[1:], start=parts[0]) / len(parts)
