"""Plain training in JAX, on batches filled up and masked."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from trustml.backends.contract import Model
from trustml.backends.jax.network import Params, apply, to_params, to_weights
from trustml.backends.jax.optimizers import make_optimizer, read_state, restore_state
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import Architecture
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain

Batch: TypeAlias = tuple[Array, Array, Array]
"""Inputs (m, *x), labels (m,), mask (m,): 1 for an example, 0 for filling."""


def cross_entropy(architecture: Architecture, params: Params, batch: Batch, key: Array | None = None) -> Array:
    """Mean cross-entropy over the examples that the mask keeps."""
    inputs, labels, mask = batch
    losses = optax.softmax_cross_entropy_with_integer_labels(apply(architecture, params, inputs, key), labels)
    return (losses * mask).sum() / jnp.maximum(mask.sum(), 1.0)


def sgd_update(params: Params, velocity: Params, gradient: Params, optimizer: SGD) -> tuple[Params, Params]:
    """``v = momentum * v + g``; ``w = w - learning_rate * v``."""
    velocity = jax.tree.map(lambda v, g: optimizer.momentum * v + g, velocity, gradient)
    return jax.tree.map(lambda w, v: w - optimizer.learning_rate * v, params, velocity), velocity


def fill(inputs: Floats, labels: Ints, *, size: int) -> Batch:
    """Fill a batch up to `size` rows with zeros, and mask them."""
    missing = size - len(labels)
    mask = np.concatenate([np.ones(len(labels), np.float32), np.zeros(missing, np.float32)])
    if missing:
        inputs = np.concatenate([inputs, np.zeros((missing, *inputs.shape[1:]), np.float32)])
        labels = np.concatenate([labels, np.zeros(missing, np.int64)])
    return inputs, labels.astype(np.int32), mask


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, regime: Plain, dropout_seed: int) -> None:
        self._batch_size = regime.batch_size
        self._params = to_params(model.weights)
        optimizer = make_optimizer(regime.optimizer)
        self._state = optimizer.init(self._params)
        self._key = jax.random.key(dropout_seed)
        self._steps = 0
        architecture = model.architecture

        def step(params: Params, state: Any, batch: Batch, key: Array, learning_rate: float) -> tuple[Params, Any]:
            gradient = jax.grad(lambda weights: cross_entropy(architecture, weights, batch, key))(params)
            direction, state = optimizer.update(gradient, state)
            return jax.tree.map(lambda w, d: w - learning_rate * d, params, direction), state

        self._step = jax.jit(step, donate_argnums=(0, 1))

    def step(self, inputs: Floats, labels: Ints, *, learning_rate: float) -> None:
        """Take one step on the mean cross-entropy of the batch."""
        key = jax.random.fold_in(self._key, self._steps)
        batch = fill(inputs, labels, size=max(self._batch_size, len(labels)))
        self._params, self._state = jax.block_until_ready(
            self._step(self._params, self._state, batch, key, np.float32(learning_rate))
        )
        self._steps += 1

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return to_weights(self._params)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return read_state(self._state)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state."""
        self._params, self._state = to_params(weights), restore_state(self._state, state)
