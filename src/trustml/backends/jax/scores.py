"""Target logits of many variants of each example: variants are made, scored and forgotten tile by tile."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.attribution.asking import Bools, Doubles
from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.network import Params, apply, to_params
from trustml.backends.jax.tiling import in_tiles, on_every_core, rows_at_once
from trustml.data.dataset import Ints
from trustml.models.layers import Architecture


class JaxScores:
    """See :class:`trustml.attribution.perturbation.VariantScores`."""

    def __init__(self, request: ExplainRequest) -> None:
        self._request = request
        self.inputs, self.baseline, self.features = request.inputs, request.baseline, request.features
        self.seed = request.seed

    def of_coalitions(self, sets: Bools) -> Doubles:
        """See the protocol."""
        given = (self.inputs, self._request.targets, self.baseline, self.features, sets)
        return _scores(_of_coalitions, self._request, sets.shape[1], given)

    def of_masks(self, masks: Bools) -> Doubles:
        """See the protocol."""
        given = (self.inputs, self._request.targets, self.baseline, masks)
        return _scores(_of_masks, self._request, len(masks), given)

    def of_orders(self, orders: Ints) -> Doubles:
        """See the protocol."""
        given = (self.inputs, self._request.targets, self.features, orders)
        return _scores(_of_orders, self._request, len(orders), given)


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
