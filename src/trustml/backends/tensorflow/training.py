"""Plain training by Keras: its model and its loss, in one compiled step."""

from __future__ import annotations

import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.tensorflow.losses import keras_loss, label_spec
from trustml.backends.tensorflow.network import build_keras, load_weights, read_weights, trained_variables
from trustml.backends.tensorflow.optimizers import OptimizerSteps
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights
from trustml.scenario.optimizers import Optimizer


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, optimizer: Optimizer, dropout_seed: int) -> None:
        tf.keras.utils.set_random_seed(dropout_seed % 2**32)
        self._model = keras_model = build_keras(model)
        variables = trained_variables(keras_model, model)
        self._names = list(model.weights)
        self._optimizer = steps = OptimizerSteps(optimizer, variables)
        loss = keras_loss(model.task)

        @tf.function(
            input_signature=(
                tf.TensorSpec((None, *model.input_shape), tf.float32),
                label_spec(model, None),
                tf.TensorSpec((), tf.float32),
            ),
            autograph=False,
        )
        def step(inputs: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = loss(labels, keras_model(inputs, training=True))
            steps.apply(tape.gradient(value, variables), learning_rate)
            return learning_rate

        self._step = step

    def step(self, inputs: Floats, labels: LabelArray, *, learning_rate: float) -> None:
        """Take one step on the mean loss of the batch, and wait for it."""
        self._step(tf.constant(inputs), tf.constant(labels), tf.constant(learning_rate, tf.float32)).numpy()

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._model, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return self._optimizer.state()

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state."""
        load_weights(self._model, weights)
        self._optimizer.restore(state)
