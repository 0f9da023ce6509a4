"""TF Privacy's queries with noise that has both tails and a seed of 128 bits.

TF Privacy 0.9 draws by ``tf.random_normal_initializer`` or ``tf.random.stateless_normal``, which end at 5.68 standard
deviations; and the former without a seed, so that TensorFlow's worker process seeds it once, with 32 bits. Clipping,
sums, trees and the adaptive norm are TF Privacy's own.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import dp_accounting
import numpy as np
import tensorflow as tf
import tensorflow_privacy as tfp
from tensorflow_privacy.privacy.dp_query.tree_aggregation import GaussianNoiseGenerator

from trustml.backends.settings import UserPrivacy
from trustml.backends.tensorflow.noise import stateless_normals
from trustml.privacy.noise_strategy import NoiseStrategy

Seed = tuple[int, int, int, int]


def sum_query(privacy: UserPrivacy, *, seed: Seed) -> tfp.SumAggregationDPQuery:
    """Clip each update, sum, add independent noise, and divide by the declared number of clients."""
    stream = _Stream()
    norm, clients = float(privacy.clipping_norm), float(privacy.expected_clients)
    query: Any
    if privacy.clip_learning_rate > 0:
        query = tfp.QuantileAdaptiveClipSumQuery(
            initial_l2_norm_clip=norm,
            noise_multiplier=float(privacy.drawn_noise_multiplier),
            target_unclipped_quantile=float(privacy.quantile),
            learning_rate=float(privacy.clip_learning_rate),
            clipped_count_stddev=float(privacy.count_noise),
            expected_num_records=clients,
            geometric_update=True,
        )
        query._sum_query = _NoisySum(stream, norm, norm * float(privacy.drawn_noise_multiplier))
        query._quantile_estimator_query._below_estimate_query = tfp.NormalizedQuery(
            _NoisySum(stream, 0.5, float(privacy.count_noise)), denominator=clients
        )
    else:
        query = _NoisySum(stream, norm, norm * float(privacy.drawn_noise_multiplier))
    return _Seeded(tfp.NormalizedQuery(query, denominator=clients), stream, seed)


def tree_query(privacy: UserPrivacy, specs: tuple[tf.TensorSpec, ...], *, seed: Seed) -> tfp.SumAggregationDPQuery:
    """Do the same with the noise of a tree."""
    norm = float(privacy.clipping_norm)
    query = tfp.TreeResidualSumQuery(
        clip_fn=lambda record, clip: tf.clip_by_global_norm(record, clip)[0],
        clip_value=norm,
        record_specs=specs,
        noise_generator=_TreeNoise(norm * float(privacy.drawn_noise_multiplier), specs, seed=_signed(seed)),
        use_efficient=True,
    )
    return tfp.NormalizedQuery(query, denominator=float(privacy.expected_clients))


def correlated_query(
    privacy: UserPrivacy, strategy: NoiseStrategy, specs: tuple[tf.TensorSpec, ...], *, seed: Seed
) -> tfp.SumAggregationDPQuery:
    """Do the same with the noise of a strategy, where TF Privacy has no query of that kind."""
    norm = float(privacy.clipping_norm)
    stddev = norm * float(privacy.drawn_noise_multiplier)
    query = _Correlated(tfp.GaussianSumQuery(norm, stddev), strategy, specs, seed)
    return tfp.NormalizedQuery(query, denominator=float(privacy.expected_clients))


class _Stream:
    """Seeds of the draws of one round, while its graph is built."""

    def __init__(self) -> None:
        self.seed: tf.Tensor | None = None

    def take(self) -> tf.Tensor:
        assert self.seed is not None
        taken = self.seed
        self.seed = taken + tf.constant([0, 1], tf.int64)
        return taken


class _NoisySum(tfp.GaussianSumQuery):
    """TF Privacy's sum of clipped records, with noise of ours."""

    def __init__(self, stream: _Stream, l2_norm_clip: float, stddev: float) -> None:
        super().__init__(l2_norm_clip, stddev)
        self._stream = stream

    def get_noised_result(self, sample_state: Any, global_state: Any) -> tuple[Any, Any, Any]:
        flat = tf.nest.flatten(sample_state)
        drawn = stateless_normals([part.shape for part in flat], self._stream.take())
        noisy = [part + global_state.stddev * extra for part, extra in zip(flat, drawn, strict=True)]
        event = dp_accounting.GaussianDpEvent(global_state.stddev / global_state.l2_norm_clip)
        return tf.nest.pack_sequence_as(sample_state, noisy), global_state, event


SeededState = namedtuple("SeededState", ["inner", "seed"])


