"""One shadow model from its start to its end, as a scan over its batches: what ``vmap`` makes many of."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.jax.clipping import clipped_gradients
from trustml.backends.jax.network import Params
from trustml.backends.jax.noise import add_noise, standard_number
from trustml.backends.jax.optimizers import make_optimizer
from trustml.backends.jax.training import loss_gradient
from trustml.backends.shadows import ShadowSettings
from trustml.models.weights import Weights
from trustml.plan.job import Mechanism
from trustml.privacy.rounding import drawn_noise
from trustml.scenario.clipping import Adaptive, PerLayer
from trustml.scenario.regimes import DPSGD, Plain


class Start(NamedTuple):
    """What one model starts from.

    Attributes
    ----------
    params : Params
    memory : optimizer state
        Zeros, which a program would need a kernel for each if it made them; see :func:`empty_memory`.
    dropout, noise : JAX keys
    """

    params: Params
    memory: Any
    dropout: Array
    noise: Array


class Chosen(NamedTuple):
    """A batch, or many of them, by position in the pool.

    Attributes
    ----------
    rows : int array of shape (..., b)
        Filling has the pool's last row, which is zeros, so that nothing broken is ever masked.
    labels : array of shape (..., b), or (..., b, c)
        Any for filling.
    """

    rows: Array
    labels: Array

    def there(self, inputs: Array) -> Array:
        """Which rows are no filling, (..., b), of a pool with its filling."""
        return self.rows != len(inputs) - 1


def train_plain(settings: ShadowSettings, start: Start, chosen: Chosen, inputs: Array, rates: Array) -> Params:
    """Go through the batches (steps, b) as :class:`trustml.backends.jax.training.PlainTrainer` does."""
    assert isinstance(settings.regime, Plain)
    architecture, optimizer = settings.architecture, make_optimizer(settings.regime.optimizer)

    def step(state: tuple[Params, Any], now: tuple[Array, Array, Chosen]) -> tuple[tuple[Params, Any], None]:
        (params, memory), (number, rate, batch) = state, now
        key = jax.random.fold_in(start.dropout, number)
        examples = taken(inputs, batch.rows)
        gradient = loss_gradient(
            architecture, params, examples, batch.labels, batch.there(inputs), key, task=settings.task
        )
        direction, memory = optimizer.update(gradient, memory)
        return (jax.tree.map(lambda w, d: w - rate * d, params, direction), memory), None

    first = (start.params, start.memory)
    (params, _), _ = lax.scan(step, first, (jnp.arange(len(rates)), rates, chosen))
    return params


def train_private(settings: ShadowSettings, start: Start, chosen: Chosen, inputs: Array, rates: Array) -> Params:
    """Go through the batches (steps, b) as the core does with :class:`trustml.backends.jax.dp.DPTrainer`.

    The noise is that of the same Threefry key and step there.
    """
    regime, mechanism = settings.regime, settings.mechanism
    assert isinstance(regime, DPSGD) and mechanism is not None
    adaptive = regime.clipping if isinstance(regime.clipping, Adaptive) else None
    optimizer = make_optimizer(regime.optimizer)

    def step(
        state: tuple[Params, Any, Array], now: tuple[Array, Array, Chosen]
    ) -> tuple[tuple[Params, Any, Array], None]:
        (params, memory, clip), (number, rate, batch) = state, now
        mask = batch.there(inputs).astype(jnp.float32)
        sums, unclipped = clipped_gradients(
            settings.architecture,
            params,
            (taken(inputs, batch.rows)[:, None], batch.labels, mask),
            clipping_norm=clip,
            per_layer=isinstance(regime.clipping, PerLayer),
            key=jax.random.fold_in(start.dropout, number),
            task=settings.task,
        )
        key = jax.random.fold_in(start.noise, number)
        if mechanism.noise_multiplier:
            noise = drawn_noise(mechanism.noise_multiplier, terms=mechanism.expected_batch_size)
            sums = add_noise(sums, key, deviation=noise * clip)
        gradient = jax.tree.map(lambda part: part / mechanism.expected_batch_size, sums)
        direction, memory = optimizer.update(gradient, memory)
        params = jax.tree.map(lambda w, d: w - rate * d, params, direction)
        if adaptive is not None:
            # Keys of later numbers than any step's: never one that a step uses.
            count_key = jax.random.fold_in(start.noise, len(rates) + number)
            clip = adapted(clip, unclipped - mask.sum() / 2, count_key, adaptive=adaptive, mechanism=mechanism)
        return (params, memory, clip), None

    first = (start.params, start.memory, jnp.float32(mechanism.clipping_norm))
    (params, _, _), _ = lax.scan(step, first, (jnp.arange(len(rates)), rates, chosen))
    return params


def adapted(clip: Array, centred_count: Array, key: Array, *, adaptive: Adaptive, mechanism: Mechanism) -> Array:
    """Move the clipping norm towards the quantile (Andrew et al., NeurIPS 2021).

    `centred_count` sums +1/2 over what was not clipped and -1/2 over what was.
    """
    noisy = centred_count + mechanism.count_noise * standard_number(key)
    share = noisy / mechanism.expected_batch_size + 0.5
    change = jnp.exp(jnp.minimum(50.0, -adaptive.learning_rate * (share - adaptive.quantile)))
    return jnp.clip(clip * change, 1e-4 * mechanism.clipping_norm, 1e4 * mechanism.clipping_norm)


def empty_memory(settings: ShadowSettings, weights: Weights) -> Any:
    """Give what the optimizers of several models remember at the start, all zeros; nothing for federated regimes.

    `weights` lie behind an axis of models, and so does what comes back.
    """
    if not isinstance(settings.regime, Plain | DPSGD):
        return ()
    one = {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in weights.items()}
    memory = jax.eval_shape(make_optimizer(settings.regime.optimizer).init, one)
    models = len(next(iter(weights.values())))
    return jax.tree.map(lambda part: np.zeros((models, *part.shape), part.dtype), memory)


def taken(inputs: Array, rows: Array) -> Array:
    """Rows of the pool; whoever chose them made sure that they are there."""
    return inputs.at[rows].get(mode="promise_in_bounds")


def working_set(settings: ShadowSettings, *, weights: int, layers: list[tuple[int, ...]], batch: int) -> int:
    """Estimate the bytes that one step of one model goes through: weights, their optimizer's, and activations."""
    private = isinstance(settings.regime, DPSGD)
    activations = batch * sum(math.prod(shape) for shape in layers)
    return 4 * (5 * weights + (4 if private else 3) * activations)
