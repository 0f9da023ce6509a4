"""A walk through the layers, forwards with all values kept and backwards by a rule of one's own.

Backwards, a *signal* is carried from the logits towards the input: gradients, multipliers (DeepLIFT) or relevance
(LRP). Every layer works on one example at a time, so a batch is walked through at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from trustml.backends.jax.network import Params, apply, has_weights, prepared, unweighted, weighted
from trustml.models.layers import (
    GELU,
    Architecture,
    Dropout,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    ReLU,
    Tanh,
)

_TINY = 1e-10
"""Differences below this are none, as in Captum: the gradient takes the place of a ratio."""

_POOL_EPSILON = 1e-9

Rule: TypeAlias = Callable[[int, Layer, Array], Array]
"""Index of a layer, the layer, and the signal at its output: the signal at its input."""


def layer_output(architecture: Architecture, params: Params, index: int, values: Array) -> Array:
    """Output of one layer."""
    layer = architecture.layers[index]
    if has_weights(layer):
        return weighted(layer, prepared(layer, values), params, str(index))
    return unweighted(layer, values, None)


def walk(architecture: Architecture, params: Params, inputs: Array, *, start: int = 0, stop: int = -1) -> list[Array]:
    """Inputs of layers `start` to `stop` - 1, and the output of the last one; all layers by default."""
    values = [inputs]
    for index in range(start, len(architecture.layers) if stop < 0 else stop):
        values.append(layer_output(architecture, params, index, values[-1]))
    return values


def logits_from(architecture: Architecture, params: Params, layer: int, values: Array) -> Array:
    """Logits when the output of a layer is `values`; the input has number -1."""
    first = layer + 1
    if first == 0:
        return apply(architecture, params, values)
    behind = Architecture(layers=architecture.layers[first:], initialisation=architecture.initialisation)
    names = {name: name.split(".") for name in params}
    renumbered = {f"{int(k) - first}.{part}": params[name] for name, (k, part) in names.items() if int(k) >= first}
    return apply(behind, renumbered, values)


def back(architecture: Architecture, rule: Rule, signal: Array, *, layer: int = -1) -> Array:
    """Carry a signal from the logits to the output of a layer; to the input by default."""
    for index in range(len(architecture.layers) - 1, layer, -1):
        signal = rule(index, architecture.layers[index], signal)
    return signal


def at_target(logits: Array, targets: Array) -> Array:
    """One at the target, zero elsewhere; (n, c)."""
    return jax.nn.one_hot(targets, logits.shape[1], dtype=logits.dtype)


def guided_rule(architecture: Architecture, params: Params, values: list[Array]) -> Rule:
    """The chain rule, but a ReLU passes positive gradients only (Springenberg et al., arXiv 1412.6806)."""

    def rule(index: int, layer: Layer, signal: Array) -> Array:
        return _vjp(architecture, params, index, values[index], jax.nn.relu(signal) if _is_relu(layer) else signal)

    return rule


def deconvolution_rule(architecture: Architecture, params: Params, values: list[Array]) -> Rule:
    """The chain rule, but a ReLU rectifies the gradient and forgets its input (Zeiler and Fergus, 1311.2901)."""

    def rule(index: int, layer: Layer, signal: Array) -> Array:
        if _is_relu(layer):
            return jax.nn.relu(signal)
        return _vjp(architecture, params, index, values[index], signal)

    return rule


def rescale_rule(architecture: Architecture, params: Params, values: list[Array], references: list[Array]) -> Rule:
    """DeepLIFT's rescale rule (Shrikumar et al., arXiv 1704.02685), with max-pooling as in SHAP and Captum.

    An elementwise layer multiplies by the ratio of its output's difference to its input's. A max-pool gives the part of
    the difference above the reference's maximum to the input's own maximum, and the part below it to the
    reference's; where windows overlap, an input gets the sum over its windows.
    """

    def rule(index: int, layer: Layer, signal: Array) -> Array:
        value, reference = values[index], references[index]
        if isinstance(layer, GroupNorm | LayerNorm):
            raise NotImplementedError(f"DeepLIFT has no rule for {type(layer).__name__}")
        gradient = _vjp(architecture, params, index, value, signal)
        if not isinstance(layer, ReLU | GELU | Tanh | MaxPool):
            return gradient
        change = value - reference
        after, before = values[index + 1], references[index + 1]
        if isinstance(layer, MaxPool):
            highest = jnp.maximum(after, before)
            given = _vjp(architecture, params, index, value, signal * (highest - before))
            given += _vjp(architecture, params, index, reference, signal * (after - highest))
        else:
            given = signal * (after - before)
        there = jnp.abs(change) >= _TINY
        return jnp.where(there, given / jnp.where(there, change, 1.0), gradient)

    return rule


def relevance_rule(architecture: Architecture, params: Params, values: list[Array], *, epsilon: float) -> Rule:
    """LRP's epsilon rule (Bach et al., PLOS ONE 2015); activations pass relevance on as it is."""

    def rule(index: int, layer: Layer, signal: Array) -> Array:
        if isinstance(layer, GELU | GroupNorm | LayerNorm):
            raise NotImplementedError(f"LRP has no rule for {type(layer).__name__}")
        if isinstance(layer, ReLU | Tanh | Dropout):
            return signal
        if isinstance(layer, Flatten):
            return signal.reshape(values[index].shape)
        output = values[index + 1]
        # A max-pool sums nothing, so a large epsilon would only lose relevance there; Captum's own one stays.
        size = _POOL_EPSILON if isinstance(layer, MaxPool) else epsilon
        share = signal / (output + size * jnp.where(output < 0, -1.0, 1.0))
        return values[index] * _vjp(architecture, params, index, values[index], share)

    return rule


def _vjp(architecture: Architecture, params: Params, index: int, values: Array, signal: Array) -> Array:
    _, pull = jax.vjp(lambda inputs: layer_output(architecture, params, index, inputs), values)
    (found,) = pull(signal)
    return found


def _is_relu(layer: Layer) -> bool:
    return isinstance(layer, ReLU)
