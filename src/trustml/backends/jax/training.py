"""Plain training in JAX, in tiles of masked rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.backends.contract import Model
from trustml.backends.jax.losses import example_losses, output_slopes
from trustml.backends.jax.network import Params, apply, moved, part_of, to_params, to_weights
from trustml.backends.jax.noise import threefry_key
from trustml.backends.jax.optimizers import make_optimizer, read_state, restore_state
from trustml.backends.jax.tiling import Share, Tile, calls_on_every_core, choose_tiling, deal, sum_tiles
from trustml.data.dataset import Floats, LabelArray
from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain


def loss_sum(
    architecture: Architecture,
    params: Params,
    tile: Tile,
    key: Array | None = None,
    first: Array | int = 0,
    *,
    task: Task = DEFAULT_TASK,
) -> Array:
    """Losses summed over the examples that the mask keeps; `first` is the place of the first in its batch."""
    inputs, labels, mask = tile
    losses = example_losses(task, apply(architecture, params, inputs, key, first), labels)
    return (losses * mask).sum()


def sgd_update(params: Params, velocity: Params, gradient: Params, optimizer: SGD) -> tuple[Params, Params]:
    """``v = momentum * v + g``; ``w = w - learning_rate * v``."""
    velocity = jax.tree.map(lambda v, g: optimizer.momentum * v + g, velocity, gradient)
    return jax.tree.map(lambda w, v: w - optimizer.learning_rate * v, params, velocity), velocity


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, regime: Plain, dropout_seed: int) -> None:
        self._capacity = regime.batch_size
        self._architecture, self._task = model.architecture, model.task
        self._params, self._trained = to_params(model.weights), tuple(model.trained)
        self._names = list(model.weights)
        self._optimizer = make_optimizer(regime.optimizer)
        self._state = self._optimizer.init(part_of(self._params, self._trained))
        self._tiling = choose_tiling(model.architecture, model.input_shape, copies=1, expected=regime.batch_size)
        self._words = np.asarray(jax.random.key_data(jax.random.key(dropout_seed)))
        self._steps = 0
        self._gradient = jax.jit(self._share_gradient)
        self._update = jax.jit(self._stepped, donate_argnums=(0, 1))

    def step(self, inputs: Floats, labels: LabelArray, *, learning_rate: float) -> None:
        """Take one step on the mean loss of the batch."""
        self._capacity = max(self._capacity, len(labels))
        found = calls_on_every_core(
            lambda share: self._gradient(self._params, share, self._words, np.int32(self._steps)),
            deal(inputs, labels, self._tiling, capacity=self._capacity),
        )
        self._params, self._state = jax.block_until_ready(
            self._update(self._params, self._state, found, np.float32(len(labels)), np.float32(learning_rate))
        )
        self._steps += 1

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return to_weights(self._params, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return read_state(self._state, self._trained)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state."""
        self._params = to_params(weights)
        self._state = restore_state(self._state, state) if state else self._optimizer.init(self._params)

    def _share_gradient(self, params: Params, share: Share, words: Array, step: Array) -> Params:
        """Gradient of the sum of the losses of a share."""
        key = jax.random.fold_in(threefry_key(words), step)

        def gradient(tile: Tile, start: Array) -> Params:
            def loss(weights: Params) -> Array:
                whole = {**params, **weights}
                return loss_sum(self._architecture, whole, tile, key, share.first + start, task=self._task)

            return jax.grad(loss)(part_of(params, self._trained))

        return sum_tiles(self._tiling, gradient, share)

    def _stepped(
        self, params: Params, state: Any, found: list[Params], examples: Array, learning_rate: Array
    ) -> tuple[Params, Any]:
        gradient = jax.tree.map(lambda *parts: sum(parts) / examples, *found)
        direction, state = self._optimizer.update(gradient, state)
        return moved(params, direction, learning_rate), state


def loss_gradient(
    architecture: Architecture,
    params: Params,
    inputs: Array,
    labels: Array,
    there: Array,
    key: Array | None = None,
    *,
    task: Task = DEFAULT_TASK,
) -> Params:
    """Gradient of the mean loss over the examples that are there.

    The loss itself is never needed, and its derivative by the formula spares a scatter, which on a processor is a loop
    over the examples, in each step. That pays for the few examples of a client or a shadow model. At 256 and more XLA
    multiplies the matrices behind it a tenth slower, so :class:`PlainTrainer` differentiates the loss.

    Parameters
    ----------
    architecture : Architecture
    params : Params
    inputs : array of shape (b, *x)
    labels : array of shape (b, *y)
        Of what is not there, any.
    there : array of shape (b,)
        0 or False for filling.
    key : JAX key, optional
        Draws dropout masks.
    task : Task
    """
    logits, pull = jax.vjp(lambda weights: apply(architecture, weights, inputs, key), params)
    wrong = output_slopes(task, logits, labels)
    each = jnp.where(there, 1 / jnp.maximum(there.sum(), 1), 0.0)
    (gradient,) = pull(wrong * each.reshape(-1, *[1] * (wrong.ndim - 1)))
    return gradient
