"""DP-SGD in JAX: per-example gradients under ``vmap``, in micro-batches of a fixed size with a mask.

Micro-batches change memory and never privacy: the clipped gradients of all of them are summed first, then
noise is added once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.contract import DPStep, Model
from trustml.backends.jax.network import Params, to_params, to_weights
from trustml.backends.jax.training import Batch, cross_entropy, fill, sgd_update
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import Architecture
from trustml.models.weights import Weights
from trustml.scenario.regimes import SGD

MICRO_BATCH = 32


def clipped_gradients(
    architecture: Architecture, params: Params, batch: Batch, *, clipping_norm: float, key: Array
) -> Params:
    """Sum over the examples of one micro-batch of their gradients, each scaled down to `clipping_norm`.

    Parameters
    ----------
    architecture : Architecture
    params : dict of str to array
    batch : (inputs, labels, mask)
        Masked rows contribute zero.
    clipping_norm : float
        Largest L2 norm over all parameters together.
    key : JAX key
        For dropout; each example gets one of its own.
    """
    inputs, labels, mask = batch

    def of_one(example: Array, label: Array, kept: Array, key: Array) -> Params:
        single = (example[None], label[None], jnp.ones(1))
        gradient = jax.grad(lambda weights: cross_entropy(architecture, weights, single, key))(params)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(part)) for part in jax.tree.leaves(gradient)))
        scale = kept * jnp.minimum(1.0, clipping_norm / jnp.maximum(norm, 1e-12))
        return jax.tree.map(lambda part: part * scale, gradient)

    each = jax.vmap(of_one)(inputs, labels, mask, jax.random.split(key, len(labels)))
    return jax.tree.map(lambda part: part.sum(axis=0), each)


class DPTrainer:
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, *, step: DPStep, dropout_seed: int) -> None:
        self._params = to_params(model.weights)
        self._velocity = jax.tree.map(jnp.zeros_like, self._params)
        self._capacity = _micro_batches(3 * step.expected_batch_size // 2)
        self._noise_key = _noise_key(step.noise_seed)
        self._dropout_key = jax.random.key(dropout_seed)
        self._steps = 0
        architecture, optimizer = (
            model.architecture,
            SGD(learning_rate=step.learning_rate, momentum=step.momentum),
        )

        def total(params: Params, batch: Batch, used: Array, key: Array) -> Params:
            def add(number: Array, sums: Params) -> Params:
                micro = jax.tree.map(lambda part: part[number], batch)
                part = clipped_gradients(
                    architecture,
                    params,
                    micro,
                    clipping_norm=step.clipping_norm,
                    key=jax.random.fold_in(key, number),
                )
                return jax.tree.map(jnp.add, sums, part)

            return lax.fori_loop(0, used, add, jax.tree.map(jnp.zeros_like, params))

        def update(
            params: Params, velocity: Params, batch: Batch, used: Array, keys: tuple[Array, Array]
        ) -> tuple[Params, Params]:
            sums = total(params, batch, used, keys[0])
            noisy = add_noise(sums, keys[1], deviation=step.noise_multiplier * step.clipping_norm)
            gradient = jax.tree.map(lambda part: part / step.expected_batch_size, noisy)
            return sgd_update(params, velocity, gradient, optimizer)

        self._total = jax.jit(total)
        self._update = jax.jit(update, donate_argnums=(0, 1))

    def step(self, inputs: Floats, labels: Ints) -> None:
        """Take one private step; an empty batch is a step of noise alone."""
        batch, used = self._in_micro_batches(inputs, labels)
        keys = (
            jax.random.fold_in(self._dropout_key, self._steps),
            jax.random.fold_in(self._noise_key, self._steps),
        )
        self._params, self._velocity = jax.block_until_ready(
            self._update(self._params, self._velocity, batch, used, keys)
        )
        self._steps += 1

    def clipped_sum(self, inputs: Floats, labels: Ints) -> Weights:
        """Sum of clipped gradients, without noise."""
        batch, used = self._in_micro_batches(inputs, labels)
        return to_weights(self._total(self._params, batch, used, self._dropout_key))

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return to_weights(self._params)

    def _in_micro_batches(self, inputs: Floats, labels: Ints) -> tuple[Batch, int]:
        """Reshape to (capacity, MICRO_BATCH, ...); capacity doubles when a batch outgrows it."""
        used = _micro_batches(len(labels))
        while used > self._capacity:
            self._capacity *= 2
        filled = fill(inputs, labels, size=self._capacity * MICRO_BATCH)
        micro = tuple(part.reshape(self._capacity, MICRO_BATCH, *part.shape[1:]) for part in filled)
        return (micro[0], micro[1], micro[2]), used


def add_noise(sums: Params, key: Array, *, deviation: float) -> Params:
    """Add Gaussian noise of one standard deviation to every coordinate, independently."""
    leaves, structure = jax.tree.flatten(sums)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + deviation * jax.random.normal(leaf_key, leaf.shape, leaf.dtype)
        for leaf, leaf_key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def _noise_key(seed: tuple[int, int, int, int]) -> Array:
    """Make a Threefry key, 64 bits wide, from 128 bits of entropy."""
    words = np.random.SeedSequence(list(seed)).generate_state(2)
    return jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32), impl="threefry2x32")


def _micro_batches(examples: int) -> int:
    return -(-examples // MICRO_BATCH)
