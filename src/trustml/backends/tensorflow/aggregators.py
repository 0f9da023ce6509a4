"""How TFF's server puts the updates of clients together."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from trustml.backends.settings import UserPrivacy
from trustml.backends.tensorflow.noisy_queries import correlated_query, sum_query, tree_query
from trustml.scenario.federated import (
    Aggregation,
    BandedMatrix,
    BufferedToeplitz,
    IndependentNoise,
    TreeAggregation,
)

LARGEST_UPDATE = 1e15
"""An update with a larger element than this counts as zero: the norm of no other overflows in float32."""


def plain_aggregator(aggregation: Aggregation) -> tff.aggregators.WeightedAggregationFactory:
    """Build a weighted average by its name; all but the secure one also measure the updates.

    All but the mean first zero and clip by norms that adapt, from 10 and 1 on. TFF compresses only weights of
    more than 20,000 values, by quantising them to 8 bits.

    Parameters
    ----------
    aggregation : {"mean", "robust", "compressed", "secure"}

    Returns
    -------
    tff.aggregators.WeightedAggregationFactory
        Its measurements hold ``client_norm``, the mean L2 norm of the updates, and ``weighing``, the number
        of clients whose weight is not 0. Behind secure aggregation no server sees either.
    """
    match aggregation:
        case "mean":
            # Without any example the average is zero, not the quotient of two zeros.
            factory = tff.aggregators.MeanFactory(no_nan_division=True)
        case "robust":
            factory = tff.learning.robust_aggregator(zeroing=True, clipping=True)
        case "compressed":
            factory = tff.learning.compression_aggregator()
        case "secure":
            return tff.learning.secure_aggregator()
    return tff.aggregators.add_measurements(factory, client_measurement_fn=_measure)


def private_aggregator(
    privacy: UserPrivacy, specs: tuple[tf.TensorSpec, ...], *, noise_seed: tuple[int, int, int, int], rounds: int
) -> tff.aggregators.UnweightedAggregationFactory:
    """Build the clipped, noisy sum over the expected number of clients.

    TF Privacy's own noise ends at 5.68 standard deviations, and where it is independent it cannot be seeded; see
    :mod:`trustml.backends.tensorflow.noisy_queries`.

    Parameters
    ----------
    privacy : UserPrivacy
    specs : tuple of tf.TensorSpec
        Of an update.
    noise_seed : tuple of int
        Four 32-bit words.
    rounds : int
        Of the whole training.

    Returns
    -------
    tff.aggregators.UnweightedAggregationFactory
    """
    # A finite update can have an infinite norm, of which TF Privacy's clipping makes NaN, for the whole sum.
    factory = _private_factory(privacy, specs, noise_seed=noise_seed, rounds=rounds)
    return tff.aggregators.zeroing_factory(LARGEST_UPDATE, factory, norm_order=math.inf)


def _private_factory(
    privacy: UserPrivacy, specs: tuple[tf.TensorSpec, ...], *, noise_seed: tuple[int, int, int, int], rounds: int
) -> tff.aggregators.UnweightedAggregationFactory:
    match privacy.mechanism:
        case IndependentNoise():
            query = sum_query(privacy, seed=noise_seed)
        case TreeAggregation():
            query = tree_query(privacy, specs, seed=noise_seed)
        case BandedMatrix() | BufferedToeplitz():
            query = correlated_query(privacy, privacy.strategy(rounds=rounds), specs, seed=noise_seed)
    return tff.aggregators.DifferentiallyPrivateFactory(query)


def present_clipping_norm(state: tff.learning.templates.LearningAlgorithmState, privacy: UserPrivacy) -> float:
    """Read the clipping norm of the next round out of the state.

    Parameters
    ----------
    state : tff.learning.templates.LearningAlgorithmState
        Of a process with a private aggregator.
    privacy : UserPrivacy

    Returns
    -------
    float
    """
    if not isinstance(privacy.mechanism, IndependentNoise) or privacy.clip_learning_rate == 0:
        return privacy.clipping_norm
    # A sum of clipped updates is the numerator of TF Privacy's average.
    return float(state.aggregator["inner_agg"].query_state.inner.numerator_state.sum_state.l2_norm_clip)


@tff.tensorflow.computation
def _norm(update: object) -> tf.Tensor:
    return tf.linalg.global_norm(tf.nest.flatten(update))


@tff.tensorflow.computation(np.float32)
def _has_weight(weight: tf.Tensor) -> tf.Tensor:
    return tf.cast(weight > 0, tf.int32)


def _measure(update: tff.Value, weight: tff.Value) -> tff.Value:
    """Mean norm of the updates, each counted once (TFF's own debug measurements weigh them by examples)."""
    return tff.federated_zip(
        OrderedDict(
            client_norm=tff.federated_mean(tff.federated_map(_norm, update)),
            weighing=tff.federated_sum(tff.federated_map(_has_weight, weight)),
        )
    )
