"""Somebody's Keras model, asked for outputs and input gradients and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints


class KerasLiveModel:
    """See :class:`trustml.backends.contract.LiveModel`; the model is always called with ``training=False``.

    Parameters
    ----------
    model : keras.Model
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return what the model returns."""
        return np.asarray(_tensor_of(self._model(_tensor(inputs), training=False)), np.float32)

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of each example's column, (n, *x)."""
        tensor = _tensor(inputs)
        if not tensor.dtype.is_floating:
            raise TypeError("its inputs are integers, which have no gradient")
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            outputs = _tensor_of(self._model(tensor, training=False))
            flat = tf.reshape(outputs, (len(inputs), -1))
            chosen = tf.reduce_sum(tf.gather(flat, np.asarray(columns, np.int64), axis=1, batch_dims=1))
        gradient = tape.gradient(chosen, tensor)
        if gradient is None:
            raise TypeError("its outputs have no gradient with respect to its inputs")
        return np.asarray(gradient, np.float32)

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Shuffle the trained weights in place, because a copy of a subclassed model cannot be had; then restore."""
        generator = np.random.default_rng(seed)
        variables = list(self._model.trainable_weights)
        before = [np.array(variable) for variable in variables]
        try:
            for variable, values in zip(variables, before, strict=True):
                variable.assign(values.ravel()[generator.permutation(values.size)].reshape(values.shape))
            yield self
        finally:
            for variable, values in zip(variables, before, strict=True):
                variable.assign(values)

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int
    ) -> dict[str, Floats]:
        """None: the libraries that trustml knows for TensorFlow use other rules of quadrature."""
        return {}


def live_model(model: Any) -> LiveModel:
    """Wrap a Keras model."""
    return KerasLiveModel(model)


def load_keras(path: Path) -> Any:
    """Load a ``.keras`` file without its optimizer; code stored in the file is refused."""
    return tf.keras.models.load_model(path, compile=False, safe_mode=True)


def _tensor(inputs: npt.NDArray[Any]) -> tf.Tensor:
    values = np.asarray(inputs)
    return tf.constant(values.astype(np.float32) if values.dtype == np.float64 else values)


def _tensor_of(found: Any) -> tf.Tensor:
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    elif isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict | list | tuple):
        raise TypeError(f"the model has {len(found)} outputs; audit a model of one output")
    return found
