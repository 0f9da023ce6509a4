"""Private training around TF Privacy's clip weights, on batches drawn by the core; noise is added once a step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.settings import Clipped, EngineChoice, PrivateSettings, filled_up
from trustml.backends.tensorflow.clipping import Clipper
from trustml.backends.tensorflow.losses import label_spec
from trustml.backends.tensorflow.modes import choose_mode
from trustml.backends.tensorflow.network import load_weights, read_weights
from trustml.backends.tensorflow.noise import NoiseAhead
from trustml.backends.tensorflow.optimizers import OptimizerSteps
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights

_ROWS_OF_A_KERNEL = 24
"""Eigen multiplies so many rows of a matrix at once, and adds up what is left over in another way."""


class TFPrivacyTrainer:
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, *, settings: PrivateSettings, dropout_seed: int) -> None:
        tf.keras.utils.set_random_seed(dropout_seed % 2**32)
        self._settings = settings
        self._choice = choose_mode(model, settings)
        self._clipper = Clipper(self._choice.name, model, settings)
        self._variables = self._clipper.variables
        self._optimizer = OptimizerSteps(settings.optimizer, self._variables)
        self._sums = {name: tf.Variable(tf.zeros_like(v)) for name, v in self._variables.items()}
        self._names = list(model.weights)
        size = sum(array.size for array in model.trained.values())
        self._noise = NoiseAhead(settings.noise_seed, size, settings.noise)
        self._gradient: dict[str, tf.Tensor] = {}
        self._rows = settings.block_rows(most=self._clipper.most_examples, multiple=_ROWS_OF_A_KERNEL)
        self._clip = self._compiled_clip(model, settings)
        self._update = self._compiled_update(settings)

    @property
    def choice(self) -> EngineChoice:
        """Way to clip that is in use."""
        return self._choice

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip one microbatch, block by block, and add it to the sum."""
        norm, found = np.float32(clipping_norm), []
        for start in range(0, len(labels), self._rows):
            block = inputs[start : start + self._rows], labels[start : start + self._rows]
            mask = filled_up(np.ones(len(block[1]), np.float32), self._rows)
            found.append(self._clip(*(filled_up(part, self._rows) for part in block), mask, norm))
        if not all(bool(finite) for _, finite, _ in found):
            return Clipped(finite=False, unclipped=0)
        for sums, _, _ in found:
            for total, part in zip(self._sums.values(), sums, strict=True):
                total.assign_add(part)
        return Clipped(finite=True, unclipped=sum(int(unclipped) for _, _, unclipped in found))

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Let TF Privacy clip gradients from elsewhere, and add them to the sum."""
        rows = [tf.constant(gradients[name]) for name in self._sums]
        sums = self._clipper.clip_rows(rows, tf.constant(clipping_norm, tf.float32))
        for total, part in zip(self._sums.values(), sums, strict=True):
            total.assign_add(part)

    def clipped_sum(self) -> Weights:
        """Sum so far, without noise."""
        return {name: total.numpy().copy() for name, total in self._sums.items()}

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Add noise, divide, and take the step."""
        deviation = np.float32(self._settings.deviation(noise_multiplier=noise_multiplier, clipping_norm=clipping_norm))
        *gradient, done = self._update(self._noise.take(), deviation, np.float32(learning_rate))
        self._gradient = dict(zip(self._variables, gradient, strict=True))
        done.numpy()  # wait for it

    def gradient(self) -> Weights:
        """Noisy mean gradient of the last update."""
        return {name: array.numpy() for name, array in self._gradient.items()}

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._clipper.model, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return self._optimizer.state()

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state; the noise goes on from its own, new seed."""
        load_weights(self._clipper.model, weights)
        self._optimizer.restore(state)

    @property
    def traces(self) -> int:
        """How often a step was traced, of which batches of other sizes are no reason."""
        return self._clip.experimental_get_tracing_count() + self._update.experimental_get_tracing_count()

    def _compiled_clip(self, model: Model, settings: PrivateSettings) -> tf.types.experimental.GenericFunction:
        @tf.function(
            input_signature=(
                tf.TensorSpec((self._rows, settings.multiplicity, *model.input_shape), tf.float32),
                label_spec(model, self._rows, rows_of_user=settings.multiplicity if settings.rows_of_users else None),
                tf.TensorSpec((self._rows,), tf.float32),
                tf.TensorSpec((), tf.float32),
            ),
            autograph=False,
        )
        def clip(
            inputs: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor, clipping_norm: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
            sums, unclipped = self._clipper.clip(inputs, labels, mask, clipping_norm)
            finite = tf.reduce_all([tf.math.is_finite(tf.reduce_sum(part)) for part in sums])
            return sums, finite, unclipped

        return clip

    def _compiled_update(self, settings: PrivateSettings) -> tf.types.experimental.GenericFunction:
        sizes = [total.shape.num_elements() for total in self._sums.values()]
        number = tf.TensorSpec((), tf.float32)

        @tf.function(input_signature=(tf.TensorSpec((sum(sizes),), tf.float32), number, number), autograph=False)
        def update(noise: tf.Tensor, deviation: tf.Tensor, learning_rate: tf.Tensor) -> list[tf.Tensor]:
            gradient = {
                name: (total + deviation * tf.reshape(part, total.shape)) / settings.expected_batch_size
                for (name, total), part in zip(self._sums.items(), tf.split(noise, sizes), strict=True)
            }
            self._optimizer.apply(gradient, learning_rate)
            for total in self._sums.values():
                total.assign(tf.zeros_like(total))
            return [*gradient.values(), learning_rate]

        return update
