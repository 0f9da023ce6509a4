"""Clipped gradients from one forward and one backward pass, without a gradient for each example.

A layer with weights computes ``z = a @ kernel + bias`` at each position (a dense layer has one position, a
convolution one for each patch). With ``g`` the gradient of the loss by ``z``, an example's gradient is the sum of
``a^T g`` over its positions. Its norm follows from products of positions where they are few (Goodfellow, 2015,
arXiv 1510.01799; Li et al., ICLR 2022), or from the small gradient itself where they are many; and the clipped sum
is ``a^T (c g)`` with each example's scale ``c`` (Bu et al., ICML 2023, arXiv 2210.00038).
"""

from __future__ import annotations

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array

from trustml.backends.jax.network import Params, example_products, has_weights, prepared, unweighted, weighted
from trustml.models.layers import Architecture, GroupNorm, LayerNorm
from trustml.models.shapes import layer_shapes

_ROUNDING = 2.0**-22
"""Relative error of float32 products, generously: it is added, so that cancellation makes no norm too short."""

Piece: TypeAlias = tuple[Array, Array, Array]
"""Inputs (n, k, *x), labels (n,), mask (n,): 1 for an example, 0 for filling."""


def clipped_gradients(
    architecture: Architecture,
    params: Params,
    piece: Piece,
    *,
    clipping_norm: Array,
    per_layer: bool,
    key: Array,
    first: Array | int = 0,
) -> tuple[Params, Array]:
    """Sum over the examples of a piece of their gradients, each scaled down to `clipping_norm`.

    Parameters
    ----------
    architecture : Architecture
    params : dict of str to array
    piece : (inputs, labels, mask)
        The k copies of an example make one mean loss. Masked rows contribute zero.
    clipping_norm : float
        Largest L2 norm over all parameters together.
    per_layer : bool
        Clip each array by itself, to ``clipping_norm / sqrt(number of arrays)``.
    key : JAX key
        For dropout.
    first : int
        Number of the first example in its batch, for dropout.

    Returns
    -------
    sums : dict of str to array
    unclipped : int
        Number of examples whose whole gradient was no longer than `clipping_norm`.
    """
    inputs, labels, mask = piece
    gradients = _layer_gradients(architecture, params, inputs, labels, key, first)
    squares = {name: gradient.square_norms() for name, gradient in gradients.items()}
    norms = jnp.sqrt(sum(squares.values()))
    unclipped = jnp.sum((norms <= clipping_norm) & (mask > 0))
    if per_layer:
        each = clipping_norm / math.sqrt(len(squares))
        scales = {name: mask * _scale(each, jnp.sqrt(square)) for name, square in squares.items()}
    else:
        scales = dict.fromkeys(squares, mask * _scale(clipping_norm, norms))
    sums = {name: gradients[name].weighted_sum(scales[name]).reshape(params[name].shape) for name in params}
    return sums, unclipped


def clip_rows(rows: Params, clipping_norm: Array, *, per_layer: bool) -> Params:
    """Sum of gradients that are given along a leading axis, each scaled down to `clipping_norm`."""
    squares = {name: jnp.square(part.reshape(len(part), -1)).sum(axis=1) for name, part in rows.items()}
    if per_layer:
        each = clipping_norm / math.sqrt(len(squares))
        scales = {name: _scale(each, jnp.sqrt(square)) for name, square in squares.items()}
    else:
        scales = dict.fromkeys(squares, _scale(clipping_norm, jnp.sqrt(sum(squares.values()))))
    return {name: jnp.tensordot(scales[name], part, axes=1) for name, part in rows.items()}


class _Product:
    """Per-example gradients ``sum over positions of a^T g``, never formed unless they are small."""

    def __init__(self, inputs: Array, outputs: Array) -> None:
        self._inputs, self._outputs = inputs, outputs  # (n, p, in) and (n, p, out)
        positions, entries = inputs.shape[1], inputs.shape[2] * outputs.shape[2]
        few = positions**2 * (inputs.shape[2] + outputs.shape[2]) < positions * entries
        self._each = None if few else example_products(inputs, outputs)

    def square_norms(self) -> Array:
        if self._each is not None:
            return jnp.square(self._each).sum(axis=(1, 2))
        if self._inputs.shape[1] == 1:
            return jnp.square(self._inputs).sum(axis=(1, 2)) * jnp.square(self._outputs).sum(axis=(1, 2))
        inner = jnp.einsum("npi,nqi->npq", self._inputs, self._inputs)
        outer = jnp.einsum("npo,nqo->npq", self._outputs, self._outputs)
        lengths = jnp.sqrt(jnp.diagonal(inner, axis1=1, axis2=2) * jnp.diagonal(outer, axis1=1, axis2=2)).sum(axis=1)
        return jnp.maximum((inner * outer).sum(axis=(1, 2)), 0.0) + _ROUNDING * jnp.square(lengths)

    def weighted_sum(self, scales: Array) -> Array:
        if self._each is not None:
            return jnp.tensordot(scales, self._each, axes=1).T
        scaled = self._outputs * scales[:, None, None]
        return self._inputs.reshape(-1, self._inputs.shape[2]).T @ scaled.reshape(-1, scaled.shape[2])


class _Each:
    """Per-example gradients of a vector of weights, of shape (n, out)."""

    def __init__(self, each: Array) -> None:
        self._each = each

    def square_norms(self) -> Array:
        return jnp.square(self._each).sum(axis=1)

    def weighted_sum(self, scales: Array) -> Array:
        return scales @ self._each


def _layer_gradients(
    architecture: Architecture, params: Params, inputs: Array, labels: Array, key: Array, first: Array | int
) -> dict[str, _Product | _Each]:
    examples, copies = inputs.shape[:2]
    rows = inputs.reshape(examples * copies, *inputs.shape[2:])
    shapes = layer_shapes(architecture, inputs.shape[2:])
    taps = {
        str(index): jnp.zeros((len(rows), *shapes[index + 1]))
        for index, layer in enumerate(architecture.layers)
        if has_weights(layer)
    }

    def loss(taps: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Sum of the losses; the taps are added to each weighted layer's output, to read its gradient."""
        values, seen = rows, {}
        for index, layer in enumerate(architecture.layers):
            name = str(index)
            if has_weights(layer):
                seen[name] = prepared(layer, values)
                values = weighted(layer, seen[name], params, name) + taps[name]
            else:
                values = unweighted(layer, values, jax.random.fold_in(key, index), first * copies)
        losses = optax.softmax_cross_entropy_with_integer_labels(values, jnp.repeat(labels, copies))
        return losses.sum() / copies, seen

    outputs, seen = jax.grad(loss, has_aux=True)(taps)
    found: dict[str, _Product | _Each] = {}
    for index, layer in enumerate(architecture.layers):
        name = str(index)
        if not has_weights(layer):
            continue
        a, g = (array.reshape(examples, -1, array.shape[-1]) for array in (seen[name], outputs[name]))
        if isinstance(layer, GroupNorm | LayerNorm):
            found[f"{name}.scale"] = _Each((a * g).sum(axis=1))
        else:
            found[f"{name}.kernel"] = _Product(a, g)
        if f"{name}.bias" in params:
            found[f"{name}.bias"] = _Each(g.sum(axis=1))
    return found


def _scale(clipping_norm: Array | float, norm: Array) -> Array:
    return jnp.minimum(1.0, clipping_norm / jnp.maximum(norm, 1e-12))
