"""DP-SGD in JAX, in tiles of masked rows so that batches of another size compile nothing anew."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.contract import Model
from trustml.backends.jax.clipping import clip_rows
from trustml.backends.jax.network import Params, moved, part_of, to_params, to_weights
from trustml.backends.jax.noise import CorrelatedNoise, add_noise, noise_words, threefry_key
from trustml.backends.jax.optimizers import make_optimizer, read_state, restore_state
from trustml.backends.jax.sharding import device_mesh, replicated, sharded_clipped_gradients
from trustml.backends.jax.tiling import Share, Tile, calls_on_every_core, choose_tiling, deal, sum_tiles
from trustml.backends.settings import Clipped, EngineChoice, PrivateSettings, filled_up
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights

_ROWS = 32  # gradients from elsewhere are filled up to a multiple of this, so that few sizes are ever compiled


class _Released(NamedTuple):
    """What a noisy gradient is made of. The seed is an argument of what is compiled: a constant would be cached."""

    sums: Params
    words: npt.NDArray[np.uint32]
    step: np.int32
    deviation: np.float32
    noise: Params | None = None
    """Over the deviation; None where it is drawn from the words, for this step alone."""


class DPTrainer:
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, *, settings: PrivateSettings, dropout_seed: int) -> None:
        self._mesh = device_mesh(settings.devices)
        self._params = replicated(self._mesh, to_params(model.weights))
        self._names = list(model.weights)
        self._optimizer = make_optimizer(settings.optimizer)
        self._trained = tuple(model.trained)
        self._state = self._optimizer.init(part_of(self._params, self._trained))
        expected = settings.expected_batch_size
        self._capacity = settings.micro_batch_size or expected + 3 * math.isqrt(expected)
        self._tiling = choose_tiling(
            model.architecture, model.input_shape, copies=settings.multiplicity, expected=settings.block_rows()
        )._replace(uniform=True)
        self._noise_words = noise_words(settings.noise_seed)
        self._dropout_words = np.asarray(jax.random.key_data(jax.random.key(dropout_seed)))
        self._microbatches = self._steps = 0
        self._architecture, self._task, self._settings = model.architecture, model.task, settings
        self._correlated = settings.noise and CorrelatedNoise(settings.noise, like=part_of(self._params, self._trained))
        self._sums: list[Params] = []
        self._clip = jax.jit(self._clipped_share)
        self._plant = jax.jit(partial(clip_rows, per_layer=settings.per_layer))
        self._total = jax.jit(lambda sums: jax.tree.map(lambda *parts: sum(parts), *sums))
        self._update = jax.jit(self._noisy_step, donate_argnums=(0, 1))
        self._noisy = jax.jit(self._noisy_mean)
        self._released: _Released | None = None

    @property
    def choice(self) -> EngineChoice:
        """There is one way."""
        return EngineChoice(name="book-keeping", seconds={}, refused={})

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip one microbatch and add it to the sum."""
        self._capacity = max(self._capacity, len(labels))
        norm, microbatch = np.float32(clipping_norm), np.int32(self._microbatches)
        self._microbatches += 1
        found = calls_on_every_core(
            lambda share: self._clip(self._params, share, norm, self._dropout_words, microbatch),
            deal(inputs, labels, self._tiling, capacity=self._capacity),
        )
        if not all(bool(finite) for _, finite, _ in found):
            return Clipped(finite=False, unclipped=0)
        self._add([sums for sums, _, _ in found])
        return Clipped(finite=True, unclipped=sum(int(unclipped) for _, _, unclipped in found))

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip gradients from elsewhere and add them to the sum."""
        self._add([self._plant(filled_rows(gradients), np.float32(clipping_norm))])

    def clipped_sum(self) -> Weights:
        """Sum so far, without noise."""
        return to_weights(self._sum(), self._trained)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Add noise, divide, and take the step."""
        deviation = self._settings.deviation(noise_multiplier=noise_multiplier, clipping_norm=clipping_norm)
        released = _Released(
            sums=self._sum(),
            words=self._noise_words,
            step=np.int32(self._steps),
            deviation=np.float32(deviation),
            noise=self._correlated.take(self._noise_words, self._steps) if self._correlated and deviation else None,
        )
        self._steps += 1  # no other sum gets this noise
        self._params, self._state = jax.block_until_ready(
            self._update(self._params, self._state, released, np.float32(learning_rate))
        )
        self._released, self._sums = released, []

    def gradient(self) -> Weights:
        """Noisy mean gradient of the last update."""
        assert self._released is not None
        return to_weights(self._noisy(self._released), self._trained)

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return to_weights(self._params, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return read_state(self._state, self._trained)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state; the noise goes on from its own, new seed."""
        self._params = to_params(weights)
        self._state = restore_state(self._state, state) if state else self._optimizer.init(self._params)

    def _add(self, found: list[Params]) -> None:
        """Keep one sum once a batch has come in several microbatches."""
        self._sums = [self._total([*self._sums, *found])] if self._sums or len(found) > 1 else found

    def _sum(self) -> Params:
        return self._sums[0] if self._sums else jax.tree.map(jnp.zeros_like, part_of(self._params, self._trained))

    def _clipped_share(
        self, params: Params, share: Share, clipping_norm: Array, words: Array, microbatch: Array
    ) -> tuple[Params, Array, Array]:
        """Sum of clipped gradients, whether it is finite, and how many were not clipped."""
        key = jax.random.fold_in(threefry_key(words), microbatch)

        def clipped(tile: Tile, start: Array) -> tuple[Params, Array]:
            return sharded_clipped_gradients(
                self._mesh,
                self._architecture,
                params,
                tile,
                clipping_norm=clipping_norm,
                per_layer=self._settings.per_layer,
                key=key,
                first=share.first + start,
                task=self._task,
                trained=self._trained,
            )

        sums, unclipped = sum_tiles(self._tiling, clipped, share)
        finite = jnp.all(jnp.stack([jnp.isfinite(part.sum()) for part in jax.tree.leaves(sums)]))
        return sums, finite, unclipped

    def _noisy_mean(self, released: _Released) -> Params:
        if released.noise is None:
            key = jax.random.fold_in(threefry_key(released.words), released.step)
            noisy = add_noise(released.sums, key, deviation=released.deviation)
        else:
            noisy = jax.tree.map(lambda total, part: total + released.deviation * part, released.sums, released.noise)
        return jax.tree.map(lambda total: total / self._settings.expected_batch_size, noisy)

    def _noisy_step(self, params: Params, state: Any, released: _Released, learning_rate: Array) -> tuple[Params, Any]:
        """Take a step; the gradient stays inside, as giving it out would take as long as drawing its noise."""
        gradient = lax.optimization_barrier(self._noisy_mean(released))  # else XLA draws it anew for every use
        direction, state = self._optimizer.update(gradient, state)
        return moved(params, direction, learning_rate), state


def add_clipped(sums: Params, rows: Params, clipping_norm: Array, *, per_layer: bool) -> Params:
    """Clip gradients that lie along a leading axis, and add each of them to the sums."""
    return jax.tree.map(jnp.add, sums, clip_rows(rows, clipping_norm, per_layer=per_layer))


def filled_rows(weights: Weights) -> Weights:
    """Fill the leading axis up with zeros to a whole tile, so that few sizes are ever compiled."""
    rows = len(next(iter(weights.values())))
    return {name: filled_up(part, -(-rows // _ROWS) * _ROWS) for name, part in weights.items()}
