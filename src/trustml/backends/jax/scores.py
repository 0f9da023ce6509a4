"""Target logits of many variants of each example: variants are made, scored and forgotten tile by tile."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.coalitions import Bools, Doubles
from trustml.backends.jax.network import Params, apply, to_params
from trustml.backends.jax.tiling import in_tiles, on_every_core, rows_at_once
from trustml.data.dataset import Ints
from trustml.models.layers import Architecture


def coalition_scores(request: ExplainRequest, sets: Bools) -> Doubles:
    """Target logit for coalitions of features; absent ones take the baseline's values.

    Parameters
    ----------
    request : ExplainRequest
    sets : bool array of shape (n, k, features), or (1, k, features) for the same coalitions in all examples

    Returns
    -------
    float64 array of shape (n, k)
    """
    given = (request.inputs, request.targets, request.baseline, request.features, sets)
    return _scores(_of_coalitions, request, sets.shape[1], given)


def masked_scores(request: ExplainRequest, masks: Bools) -> Doubles:
    """Target logit where what a mask covers takes the baseline's values: masks (k, *x), scores (n, k)."""
    return _scores(_of_masks, request, len(masks), (request.inputs, request.targets, request.baseline, masks))


def permuted_scores(request: ExplainRequest, orders: Ints) -> Doubles:
    """Target logit where feature k comes from the examples orders[k]: orders (features, n), scores (n, features)."""
    return _scores(_of_orders, request, len(orders), (request.inputs, request.targets, request.features, orders))


def _scores(
    program: Callable[..., Array], request: ExplainRequest, variants: int, given: tuple[object, ...]
) -> Doubles:
    if not variants:
        return np.zeros((len(request.inputs), 0))
    arrays = jax.tree.map(jnp.asarray, given)
    numbers = np.arange(len(request.inputs) * variants, dtype=np.int32)
    call = functools.partial(program, request.model.architecture, to_params(request.model.weights), arrays)
    return on_every_core(call, numbers).astype(np.float64).reshape(len(request.inputs), variants)


@functools.partial(jax.jit, static_argnames=("architecture",))
def _of_coalitions(architecture: Architecture, params: Params, given: tuple[Array, ...], numbers: Array) -> Array:
    inputs, targets, baseline, features, sets = given
    variants = sets.shape[1]

    def variant(example: Array, number: Array) -> Array:
        there = sets[example if len(sets) > 1 else 0, number][:, features]
        return jnp.where(there, inputs[example], baseline[example])

    return _target_logits(architecture, params, variant, targets, numbers, variants=variants, shape=inputs.shape[1:])


@functools.partial(jax.jit, static_argnames=("architecture",))
def _of_masks(architecture: Architecture, params: Params, given: tuple[Array, ...], numbers: Array) -> Array:
    inputs, targets, baseline, masks = given

    def variant(example: Array, number: Array) -> Array:
        return jnp.where(masks[number], baseline[example], inputs[example])

    return _target_logits(architecture, params, variant, targets, numbers, variants=len(masks), shape=inputs.shape[1:])


@functools.partial(jax.jit, static_argnames=("architecture",))
def _of_orders(architecture: Architecture, params: Params, given: tuple[Array, ...], numbers: Array) -> Array:
    inputs, targets, features, orders = given

    def variant(example: Array, number: Array) -> Array:
        moved = features == number.reshape(-1, *[1] * features.ndim)
        return jnp.where(moved, inputs[orders[number, example]], inputs[example])

    return _target_logits(architecture, params, variant, targets, numbers, variants=len(orders), shape=inputs.shape[1:])


def _target_logits(
    architecture: Architecture,
    params: Params,
    variant: Callable[[Array, Array], Array],
    targets: Array,
    numbers: Array,
    *,
    variants: int,
    shape: tuple[int, ...],
) -> Array:
    """Score variants by number: those of the first example, then those of the second, and so on."""

    def tile(numbers: Array) -> Array:
        example = numbers // variants
        logits = apply(architecture, params, variant(example, numbers % variants))
        return jnp.take_along_axis(logits, targets[example][:, None], axis=1)[:, 0]

    return in_tiles(tile, (numbers,), size=rows_at_once(architecture, shape))
