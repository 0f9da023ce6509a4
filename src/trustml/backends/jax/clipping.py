"""Clipped gradients from one forward and one backward pass.

A layer with weights computes ``z = a @ kernel + bias`` at each position (a dense layer has one position, a
convolution one for each patch). With ``g`` the gradient of the loss by ``z``, an example's gradient is the sum of
``a^T g`` over its positions. At one position it is never formed: its norm is ``|a| |g|`` (Goodfellow, 2015, arXiv
1510.01799), and the clipped sum ``a^T (c g)`` with each example's scale ``c`` (Bu et al., ICML 2023, arXiv 2210.00038).
At several it is written out, and norm and sum are taken from what was written. Norms from products of positions (Li et
al., ICLR 2022) are not used: where positions cancel, rounding decides both, and differently.

What is clipped is what was measured. XLA may compute a value anew for each use, with other rounding; a barrier between
the gradients and their uses keeps them the same numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.losses import example_losses
from trustml.backends.jax.network import Params, example_products, has_weights, prepared, unweighted, weighted
from trustml.backends.jax.tiling import Tile
from trustml.models.layers import Architecture, GroupNorm, LayerNorm
from trustml.models.shapes import layer_shapes
from trustml.models.tasks import DEFAULT_TASK, Task


def clipped_gradients(
    architecture: Architecture,
    params: Params,
    tile: Tile,
    *,
    clipping_norm: Array,
    per_layer: bool,
    key: Array,
    first: Array | int = 0,
    task: Task = DEFAULT_TASK,
) -> tuple[Params, Array]:
    """Sum over the examples of a tile of their gradients, each scaled down to `clipping_norm`.

    Parameters
    ----------
    architecture : Architecture
    params : dict of str to array
    tile : (inputs, labels, mask)
        Inputs are (n, k, *x). The k copies of an example make one mean loss. Masked rows contribute zero.
    clipping_norm : float
        Largest L2 norm over all parameters together.
    per_layer : bool
        Clip each array by itself, to ``clipping_norm / sqrt(number of arrays)``.
    key : JAX key
        For dropout.
    first : int
        Number of the first example in its batch, for dropout.
    task : Task

    Returns
    -------
    sums : dict of str to array
    unclipped : int
        Number of examples whose whole gradient was no longer than `clipping_norm`.
    """
    mask = tile[2]
    gradients = lax.optimization_barrier(_layer_gradients(architecture, params, tile, key, first, task))
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


class _Outer(NamedTuple):
    """Per-example gradients ``a^T g`` of layers with one position, never formed."""

    inputs: Array  # (n, in)
    outputs: Array  # (n, out)

    def square_norms(self) -> Array:
        # The norm of an outer product is the product of the norms.
        # Squares may underflow where their product does not: what can be lost is added.
        tiny = float(jnp.finfo(jnp.float32).tiny)
        a, g = (jnp.square(rows).sum(axis=1) + rows.shape[1] * tiny for rows in self)
        return a * g

    def weighted_sum(self, scales: Array) -> Array:
        return self.inputs.T @ (self.outputs * scales[:, None])


class _Written(NamedTuple):
    """Per-example gradients, of shape (n, ...); those of a matrix are transposed."""

    each: Array

    def square_norms(self) -> Array:
        return jnp.square(self.each).sum(axis=tuple(range(1, self.each.ndim)))

    def weighted_sum(self, scales: Array) -> Array:
        return jnp.tensordot(scales, self.each, axes=1).T


def _layer_gradients(
    architecture: Architecture, params: Params, tile: Tile, key: Array, first: Array | int, task: Task
) -> dict[str, _Outer | _Written]:
    inputs, labels, _ = tile
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
        losses = example_losses(task, values, jnp.repeat(labels, copies, axis=0))
        return losses.sum() / copies, seen

    outputs, seen = jax.grad(loss, has_aux=True)(taps)
    found: dict[str, _Outer | _Written] = {}
    for index, layer in enumerate(architecture.layers):
        name = str(index)
        if not has_weights(layer):
            continue
        a, g = (array.reshape(examples, -1, array.shape[-1]) for array in (seen[name], outputs[name]))
        if isinstance(layer, GroupNorm | LayerNorm):
            found[f"{name}.scale"] = _Written((a * g).sum(axis=1))
        elif a.shape[1] == 1:
            found[f"{name}.kernel"] = _Outer(a[:, 0], g[:, 0])
        else:
            found[f"{name}.kernel"] = _Written(example_products(a, g))
        if f"{name}.bias" in params:
            found[f"{name}.bias"] = _Written(g.sum(axis=1))
    return found


def _scale(clipping_norm: Array | float, norm: Array) -> Array:
    # a gradient of zero is scaled by 1, not by 0 / 0
    return jnp.minimum(1.0, clipping_norm / jnp.maximum(norm, 1e-12))
