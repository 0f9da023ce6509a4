"""Plain training by Keras: its model, its loss, its optimizer, in one compiled step."""

from __future__ import annotations

import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.tensorflow.network import build_keras, read_weights
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.scenario.regimes import SGD


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, optimizer: SGD, dropout_seed: int) -> None:
        tf.keras.utils.set_random_seed(dropout_seed % 2**32)
        self._names = list(model.weights)
        self._model = keras_model = build_keras(model)
        sgd = tf.keras.optimizers.SGD(optimizer.learning_rate, momentum=optimizer.momentum)
        sgd.build(keras_model.trainable_variables)
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        @tf.function(
            input_signature=(
                tf.TensorSpec((None, *model.input_shape), tf.float32),
                tf.TensorSpec((None,), tf.int64),
            )
        )
        def step(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = loss(labels, keras_model(inputs, training=True))
            variables = keras_model.trainable_variables
            sgd.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
            return sgd.iterations

        self._step = step

    def step(self, inputs: Floats, labels: Ints) -> None:
        """Take one step on the mean cross-entropy of the batch, and wait for it."""
        self._step(tf.constant(inputs), tf.constant(labels)).numpy()

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._model, self._names)