class _Seeded(tfp.SumAggregationDPQuery):
    """Another query, with the seed of its next round in its state."""

    def __init__(self, inner: Any, stream: _Stream, seed: Seed) -> None:
        self._inner, self._stream, self._seed = inner, stream, _signed(seed)

    def initial_global_state(self) -> SeededState:
        return SeededState(self._inner.initial_global_state(), tf.constant(self._seed, tf.int64))

    def derive_sample_params(self, global_state: SeededState) -> Any:
        return self._inner.derive_sample_params(global_state.inner)

    def initial_sample_state(self, template: Any) -> Any:
        return self._inner.initial_sample_state(template)

    def preprocess_record(self, params: Any, record: Any) -> Any:
        return self._inner.preprocess_record(params, record)

    def get_noised_result(self, sample_state: Any, global_state: SeededState) -> tuple[Any, SeededState, Any]:
        self._stream.seed = global_state.seed
        result, inner, event = self._inner.get_noised_result(sample_state, global_state.inner)
        return result, SeededState(inner, self._stream.take()), event

    def derive_metrics(self, global_state: SeededState) -> Any:
        return self._inner.derive_metrics(global_state.inner)


CorrelatedState = namedtuple("CorrelatedState", ["inner", "seed", "step", "kept"])


class _Correlated(tfp.SumAggregationDPQuery):
    """TF Privacy's sum of clipped records; its state has what is kept of vectors drawn before.

    The tables of all rounds are constants of the graph. A round beyond them has none, and fails.
    """

    def __init__(
        self, inner: tfp.GaussianSumQuery, strategy: NoiseStrategy, specs: tuple[tf.TensorSpec, ...], seed: Seed
    ) -> None:
        tables = [strategy.table(step) for step in range(strategy.steps)]
        self._inner, self._kept, self._seed = inner, strategy.kept, _signed(seed)
        self._shapes = [spec.shape for spec in tf.nest.flatten(specs)]
        self._weights = np.stack([table.weights for table in tables]).astype(np.float32)
        self._slots = np.array([table.slots for table in tables], np.int32)

    def initial_global_state(self) -> CorrelatedState:
        return CorrelatedState(
            inner=self._inner.initial_global_state(),
            seed=tf.constant(self._seed, tf.int64),
            step=tf.constant(0, tf.int32),
            kept=tuple(tf.zeros([self._kept, *shape]) for shape in self._shapes),
        )

    def derive_sample_params(self, global_state: CorrelatedState) -> Any:
        return self._inner.derive_sample_params(global_state.inner)

    def initial_sample_state(self, template: Any) -> Any:
        return self._inner.initial_sample_state(template)

    def preprocess_record(self, params: Any, record: Any) -> Any:
        return self._inner.preprocess_record(params, record)

    def get_noised_result(self, sample_state: Any, global_state: CorrelatedState) -> tuple[Any, CorrelatedState, Any]:
        inner, flat = global_state.inner, tf.nest.flatten(sample_state)
        fresh = stateless_normals([part.shape for part in flat], global_state.seed)
        weights = tf.gather(tf.constant(self._weights), global_state.step)
        slots = tf.gather(tf.constant(self._slots), global_state.step)
        noisy, kept = [], []
        for part, one, before in zip(flat, fresh, global_state.kept, strict=True):
            made = tf.reshape(weights[:, 0], [-1, *[1] * one.shape.rank]) * one
            if self._kept:
                made += tf.tensordot(weights[:, 1:], before, 1)
            noisy.append(part + inner.stddev * made[0])
            kept.append(tf.tensor_scatter_nd_update(before, slots[:, None], made[1:]) if self._kept else before)
        state = CorrelatedState(
            inner=inner,
            seed=global_state.seed + tf.constant([0, 1], tf.int64),
            step=global_state.step + 1,
            kept=tuple(kept),
        )
        event = dp_accounting.NonPrivateDpEvent()  # the ledger charges for all rounds together
        return tf.nest.pack_sequence_as(sample_state, noisy), state, event


class _TreeNoise(GaussianNoiseGenerator):
    """TF Privacy's generator for the nodes of a tree, with noise of ours."""

    def next(self, state: Any) -> tuple[Any, Any]:
        flat = tf.nest.flatten(self._specs)
        drawn = stateless_normals([spec.shape for spec in flat], state.seeds)
        noise = tf.nest.pack_sequence_as(self._specs, [state.stddev * part for part in drawn])
        return noise, self._GlobalState(state.seeds + tf.constant([0, 1], tf.int64), state.stddev)


def _signed(words: Seed) -> list[int]:
    """Make the two signed 64-bit integers that TensorFlow takes as a seed."""
    return [int(word) for word in np.array(words, np.uint32).view(np.int64)]
