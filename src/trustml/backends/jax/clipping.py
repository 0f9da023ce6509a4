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

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.losses import copies_loss
from trustml.backends.jax.network import (
    Params,
    apply,
    example_products,
    has_weights,
    node_output,
    prepared,
    unweighted,
    weighted,
)
from trustml.backends.jax.recurrent import step_gradients
from trustml.backends.jax.resizing import laid_down
from trustml.backends.jax.tiling import Tile
from trustml.backends.jax.tokens import Scattered, scattered, tied_gradients, token_gradients
from trustml.models.layer_types import TOKENS
from trustml.models.layers import (
    GRU,
    INPUT,
    LSTM,
    STANDARDISATION_EPSILON,
    Architecture,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    GroupNorm,
    Layer,
    LayerNorm,
    Node,
    RMSNorm,
)
from trustml.models.native import native_of
from trustml.models.shapes import node_of, value_shapes
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.models.token_layers import (
    Embedding,
    Unembedding,
)


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
    trained: tuple[str, ...] | None = None,
) -> tuple[Params, Array]:
    """Sum over the examples of a tile of their gradients, each scaled down to `clipping_norm`.

    Parameters
    ----------
    architecture : Architecture
    params : dict of str to array
    tile : (inputs, labels, mask)
        Inputs are (n, k, *x). The k copies of an example make one mean loss, by its label or, where they are a user's
        rows, by labels of their own (n, k, ...). Masked rows contribute zero.
    clipping_norm : float
        Largest L2 norm over all parameters together.
    per_layer : bool
        Clip each array by itself, to ``clipping_norm / sqrt(number of arrays)``.
    key : JAX key
        For dropout.
    first : int
        Number of the first example in its batch, for dropout.
    task : Task
    trained : tuple of str, optional
        Parameters by which there are gradients; all of them where it is left out.

    Returns
    -------
    sums : dict of str to array
    unclipped : int
        Number of examples whose whole gradient was no longer than `clipping_norm`.
    """
    mask = tile[2]
    wanted = tuple(params) if trained is None else trained
    every = _layer_gradients(architecture, params, tile, key, first, task, wanted)
    gradients = lax.optimization_barrier({name: every[name] for name in wanted})
    squares = {name: gradient.square_norms() for name, gradient in gradients.items()}
    norms = jnp.sqrt(sum(squares.values()))
    unclipped = jnp.sum((norms <= clipping_norm) & (mask > 0))
    if per_layer:
        each = clipping_norm / math.sqrt(len(squares))
        scales = {name: mask * _scale(each, jnp.sqrt(square)) for name, square in squares.items()}
    else:
        scales = dict.fromkeys(squares, mask * _scale(clipping_norm, norms))
    sums = {name: gradients[name].weighted_sum(scales[name]).reshape(params[name].shape) for name in wanted}
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
    architecture: Architecture,
    params: Params,
    tile: Tile,
    key: Array,
    first: Array | int,
    task: Task,
    wanted: tuple[str, ...],
) -> dict[str, _Outer | _Written | Scattered]:
    inputs, labels, _ = tile
    examples, copies = inputs.shape[:2]
    if native_of(architecture) is not None:
        return _alone(architecture, params, tile, key, first, task)
    rows = inputs.reshape(examples * copies, *inputs.shape[2:])
    shapes = value_shapes(architecture, inputs.shape[2:])
    moving = {node_of(name) for name in wanted}
    weighted_nodes = [node for node in architecture.nodes if _owner(node) in moving]
    taps = {node.name: jnp.zeros((len(rows), *shapes[node.name])) for node in weighted_nodes}

    def loss(taps: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Sum of the losses; taps are added to each weighted node's output, to read its gradient by all its uses."""
        values, seen = {INPUT: rows}, {}
        for index, node in enumerate(architecture.nodes):
            given = [values[name] for name in node.inputs]
            if isinstance(node.layer, Unembedding):
                seen[node.name] = given[0]
                values[node.name] = node_output(node, params, values) + taps.get(node.name, 0.0)
            elif has_weights(node.layer):
                seen[node.name] = prepared(node.layer, given[0])
                values[node.name] = weighted(node.layer, seen[node.name], params, node.name) + taps.get(node.name, 0.0)
            else:
                values[node.name] = unweighted(node.layer, given, jax.random.fold_in(key, index), first * copies)
        outputs = values[architecture.nodes[-1].name]
        return copies_loss(task, outputs, labels, copies=copies), seen

    outputs, seen = jax.grad(loss, has_aux=True)(taps)
    found: dict[str, _Outer | _Written | Scattered] = {}
    for node in weighted_nodes:
        name = node.name
        if isinstance(node.layer, GRU | LSTM):
            found |= _recurrent_gradients(node.layer, params, name, seen[name], outputs[name], examples)
            continue
        if isinstance(node.layer, Embedding | Unembedding):
            continue
        if isinstance(node.layer, TOKENS):
            parts = token_gradients(node.layer, seen[name], outputs[name], examples)
            found |= {f"{name}.{part}": _Written(each.swapaxes(1, -1)) for part, each in parts.items()}
            continue
        a, g = (array.reshape(examples, -1, array.shape[-1]) for array in (seen[name], outputs[name]))
        if isinstance(node.layer, GroupNorm | LayerNorm | RMSNorm):
            found[f"{name}.scale"] = _Written((a * g).sum(axis=1))
        elif isinstance(node.layer, ConvTranspose2D | ConvTranspose1D):
            back = laid_down(node.layer, outputs[name])
            each = example_products(a, back.reshape(examples, -1, back.shape[-1]))
            found[f"{name}.kernel"] = _Written(each.reshape(examples, -1))  # as the kernel lies: (places, out, in)
        else:
            found[f"{name}.kernel"] = _kernel_gradients(node.layer, params[f"{name}.kernel"], a, g)
        if f"{name}.bias" in params:
            found[f"{name}.bias"] = _Written(g.sum(axis=1))
    return found | _table_gradients(architecture, seen, outputs, examples)


def _owner(node: Node) -> str:
    """Name of the node whose weights a node multiplies by."""
    return node.layer.of if isinstance(node.layer, Unembedding) else node.name


def _alone(
    architecture: Architecture, params: Params, tile: Tile, key: Array, first: Array | int, task: Task
) -> dict[str, _Outer | _Written | Scattered]:
    """Gradients of a network of somebody's own code, each example by itself: there is no layer to know a rule for."""
    inputs, labels, mask = tile

    def loss(params: Params, copies: Array, label: Array, own: Array) -> Array:
        outputs = apply(architecture, params, copies, own)
        return copies_loss(task, outputs, label[None], copies=len(copies))

    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(len(inputs)))
    found = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0, 0))(params, inputs, labels, keys)
    # What fills a tile up is zeros, of which a stranger's network may give no number.
    there = mask[:, None] > 0
    return {name: _Written(jnp.where(there, each.reshape(len(inputs), -1), 0.0)) for name, each in found.items()}


