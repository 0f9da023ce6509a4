"""A walk through the nodes, forwards with all values kept and backwards by a rule of one's own.

Backwards, a *signal* is carried from the logits towards the input: gradients, multipliers (DeepLIFT) or relevance
(LRP). What a value is used for more than once sends it a signal each time, and they add up. Every layer works on one
example at a time, so a batch is walked through at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import msgspec
from jax import Array

from trustml.backends.jax.network import Params, Values, node_output
from trustml.models.graph import downstream, held_beside, value_name
from trustml.models.layers import (
    GELU,
    INPUT,
    AdaptiveAvgPool,
    Add,
    Architecture,
    AvgPool,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LeakyReLU,
    MaxPool,
    Node,
    ReLU,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Transpose,
)
from trustml.models.token_layers import (
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Pick,
    Prepend,
    Reshape,
    SinusoidalPositions,
    Unembedding,
)

_TINY = 1e-10
"""Differences below this are none, as in Captum: the gradient takes the place of a ratio."""

_POOL_EPSILON = 1e-9

Rule: TypeAlias = Callable[[Node, Array], tuple[Array, ...]]
"""A node and the signal at its output: the signal at each of its inputs."""

_ELEMENTWISE = (ReLU, LeakyReLU, GELU, SiLU, Softplus, Tanh, Sigmoid)
_SUMS = (
    Dense,
    Conv2D,
    Conv1D,
    ConvTranspose2D,
    ConvTranspose1D,
    AvgPool,
    AdaptiveAvgPool,
    GlobalAvgPool,
    Add,
    Scale,
    FeatureTokens,
    LearnedPositions,
    SinusoidalPositions,
    MaskedMean,
    Unembedding,
)
"""Whose outputs are sums over inputs, and at most an offset."""
_MOVES = (Dropout, Flatten, Transpose, Concatenate, Embedding, Pick, Prepend, Reshape, Mask)
"""Whose outputs are inputs, elsewhere; of an Embedding, vectors that were looked up; a Mask sends nothing back."""


def walk(architecture: Architecture, params: Params, inputs: Array) -> Values:
    """Compute all nodes."""
    return walk_over(architecture.nodes, params, {INPUT: inputs})


def walk_over(nodes: Iterable[Node], params: Params, known: Mapping[str, Array]) -> Values:
    """Compute these nodes from values that are known; gives both."""
    values = dict(known)
    for node in nodes:
        values[node.name] = node_output(node, params, values)
    return values


def logits_of(architecture: Architecture, values: Values) -> Array:
    """Output of the last node."""
    return values[architecture.nodes[-1].name]


def values_beside(architecture: Architecture, layer: int, values: Values) -> Values:
    """Values that logits follow from, beside the output of a node: none in a chain."""
    return {name: values[name] for name in held_beside(architecture, value_name(architecture, layer))}


def logits_from(architecture: Architecture, params: Params, layer: int, values: Array, beside: Values) -> Array:
    """Logits when the output of a node is `values`, and what does not depend on it as in `beside`.

    The input has number -1.
    """
    name = value_name(architecture, layer)
    return logits_of(architecture, walk_over(downstream(architecture, name), params, {name: values, **beside}))


def back(architecture: Architecture, rule: Rule, signal: Array, *, layer: int = -1) -> Array:
    """Carry a signal from the logits to the output of a node; to the input by default."""
    signals = {architecture.nodes[-1].name: signal}
    name = value_name(architecture, layer)
    for node in reversed(downstream(architecture, name)):
        for source, given in zip(node.inputs, rule(node, signals[node.name]), strict=True):
            signals[source] = signals[source] + given if source in signals else given
    return signals[name]


def at_target(logits: Array, targets: Array) -> Array:
    """One at the target, zero elsewhere; (n, c)."""
    return jax.nn.one_hot(targets, logits.shape[1], dtype=logits.dtype)


def guided_rule(params: Params, values: Values) -> Rule:
    """The chain rule, but a ReLU passes positive gradients only (Springenberg et al., arXiv 1412.6806)."""

    def rule(node: Node, signal: Array) -> tuple[Array, ...]:
        return _vjp(node, params, values, jax.nn.relu(signal) if isinstance(node.layer, ReLU) else signal)

    return rule


def deconvolution_rule(params: Params, values: Values) -> Rule:
    """The chain rule, but a ReLU rectifies the gradient and forgets its input (Zeiler and Fergus, 1311.2901)."""

    def rule(node: Node, signal: Array) -> tuple[Array, ...]:
        if isinstance(node.layer, ReLU):
            return (jax.nn.relu(signal),)
        return _vjp(node, params, values, signal)

    return rule


def rescale_rule(params: Params, values: Values, references: Values) -> Rule:
    """DeepLIFT's rescale rule (Shrikumar et al., arXiv 1704.02685), with max-pooling as in SHAP and Captum.

    An elementwise layer multiplies by the ratio of its output's difference to its input's. A max-pool gives the part of
    the difference above the reference's maximum to the input's own maximum, and the part below it to the
    reference's; where windows overlap, an input gets the sum over its windows. What sums its inputs passes multipliers
    to each of them.
    """

    def rule(node: Node, signal: Array) -> tuple[Array, ...]:
        layer = node.layer
        if not isinstance(layer, (*_ELEMENTWISE, *_SUMS, *_MOVES, MaxPool, GlobalMaxPool)):
            raise NotImplementedError(f"DeepLIFT has no rule for {type(layer).__name__}")
        gradients = _vjp(node, params, values, signal)
        if not isinstance(layer, (*_ELEMENTWISE, MaxPool, GlobalMaxPool)):
            return gradients
        (source,) = node.inputs
        change = values[source] - references[source]
        after, before = values[node.name], references[node.name]
        if isinstance(layer, MaxPool | GlobalMaxPool):
            highest = jnp.maximum(after, before)
            (given,) = _vjp(node, params, values, signal * (highest - before))
            (other,) = _vjp(node, params, references, signal * (after - highest))
            given += other
        else:
            given = signal * (after - before)
        there = jnp.abs(change) >= _TINY
        return (jnp.where(there, given / jnp.where(there, change, 1.0), gradients[0]),)

    return rule


def relevance_rule(params: Params, values: Values, *, epsilon: float) -> Rule:
    """LRP's epsilon rule (Bach et al., PLOS ONE 2015); activations pass relevance on as it is.

    A sum of nodes gives each its share, as a dense layer gives its inputs.
    """

    def rule(node: Node, signal: Array) -> tuple[Array, ...]:
        layer = node.layer
        if isinstance(layer, ReLU | Tanh):
            return (signal,)
        if isinstance(layer, _MOVES):
            return _vjp(node, params, values, signal)
        if not isinstance(layer, (*_SUMS, MaxPool, GlobalMaxPool)):
            raise NotImplementedError(f"LRP has no rule for {type(layer).__name__}")
        output = values[node.name]
        # A max-pool sums nothing, so a large epsilon would only lose relevance there; Captum's own one stays.
        size = _POOL_EPSILON if isinstance(layer, MaxPool | GlobalMaxPool) else epsilon
        share = signal / (output + size * jnp.where(output < 0, -1.0, 1.0))
        shares = _vjp(node, params, values, share)
        return tuple(values[name] * part for name, part in zip(node.inputs, shares, strict=True))

    return rule


def _vjp(node: Node, params: Params, values: Values, signal: Array) -> tuple[Array, ...]:
    """Carry a gradient from the output of a node to each of its inputs."""

    def output(*inputs: Array) -> Array:
        # under names of their own: a node may take one value twice
        places = tuple(map(str, range(len(inputs))))
        renamed = msgspec.structs.replace(node, inputs=places)
        return node_output(renamed, params, dict(zip(places, inputs, strict=True)))

    _, pull = jax.vjp(output, *(values[name] for name in node.inputs))
    found: tuple[Array, ...] = pull(signal)
    return found
