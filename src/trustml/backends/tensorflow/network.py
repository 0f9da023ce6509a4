"""An :class:`Architecture` as a functional Keras model that returns logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from trustml.attribution.passes import MOST_ROWS, rows_of_pass
from trustml.backends.contract import Model
from trustml.backends.tensorflow.native import own_model, own_variables
from trustml.backends.tensorflow.own_layers import GlobalMean, LossOfEach, Pad, RMSNormalization, WindowConvolution
from trustml.backends.tensorflow.recurrent import GatedRecurrence
from trustml.backends.tensorflow.resizing import AdaptiveMean, GlobalMax, Scaled, TransposedConvolution
from trustml.backends.tensorflow.tokens import keras_token_layer
from trustml.data.dataset import Floats, Ints
from trustml.models.graph import value_name
from trustml.models.layers import (
    GELU,
    GRU,
    INPUT,
    LSTM,
    NO_DILATION,
    AdaptiveAvgPool,
    Add,
    Architecture,
    AvgPool,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Multiply,
    NativeModule,
    Node,
    Padding,
    ReLU,
    RMSNorm,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Transpose,
)
from trustml.models.native import native_of
from trustml.models.outcome import Outcome
from trustml.models.shapes import node_of
from trustml.models.token_layers import (
    Unembedding,
)
from trustml.models.weights import Weights

Rows: TypeAlias = Callable[..., tf.Tensor]
"""From rows of values to rows of values."""
Gradients: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From inputs and targets to gradients."""
_ACTIVATIONS = {ReLU: "relu", GELU: "gelu", SiLU: "swish", Softplus: "softplus", Tanh: "tanh", Sigmoid: "sigmoid"}
_KERAS_NAMES = {
    "kernel": "kernel",
    "recurrent_kernel": "recurrent_kernel",
    "bias": "bias",
    "recurrent_bias": "recurrent_bias",
    "scale": "gamma",
}


def build_keras(
    model: Model, kind: Callable[[tf.Tensor, tf.Tensor], tf.keras.Model] = tf.keras.Model
) -> tf.keras.Model:
    """Build the functional model of a `kind`, its layers named by node, and load the weights."""
    inputs = tf.keras.Input(model.input_shape)
    values, outputs = {INPUT: inputs}, inputs
    built_layers: dict[str, tf.keras.layers.Layer] = {}
    for node in model.architecture.nodes:
        given = [values[name] for name in node.inputs]
        outputs = given if len(given) > 1 else given[0]
        for keras_layer in _layers(node.layer, layer_name(node.name)):
            if isinstance(node.layer, Unembedding):
                keras_layer.tie(built_layers[node.layer.of])
            outputs = keras_layer(outputs)
        built_layers[node.name] = keras_layer
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
    first = model.layers[1] if len(model.layers) > 1 else None
    if isinstance(first, tf.keras.Model):  # somebody's own, which keeps its own names
        return own_variables(first)[name]
    node, _, part = name.rpartition(".")
    layer = model.get_layer(layer_name(node))
    if part == "bias" and hasattr(layer, "beta"):
        return layer.beta
    return getattr(layer, _KERAS_NAMES.get(part, part))


def trained_variables(built: tf.keras.Model, model: Model) -> dict[str, tf.Variable]:
    """Variables that are trained, by canonical name; layers of which none is are told so."""
    found = {name: variable(built, name) for name in model.trained}
    if native_of(model.architecture) is not None:  # a layer of theirs may be neither whole nor one of the model's
        return found
    moving = {node_of(name) for name in found}
    for node in {node_of(name) for name in model.frozen} - moving:
        built.get_layer(layer_name(node)).trainable = False
    return found


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


_CALLS_BEFORE_TRACING = 12
"""Of a ResNet-20 on few rows, ten calls layer by layer take as long as to trace its graph, which is then 30 times as
fast. A network that predicts ten thousand examples once, in ten calls, such as one of each epoch, is not traced."""


