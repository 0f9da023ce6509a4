"""An :class:`Architecture` as a functional Keras model that returns logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import (
    GELU,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    Padding,
    ReLU,
    Tanh,
)
from trustml.models.weights import Weights

Rows: TypeAlias = Callable[..., tf.Tensor]
"""From rows of values to rows of values."""
_KERAS_NAMES = {"kernel": "kernel", "bias": "bias", "scale": "gamma"}


@tf.keras.utils.register_keras_serializable("trustml")
class Pad(tf.keras.layers.Layer):
    """Pad rows and columns by explicit counts with one value."""

    def __init__(self, padding: Padding, value: float, name: str | None = None) -> None:
        super().__init__(name=name)
        self.padding, self.value = padding, value

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pad one batch of images."""
        # Not tf.pad's own constant_values: under tf.vectorized_map TensorFlow 2.14 forgets them and pads with 0.
        widths = [[0, 0], *map(list, self.padding), [0, 0]]
        padded = tf.pad(inputs, widths)
        inside = np.pad(np.ones((1, *inputs.shape[1:3], 1), bool), widths)
        return padded if self.value == 0 else tf.where(inside, padded, self.value)

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"padding": self.padding, "value": self.value, "name": self.name}


def build_keras(
    model: Model, kind: Callable[[tf.Tensor, tf.Tensor], tf.keras.Model] = tf.keras.Model
) -> tf.keras.Model:
    """Build the functional model of a `kind`, its layers named by index, and load the weights."""
    inputs = tf.keras.Input(model.input_shape)
    values = inputs
    for index, layer in enumerate(model.architecture.layers):
        for keras_layer in _layers(layer, f"layer{index}"):
            values = keras_layer(values)
    built = kind(inputs, values)
    load_weights(built, model.weights)
    return built


def load_weights(model: tf.keras.Model, weights: Weights) -> None:
    """Copy canonical weights into the model."""
    for name, array in weights.items():
        variable(model, name).assign(array)


def variable(model: tf.keras.Model, name: str) -> tf.Variable:
    """Variable that holds the weight of canonical name `name`."""
    index, part = name.split(".")
    layer = model.get_layer(f"layer{index}")
    if part == "bias" and hasattr(layer, "beta"):
        return layer.beta
    return getattr(layer, _KERAS_NAMES[part])


def read_weights(model: tf.keras.Model, names: list[str]) -> Weights:
    """Copy the weights out; Keras's layout is the canonical one."""
    return {name: variable(model, name).numpy().copy() for name in names}


def split_model(model: tf.keras.Model, index: int) -> tuple[Rows, Rows]:
    """Give the layers of a built model before canonical layer `index`, and those from there on, as functions."""
    layers = model.layers[1:]  # without the input
    names = [layer.name for layer in layers]
    middle = names.index(f"layer{index - 1}") + 1 if index else 0  # padding comes before the layer with the name

    def walk(chosen: list[tf.keras.layers.Layer]) -> Rows:
        def walked(rows: tf.Tensor, training: bool = False) -> tf.Tensor:
            for layer in chosen:
                rows = layer(rows, training=training) if isinstance(layer, tf.keras.layers.Dropout) else layer(rows)
            return rows

        return walked

    return walk(layers[:middle]), walk(layers[middle:])


class KerasNetwork:
    """See :class:`trustml.backends.contract.Network`."""

    def __init__(self, model: Model) -> None:
        self._model = build_keras(model)

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return self._model(tf.constant(inputs), training=False).numpy()

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        tensor = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            chosen = tf.reduce_sum(tf.gather(self._model(tensor, training=False), targets, axis=1, batch_dims=1))
        return np.asarray(tape.gradient(chosen, tensor))


def _layers(layer: Layer, name: str) -> list[tf.keras.layers.Layer]:
    """Give the Keras layers of one layer; the one with the weights carries the name."""
    keras = tf.keras.layers
    match layer:
        case Dense():
            return [keras.Dense(layer.units, use_bias=layer.bias, name=name)]
        case Conv2D():
            convolution = keras.Conv2D(
                layer.filters, layer.kernel, strides=layer.stride, use_bias=layer.bias, name=name
            )
            return [*_padding(layer.padding, 0.0, name), convolution]
        case MaxPool():
            pool = keras.MaxPooling2D(layer.size, strides=layer.stride, name=name)
            return [*_padding(layer.padding, -np.inf, name), pool]
        case AvgPool():
            pool = keras.AveragePooling2D(layer.size, strides=layer.stride, name=name)
            return [*_padding(layer.padding, 0.0, name), pool]
        case ReLU():
            return [keras.Activation("relu", name=name)]
        case GELU():
            return [keras.Activation("gelu", name=name)]
        case Tanh():
            return [keras.Activation("tanh", name=name)]
        case Flatten():
            return [keras.Flatten(name=name)]
        case GroupNorm():
            return [keras.GroupNormalization(layer.groups, epsilon=layer.epsilon, name=name)]
        case LayerNorm():
            return [keras.LayerNormalization(epsilon=layer.epsilon, name=name)]
        case Dropout():
            return [keras.Dropout(layer.rate, name=name)]
        case BatchNorm():
            raise NotImplementedError("BatchNorm mixes the examples of a batch")


def _padding(padding: Padding, value: float, name: str) -> list[tf.keras.layers.Layer]:
    return [Pad(padding, value, name=f"{name}_padding")] if np.any(padding) else []
