"""Federated averaging by TFF's own algorithm, on clients and batches drawn by the core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from trustml.backends.contract import Model
from trustml.backends.tensorflow.network import build_keras, variable
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.scenario.regimes import FedAvg


class TFFFederation:
    """See :class:`trustml.backends.contract.Federation`.

    TFF weighs clients by the examples they went through, as the other backends do.
    """

    def __init__(self, model: Model, *, regime: FedAvg) -> None:
        self._batch_size = regime.batch_size
        keras_model = build_keras(model)
        trainable = keras_model.trainable_variables
        self._order = [self._canonical(keras_model, model.weights, variable_) for variable_ in trainable]
        functional = tff.learning.models.functional_model_from_keras(
            keras_model,
            loss_fn=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            input_spec=(
                tf.TensorSpec((None, *model.input_shape), tf.float32),
                tf.TensorSpec((None,), tf.int64),
            ),
        )
        client = regime.client_optimizer
        self._process = tff.learning.algorithms.build_weighted_fed_avg(
            functional,
            client_optimizer_fn=tff.learning.optimizers.build_sgdm(client.learning_rate, client.momentum or None),
            server_optimizer_fn=tff.learning.optimizers.build_sgdm(regime.server_learning_rate),
            client_weighting=tff.learning.ClientWeighting.NUM_EXAMPLES,
            loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
        )
        start = tff.learning.models.ModelWeights(
            trainable=tuple(model.weights[name] for name in self._order), non_trainable=()
        )
        self._state = self._process.set_model_weights(self._process.initialize(), start)

    def round(self, clients: Sequence[Sequence[tuple[Floats, Ints]]]) -> None:
        """Train all clients and average by examples."""
        self._state = self._process.next(self._state, [self._dataset(batches) for batches in clients]).state

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        present = self._process.get_model_weights(self._state).trainable
        found = {name: np.array(array, np.float32) for name, array in zip(self._order, present, strict=True)}
        return {name: found[name] for name in sorted(found, key=lambda name: int(name.split(".")[0]))}

    def _dataset(self, batches: Sequence[tuple[Floats, Ints]]) -> tf.data.Dataset:
        """Build the given batches, in their order, from as few pieces as possible.

        TFF sends a data set to its worker as a graph, so it must be made of tensors, not of a generator.
        """
        joined: tf.data.Dataset | None = None
        piece: list[tuple[Floats, Ints]] = []
        for number, batch in enumerate(batches):
            piece.append(batch)
            if len(batch[1]) == self._batch_size and number + 1 < len(batches):
                continue
            inputs, labels = (np.concatenate(part) for part in zip(*piece, strict=True))
            batched = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(self._batch_size)
            joined = batched if joined is None else joined.concatenate(batched)
            piece = []
        return joined

    @staticmethod
    def _canonical(keras_model: tf.keras.Model, weights: Weights, wanted: tf.Variable) -> str:
        return next(name for name in weights if variable(keras_model, name) is wanted)
