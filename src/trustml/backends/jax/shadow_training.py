"""One shadow model from its start to its end, as a scan over its batches: what ``vmap`` makes many of."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.clipping import clipped_gradients
from trustml.backends.jax.dp import add_noise
from trustml.backends.jax.network import Params
from trustml.backends.jax.optimizers import make_optimizer
from trustml.backends.jax.training import Batch, cross_entropy
from trustml.backends.shadows import ShadowSettings
from trustml.plan.job import Mechanism
from trustml.scenario.clipping import Adaptive, PerLayer
from trustml.scenario.regimes import DPSGD, Plain


class Start(NamedTuple):
    """What one model has of its own.

    Attributes
    ----------
    params : Params
    labels : int array of shape (p,)
    dropout, noise : JAX keys
    """

    params: Params
    labels: Array
    dropout: Array
    noise: Array


def train_plain(settings: ShadowSettings, start: Start, rows: Array, inputs: Array, rates: Array) -> Params:
    """Go through the batches (steps, b) as :class:`trustml.backends.jax.training.PlainTrainer` does."""
    assert isinstance(settings.regime, Plain)
    architecture, optimizer = settings.architecture, make_optimizer(settings.regime.optimizer)

    def step(state: tuple[Params, Any], now: tuple[Array, Array, Array]) -> tuple[tuple[Params, Any], None]:
        (params, memory), (number, rate, chosen) = state, now
        batch, key = gather(chosen, inputs, start.labels), jax.random.fold_in(start.dropout, number)
        gradient = jax.grad(lambda weights: cross_entropy(architecture, weights, batch, key))(params)
        direction, memory = optimizer.update(gradient, memory)
        return (jax.tree.map(lambda w, d: w - rate * d, params, direction), memory), None

    first = (start.params, optimizer.init(start.params))
    (params, _), _ = lax.scan(step, first, (jnp.arange(len(rows)), rates, rows))
    return params


def train_private(settings: ShadowSettings, start: Start, rows: Array, inputs: Array, rates: Array) -> Params:
    """Go through the batches (steps, b) as the core does with :class:`trustml.backends.jax.dp.DPTrainer`.

    The noise is that of the same Threefry key and step there.
    """
    regime, mechanism = settings.regime, settings.mechanism
    assert isinstance(regime, DPSGD) and mechanism is not None
    adaptive = regime.clipping if isinstance(regime.clipping, Adaptive) else None
    optimizer = make_optimizer(regime.optimizer)

    def step(
        state: tuple[Params, Any, Array], now: tuple[Array, Array, Array]
    ) -> tuple[tuple[Params, Any, Array], None]:
        (params, memory, clip), (number, rate, chosen) = state, now
        images, labels, mask = gather(chosen, inputs, start.labels)
        sums, unclipped = clipped_gradients(
            settings.architecture,
            params,
            (images[:, None], labels, mask),
            clipping_norm=clip,
            per_layer=isinstance(regime.clipping, PerLayer),
            key=jax.random.fold_in(start.dropout, number),
        )
        key = jax.random.fold_in(start.noise, number)
        if mechanism.noise_multiplier:
            sums = add_noise(sums, key, deviation=mechanism.noise_multiplier * clip)
        gradient = jax.tree.map(lambda part: part / mechanism.expected_batch_size, sums)
        direction, memory = optimizer.update(gradient, memory)
        params = jax.tree.map(lambda w, d: w - rate * d, params, direction)
        if adaptive is not None:
            # Keys of later numbers than any step's: never one that a step uses.
            count_key = jax.random.fold_in(start.noise, len(rows) + number)
            clip = adapted(clip, unclipped - mask.sum() / 2, count_key, adaptive=adaptive, mechanism=mechanism)
        return (params, memory, clip), None

    first = (start.params, optimizer.init(start.params), jnp.float32(mechanism.clipping_norm))
    (params, _, _), _ = lax.scan(step, first, (jnp.arange(len(rows)), rates, rows))
    return params


def adapted(clip: Array, centred_count: Array, key: Array, *, adaptive: Adaptive, mechanism: Mechanism) -> Array:
    """Move the clipping norm towards the quantile (Andrew et al., NeurIPS 2021).

    `centred_count` sums +1/2 over what was not clipped and -1/2 over what was.
    """
    noisy = centred_count + mechanism.count_noise * jax.random.normal(key)
    share = noisy / mechanism.expected_batch_size + 0.5
    change = jnp.exp(jnp.minimum(50.0, -adaptive.learning_rate * (share - adaptive.quantile)))
    return jnp.clip(clip * change, 1e-4 * mechanism.clipping_norm, 1e4 * mechanism.clipping_norm)


def gather(rows: Array, inputs: Array, labels: Array) -> Batch:
    """Take a batch from the pool, whose last row is the filling: zeros, so that nothing broken is ever masked."""
    filling = len(inputs) - 1
    there = rows >= 0
    chosen = jnp.where(there, rows, filling)
    classes = jnp.take(labels, jnp.where(there, rows, 0), mode="clip")
    return jnp.take(inputs, chosen, axis=0, mode="clip"), classes, there.astype(jnp.float32)


def working_set(settings: ShadowSettings, *, weights: int, layers: list[tuple[int, ...]], batch: int) -> int:
    """Estimate the bytes that one step of one model goes through: weights, their optimizer's, and activations."""
    private = isinstance(settings.regime, DPSGD)
    activations = batch * sum(math.prod(shape) for shape in layers)
    return 4 * (5 * weights + (4 if private else 3) * activations)
