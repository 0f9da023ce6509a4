"""Our networks in Keras as its users write them: activations in their layers, ``padding="same"`` where that is it."""

from __future__ import annotations

import tensorflow as tf

from trustml.backends.contract import Model
from trustml.models.layers import Conv2D, Dense, Flatten, MaxPool, ReLU
from trustml.models.shapes import layer_shapes
from trustml.models.weights import Weights


def layers(model: Model) -> list[tf.keras.layers.Layer]:
    """Keras layers for ``Sequential``, the input first; layers with weights are named by their index.

    Raises
    ------
    NotImplementedError
        If a layer is not one of the benchmark's networks.
    """
    keras = tf.keras.layers
    made = [tf.keras.Input(model.input_shape)]
    shapes = layer_shapes(model.architecture, model.input_shape)
    given = model.architecture.layers
    for index, (layer, shape) in enumerate(zip(given, shapes, strict=False)):
        follows = index + 1 < len(given) and isinstance(given[index + 1], ReLU)
        activation, name = "relu" if follows else None, f"layer{index}"
        match layer:
            case Dense():
                made.append(keras.Dense(layer.units, activation, name=name))
            case Conv2D():
                padding = _padding(layer, shape)
                made.append(
                    keras.Conv2D(layer.filters, layer.kernel, layer.stride, padding, activation=activation, name=name)
                )
            case MaxPool(padding=((0, 0), (0, 0))):
                made.append(keras.MaxPooling2D(layer.size, layer.stride))
            case Flatten():
                made.append(keras.Flatten())
            case ReLU():
                pass
            case _:
                raise NotImplementedError(f"{layer}: no layer of the benchmark's networks")
    return made


def build(model: Model) -> tf.keras.Model:
    """Build a ``Sequential`` that gives logits, with the model's weights."""
    return load(tf.keras.Sequential(layers(model)), model)


def load(built: tf.keras.Model, model: Model) -> tf.keras.Model:
    """Copy the model's weights into what was built of its :func:`layers`."""
    for name, array in model.weights.items():
        _variable(built, name).assign(array)
    return built


def canonical(built: tf.keras.Model, model: Model) -> Weights:
    """Read the weights, canonical."""
    return {name: _variable(built, name).numpy() for name in model.weights}


def _variable(built: tf.keras.Model, name: str) -> tf.Variable:
    index, part = name.split(".")
    return getattr(built.get_layer(f"layer{index}"), part)


def _padding(layer: Conv2D, shape: tuple[int, ...]) -> str:
    """Tell Keras's name for a padding.

    "same" fills up by what the last window lacks, half of it in front, and one more behind where it is odd.
    """
    if layer.padding == ((0, 0), (0, 0)):
        return "valid"
    for sides, length, kernel, stride in zip(layer.padding, shape[:2], layer.kernel, layer.stride, strict=True):
        lacking = max(0, (-(-length // stride) - 1) * stride + kernel - length)
        if sides != (lacking // 2, lacking - lacking // 2):
            raise NotImplementedError(f"{layer}: Keras has no name for this padding")
    return "same"
