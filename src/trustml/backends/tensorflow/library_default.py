"""TF Privacy as its documentation drives it: its model or its optimizer, and Keras's ``fit``."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasAdamOptimizer, DPKerasSGDOptimizer

from trustml.backends.contract import Model
from trustml.backends.settings import StockSettings
from trustml.backends.tensorflow.losses import keras_loss
from trustml.backends.tensorflow.network import build_keras, read_weights
from trustml.data.dataset import Examples
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD, Optimizer


def stock_trainer(model: Model, *, settings: StockSettings, examples: Examples) -> FitTrainer:
    """Compile the model of TF Privacy with Keras's optimizer, or Keras's model with the one of TF Privacy."""
    tf.keras.utils.set_random_seed(settings.seed % 2**32)
    if settings.keras_optimizer:
        keras_model = build_keras(model)
        loss = keras_loss(model.task, tf.keras.losses.Reduction.NONE)
        keras_model.compile(optimizer=_private_optimizer(settings), loss=loss)
    else:
        keras_model = build_keras(
            model,
            lambda inputs, outputs: DPModel(
                l2_norm_clip=settings.clipping_norm,
                noise_multiplier=settings.noise_multiplier,
                inputs=inputs,
                outputs=outputs,
            ),
        )
        loss = keras_loss(model.task)
        keras_model.compile(optimizer=_optimizer(settings.optimizer), loss=loss)
    return FitTrainer(keras_model, list(model.weights), examples, batch_size=settings.batch_size)


class FitTrainer:
    """See :class:`trustml.backends.contract.StockTrainer`.

    Keras shuffles the examples each epoch, and the last batch of an epoch may be smaller. TF Privacy divides
    by the size of the batch at hand.
    """

    def __init__(self, model: tf.keras.Model, names: list[str], examples: Examples, *, batch_size: int) -> None:
        self._model, self._names, self._examples, self._batch_size = model, names, examples, batch_size

    def epoch(self) -> list[int]:
        """Fit one epoch."""
        self._model.fit(self._examples.inputs, self._examples.labels, batch_size=self._batch_size, epochs=1, verbose=0)
        count = len(self._examples)
        full, rest = divmod(count, self._batch_size)
        return [self._batch_size] * full + [rest] * math.ceil(rest / max(1, count))

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return {name: np.asarray(array) for name, array in read_weights(self._model, self._names).items()}


def _optimizer(optimizer: Optimizer) -> tf.keras.optimizers.Optimizer:
    if isinstance(optimizer, SGD):
        return tf.keras.optimizers.SGD(optimizer.learning_rate, momentum=optimizer.momentum)
    return tf.keras.optimizers.Adam(optimizer.learning_rate, beta_1=optimizer.beta1, beta_2=optimizer.beta2)


def _private_optimizer(settings: StockSettings) -> tf.keras.optimizers.legacy.Optimizer:
    optimizer = settings.optimizer
    common = {"l2_norm_clip": settings.clipping_norm, "noise_multiplier": settings.noise_multiplier}
    if isinstance(optimizer, SGD):
        return DPKerasSGDOptimizer(**common, learning_rate=optimizer.learning_rate, momentum=optimizer.momentum)
    return DPKerasAdamOptimizer(**common, learning_rate=optimizer.learning_rate)