def _table_gradients(
    architecture: Architecture, seen: dict[str, Array], outputs: dict[str, Array], examples: int
) -> dict[str, Scattered | _Written]:
    """Gradients by tables that tokens are looked up in, and that outputs may be tied to."""
    found: dict[str, Scattered | _Written] = {}
    ties = {node.layer.of: node.name for node in architecture.nodes if isinstance(node.layer, Unembedding)}
    for node in architecture.nodes:
        if not isinstance(node.layer, Embedding) or node.name not in outputs:
            continue
        ids, back = seen[node.name].reshape(examples, -1), outputs[node.name]
        lookups = scattered(ids, back.reshape(examples, -1, back.shape[-1]), node.layer.vocabulary)
        found[f"{node.name}.table"] = lookups
        if node.name in ties:
            parts = (part[ties[node.name]] for part in (seen, outputs))
            a, g = (part.reshape(examples, -1, part.shape[-1]) for part in parts)
            found[f"{node.name}.table"] = _Written(tied_gradients(lookups, a, g))
    return found


def _recurrent_gradients(
    layer: GRU | LSTM, params: Params, name: str, values: Array, gradient: Array, examples: int
) -> dict[str, _Outer | _Written]:
    """Gradients by both kernels and biases of a layer that goes step by step."""
    found: dict[str, _Outer | _Written] = {}
    of_inputs, of_states = step_gradients(layer, values, gradient, params, name)
    for prefix, parts in (("", of_inputs), ("recurrent_", of_states)):
        a, g = (part.reshape(examples, -1, part.shape[-1]) for part in parts)
        found[f"{name}.{prefix}kernel"] = _Written(example_products(a, g))
        found[f"{name}.{prefix}bias"] = _Written(g.sum(axis=1))
    return found


def _kernel_gradients(layer: Layer, kernel: Array, a: Array, g: Array) -> _Outer | _Written:
    """Gradients by a kernel from what it multiplies, (n, positions, in), and what comes back, (n, positions, out)."""
    groups = layer.groups if isinstance(layer, Conv2D | Conv1D) else 1
    standard = isinstance(layer, Conv2D) and layer.standardised
    if a.shape[1] == 1 and groups == 1 and not standard:
        return _Outer(a[:, 0], g[:, 0])
    if groups == 1:
        each = example_products(a, g)
    else:  # the positions of `a` are positions times groups
        examples, positions, filters = g.shape
        each = jnp.einsum(
            "npgo,npgi->ngoi",
            g.reshape(examples, positions, groups, -1),
            a.reshape(examples, positions, groups, -1),
        ).reshape(examples, filters, -1)
    return _Written(_through_standardisation(each, kernel.reshape(-1, kernel.shape[-1]).T) if standard else each)


def _through_standardisation(each: Array, rows: Array) -> Array:
    """Gradients (n, out, in) by standardised filters, to those by the filters (out, in) themselves."""
    spread = rows - rows.mean(axis=1, keepdims=True)
    scale = lax.rsqrt(jnp.square(spread).sum(axis=1, keepdims=True) + STANDARDISATION_EPSILON)
    along = (each * spread).sum(axis=2, keepdims=True)
    inner = each * scale - spread * scale**3 * along
    return inner - inner.mean(axis=2, keepdims=True)


def _scale(clipping_norm: Array | float, norm: Array) -> Array:
    # a gradient of zero is scaled by 1, not by 0 / 0
    return jnp.minimum(1.0, clipping_norm / jnp.maximum(norm, 1e-12))
