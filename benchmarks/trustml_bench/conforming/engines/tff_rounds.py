"""TFF's federated averaging with its Gaussian aggregator of a fixed clipping norm, as its documentation drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from trustml.conformance.rounds import Client, FederatedFactory, RoundSettings
from trustml.data.dataset import Floats
from trustml_bench.conforming.federation import BATCH, CLASSES, CLIENT_RATE, FEATURES, examples


def make() -> FederatedFactory:
    """Give a factory. TFF's noise cannot be seeded, so every training has noise of its own."""
    return _Training


@cache
def _process(noise_multiplier: float, clipping_norm: float, expected: int) -> Any:
    keras = tf.keras
    model = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, use_bias=False, kernel_initializer="zeros")]
    )
    functional = tff.learning.models.functional_model_from_keras(
        model,
        loss_fn=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=(tf.TensorSpec((None, FEATURES), tf.float32), tf.TensorSpec((None,), tf.int64)),
    )
    return tff.learning.algorithms.build_unweighted_fed_avg(
        functional,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(CLIENT_RATE),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
        model_aggregator=tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
            noise_multiplier=noise_multiplier, clients_per_round=expected, clip=clipping_norm
        ),
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )


class _Training:
    def __init__(self, settings: RoundSettings, /) -> None:
        self._process = _process(settings.noise_multiplier, settings.clipping_norm, settings.expected_clients)
        self._state, self._norm = self._process.initialize(), settings.clipping_norm

    def round(self, clients: Sequence[Client], /) -> None:
        data = [tf.data.Dataset.from_tensor_slices(examples(client)).batch(BATCH) for client in clients]
        self._state = self._process.next(self._state, data).state

    def weights(self) -> Mapping[str, Floats]:
        return {"kernel": self._process.get_model_weights(self._state).trainable[0]}

    def clipping_norm(self) -> float:
        return self._norm
