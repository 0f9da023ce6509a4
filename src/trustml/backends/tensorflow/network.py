"""An :class:`Architecture` as a functional Keras model that returns logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.data.dataset import Floats, Ints
from trustml.models.graph import value_name
from trustml.models.layers import (
    GELU,
    INPUT,
    Add,
    Architecture,
    AvgPool,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Multiply,
    Node,
    Padding,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from trustml.models.weights import Weights

Rows: TypeAlias = Callable[..., tf.Tensor]
"""From rows of values to rows of values."""
_ACTIVATIONS = {ReLU: "relu", GELU: "gelu", SiLU: "swish", Softplus: "softplus", Tanh: "tanh", Sigmoid: "sigmoid"}
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


@tf.keras.utils.register_keras_serializable("trustml")
class GlobalMean(tf.keras.layers.Layer):
    """Mean of each channel over all places."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, c)."""
        return tf.reduce_mean(inputs, axis=list(range(1, len(inputs.shape) - 1)))


def build_keras(
    model: Model, kind: Callable[[tf.Tensor, tf.Tensor], tf.keras.Model] = tf.keras.Model
) -> tf.keras.Model:
    """Build the functional model of a `kind`, its layers named by node, and load the weights."""
    inputs = tf.keras.Input(model.input_shape)
    values, outputs = {INPUT: inputs}, inputs
    for node in model.architecture.nodes:
        given = [values[name] for name in node.inputs]
        outputs = given if len(given) > 1 else given[0]
        for keras_layer in _layers(node.layer, layer_name(node.name)):
            outputs = keras_layer(outputs)
        values[node.name] = outputs
    built = kind(inputs, outputs)
    load_weights(built, model.weights)
    return built


def layer_name(node: str) -> str:
    """Name of the Keras layer that a node becomes; other layers' names begin with something else."""
    return f"layer{node}"


def walk_nodes(
    model: tf.keras.Model, nodes: Iterable[Node], values: dict[str, tf.Tensor], call: Callable[..., tf.Tensor]
) -> tf.Tensor:
    """Compute nodes of a built model from values that are known, into them; gives the last one.

    Parameters
    ----------
    model : tf.keras.Model
    nodes : iterable of Node
    values : dict of str to tf.Tensor
        By name of the node.
    call : callable
        From a Keras layer and what it takes to what it gives.
    """
    result = None
    for node in nodes:
        given = [values[name] for name in node.inputs]
        result = given if len(given) > 1 else given[0]
        padding = _padding_name(layer_name(node.name))
        for name in ([padding] if _has_padding(node.layer) else []) + [layer_name(node.name)]:
            result = call(model.get_layer(name), result)
        values[node.name] = result
    return result


def load_weights(model: tf.keras.Model, weights: Weights) -> None:
    """Copy canonical weights into the model."""
    for name, array in weights.items():
        variable(model, name).assign(array)


def variable(model: tf.keras.Model, name: str) -> tf.Variable:
    """Variable that holds the weight of canonical name `name`."""
    node, _, part = name.rpartition(".")
    layer = model.get_layer(layer_name(node))
    if part == "bias" and hasattr(layer, "beta"):
        return layer.beta
    return getattr(layer, _KERAS_NAMES[part])


def read_weights(model: tf.keras.Model, names: list[str]) -> Weights:
    """Copy the weights out; Keras's layout is the canonical one."""
    return {name: variable(model, name).numpy().copy() for name in names}


def split_model(model: tf.keras.Model, architecture: Architecture, bend: int) -> tuple[Rows, Rows]:
    """Give the nodes before number `bend`, a chain that nothing else takes from, and the others, as functions."""

    def part(nodes: Sequence[Node], entry: str) -> Rows:
        def walked(rows: tf.Tensor, training: bool = False) -> tf.Tensor:
            def call(layer: tf.keras.layers.Layer, given: tf.Tensor) -> tf.Tensor:
                return layer(given, training=training) if isinstance(layer, tf.keras.layers.Dropout) else layer(given)

            return walk_nodes(model, nodes, {entry: rows}, call) if nodes else rows

        return walked

    nodes = architecture.nodes
    return part(nodes[:bend], INPUT), part(nodes[bend:], value_name(architecture, bend - 1))


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
        case GlobalAvgPool():
            return [GlobalMean(name=name)]
        case LeakyReLU():
            return [keras.LeakyReLU(layer.slope, name=name)]
        case ReLU() | GELU() | SiLU() | Softplus() | Tanh() | Sigmoid():
            return [keras.Activation(_ACTIVATIONS[type(layer)], name=name)]
        case Add():
            return [keras.Add(name=name)]
        case Multiply():
            return [keras.Multiply(name=name)]
        case Concatenate():
            return [keras.Concatenate(name=name)]
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
    return [Pad(padding, value, name=_padding_name(name))] if np.any(padding) else []


def _padding_name(layer: str) -> str:
    return f"padding_{layer}"


def _has_padding(layer: Layer) -> bool:
    return bool(np.any(getattr(layer, "padding", 0)))