class KerasNetwork:
    """See :class:`trustml.backends.contract.Network`."""

    def __init__(self, model: Model) -> None:
        self._model = build_keras(model)
        self._forward: Callable[[tf.Tensor], tf.Tensor] = self._call
        self._asked = 0
        self._gradients: Gradients = lambda inputs, targets: target_gradients(self._call, inputs, targets)
        self._own = own = native_of(model.architecture) is not None
        if not own and rows_of_pass(model.architecture, model.input_shape) < MOST_ROWS:  # tracing takes seconds
            shape = tf.TensorSpec((None, *model.input_shape), tf.float32)
            self._gradients = tf.function(
                self._gradients, input_signature=(shape, tf.TensorSpec((None,), tf.int64)), autograph=False
            )

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        self._asked += 1
        if self._asked == _CALLS_BEFORE_TRACING and not self._own:
            spec = tf.TensorSpec(self._model.input_shape, tf.float32)
            self._forward = tf.function(self._call, input_signature=(spec,), autograph=False)
        return self._forward(tf.constant(inputs, tf.float32)).numpy()

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        return self._gradients(tf.constant(inputs, tf.float32), tf.constant(targets, tf.int64)).numpy()

    def _call(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._model(tensor, training=False)


def target_gradients(call: Callable[[tf.Tensor], tf.Tensor], tensor: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Gradient of each example's target logit with respect to that example's input.

    Called as it is, TensorFlow keeps all that a pass makes: four times what a graph of the same does, through a
    ResNet-18.
    """
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        chosen = tf.reduce_sum(tf.gather(call(tensor), targets, axis=1, batch_dims=1))
    # of token ids there is none: what is looked up does not change between them
    return tf.convert_to_tensor(tape.gradient(chosen, tensor, unconnected_gradients=tf.UnconnectedGradients.ZERO))


def _layers(layer: Layer, name: str) -> list[tf.keras.layers.Layer]:
    """Give the Keras layers of one layer; the one with the weights carries the name."""
    keras = tf.keras.layers
    match layer:
        case Dense():
            return [keras.Dense(layer.units, use_bias=layer.bias, name=name)]
        case Conv2D():
            return [*_padding(layer.padding, 0.0, name), _convolution(layer, name)]
        case Conv1D():
            convolution = WindowConvolution(
                layer.filters,
                kernel=(layer.kernel,),
                strides=(layer.stride,),
                dilation=(layer.dilation,),
                groups=layer.groups,
                use_bias=layer.bias,
                name=name,
            )
            padding = keras.ZeroPadding1D(layer.padding, name=_padding_name(name))
            return [padding, convolution] if any(layer.padding) else [convolution]
        case ConvTranspose2D() | ConvTranspose1D():
            return [_transposed(layer, name)]
        case GRU() | LSTM():
            return [GatedRecurrence(type(layer).__name__, layer.units, name=name)]
        case MaxPool():
            pool = keras.MaxPooling2D(layer.size, strides=layer.stride, name=name)
            return [*_padding(layer.padding, -np.inf, name), pool]
        case AvgPool():
            pool = keras.AveragePooling2D(layer.size, strides=layer.stride, name=name)
            return [*_padding(layer.padding, 0.0, name), pool]
        case GlobalAvgPool():
            return [GlobalMean(name=name)]
        case GlobalMaxPool():
            return [GlobalMax(name=name)]
        case AdaptiveAvgPool():
            return [AdaptiveMean(layer.size, name=name)]
        case LeakyReLU():
            return [keras.LeakyReLU(layer.slope, name=name)]
        case ReLU() | GELU() | SiLU() | Softplus() | Tanh() | Sigmoid():
            return [keras.Activation(_ACTIVATIONS[type(layer)], name=name)]
        case Outcome(quantity="probability"):
            return [keras.Activation("softmax" if layer.exclusive else "sigmoid", name=name)]
        case Outcome():
            return [LossOfEach(layer.exclusive, name=name)]
        case Add():
            return [keras.Add(name=name)]
        case Multiply():
            return [keras.Multiply(name=name)]
        case Concatenate():
            return [keras.Concatenate(name=name)]
        case Flatten():
            return [keras.Flatten(name=name)]
        case Scale():
            return [Scaled(layer.value, name=name)]
        case Transpose():
            return [keras.Permute([axis + 1 for axis in layer.axes], name=name)]
        case GroupNorm():
            return [keras.GroupNormalization(layer.groups, epsilon=layer.epsilon, name=name)]
        case LayerNorm():
            return [keras.LayerNormalization(epsilon=layer.epsilon, name=name)]
        case RMSNorm():
            return [RMSNormalization(layer.epsilon, name=name)]
        case Dropout():
            return [keras.Dropout(layer.rate, name=name)]
        case NativeModule():
            return [own_model(layer, name)]
        case BatchNorm():
            raise NotImplementedError("BatchNorm mixes the examples of a batch")
        case _:
            return [keras_token_layer(layer, name)]


def _convolution(layer: Conv2D, name: str) -> tf.keras.layers.Layer:
    if layer.groups == 1 and layer.dilation == NO_DILATION and not layer.standardised:
        return tf.keras.layers.Conv2D(layer.filters, layer.kernel, strides=layer.stride, use_bias=layer.bias, name=name)
    return WindowConvolution(
        layer.filters,
        kernel=layer.kernel,
        strides=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        use_bias=layer.bias,
        standardised=layer.standardised,
        name=name,
    )


def _transposed(layer: ConvTranspose2D | ConvTranspose1D, name: str) -> tf.keras.layers.Layer:
    if isinstance(layer, ConvTranspose2D):
        kernel, stride, padding = layer.kernel, layer.stride, layer.padding
        return TransposedConvolution(
            layer.filters, kernel=kernel, strides=stride, padding=padding, use_bias=layer.bias, name=name
        )
    return TransposedConvolution(
        layer.filters,
        kernel=(layer.kernel,),
        strides=(layer.stride,),
        padding=(layer.padding, (0, 0)),
        use_bias=layer.bias,
        name=name,
    )


def _padding(padding: Padding, value: float, name: str) -> list[tf.keras.layers.Layer]:
    return [Pad(padding, value, name=_padding_name(name))] if np.any(padding) else []


def _padding_name(layer: str) -> str:
    return f"padding_{layer}"


def _has_padding(layer: Layer) -> bool:
    return isinstance(layer, Conv2D | Conv1D | MaxPool | AvgPool) and bool(np.any(layer.padding))
