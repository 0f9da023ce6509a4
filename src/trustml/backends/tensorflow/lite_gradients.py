"""Gradients of a network's inputs by operators that are built into TensorFlow Lite, layer by layer.

Those that TensorFlow writes itself (``ReluGrad``, ``MaxPoolGrad``, ``RsqrtGrad``, ``BroadcastGradientArgs``) are not. A
rule takes a layer, what went into it, what came out, and the gradient by what came out; it gives that by what went in.
The batch stays free.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.tensorflow.network import layer_name, walk_nodes
from trustml.backends.tensorflow.own_layers import GlobalMean, Pad, PlainGroupNorm, RMSNormalization
from trustml.backends.tensorflow.resizing import AdaptiveMean, Scaled, TransposedConvolution, weighted_means
from trustml.models.layers import INPUT

Rule: TypeAlias = Callable[[Any, Any, tf.Tensor, tf.Tensor], Any]


def layers_without_rule(model: Model, built: tf.keras.Model) -> dict[str, str]:
    """Layers of which there is no rule: name of the node to its kind, as the architecture has them."""
    return {
        node.name: type(node.layer).__name__
        for node in model.architecture.nodes
        if _rule_of(built.get_layer(layer_name(node.name))) is None
    }


def input_gradients(model: Model, built: tf.keras.Model, inputs: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
    """Gradient of the sum of logits times `directions`, of their shape, with respect to the inputs.

    A direction that is 1 at one logit and 0 at the others makes it the gradient of that logit.

    Parameters
    ----------
    model : Model
        Without a layer that has no rule.
    built : tf.keras.Model
    inputs, directions : tf.Tensor
    """
    called: list[tuple[tf.keras.layers.Layer, Any, tf.Tensor]] = []

    def call(layer: tf.keras.layers.Layer, given: Any) -> tf.Tensor:
        found = layer(given, training=False) if isinstance(layer, tf.keras.layers.Dropout) else layer(given)
        called.append((layer, given, found))
        return found

    logits = walk_nodes(built, model.architecture.nodes, {INPUT: inputs}, call)
    gradients = {logits.ref(): directions}
    for layer, given, found in reversed(called):
        gradient = gradients.pop(found.ref(), None)
        if gradient is None:  # nothing takes it
            continue
        rule = _rule_of(layer)
        assert rule is not None, layer.name
        for one, part in zip(_listed(given), _listed(rule(layer, given, found, gradient)), strict=True):
            before = gradients.get(one.ref())
            gradients[one.ref()] = part if before is None else before + part
    return gradients[inputs.ref()]


def _listed(values: Any) -> Sequence[tf.Tensor]:
    return values if isinstance(values, list) else [values]


def _rule_of(layer: tf.keras.layers.Layer) -> Rule | None:
    if isinstance(layer, tf.keras.layers.Activation):
        return _OF_ACTIVATION.get(layer.get_config()["activation"])
    return _RULES.get(type(layer))


def _like(given: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Lay values out as those of a batch that went in."""
    return tf.reshape(gradient, (-1, *given.shape[1:]))


def _dense(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    rows = tf.reshape(gradient, (-1, gradient.shape[-1]))
    return _like(given, tf.matmul(rows, layer.kernel, transpose_b=True))


def _convolution(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    shape = (tf.shape(gradient)[0], *given.shape[1:])
    return tf.nn.conv2d_transpose(gradient, layer.kernel, shape, layer.strides, padding="VALID")


def _transposed_convolution(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    padded = tf.pad(layer.as_images(gradient), [[0, 0], *map(list, layer.cut), [0, 0]])
    kernel = tf.reshape(layer.kernel, (*layer.window, layer.filters, -1))
    return _like(given, tf.nn.conv2d(padded, kernel, layer.step, padding="VALID"))


def _padding(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    (top, _), (left, _) = layer.padding
    return gradient[:, top : top + given.shape[1], left : left + given.shape[2]]


def _largest(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Of equal values in a window the first has the gradient, as in TensorFlow's and PyTorch's own."""
    parts, free = [], 1.0
    for part in _places_of_windows(layer, given, found):
        hit = tf.cast(part >= found, tf.float32) * free
        free = free - hit
        parts.append(gradient * hit)
    kernel = np.eye(len(parts), dtype=np.float32)
    return _laid_down(layer, given, tf.stack(parts, axis=-1), kernel)


def _mean_of_windows(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    size = math.prod(layer.pool_size)
    return _laid_down(layer, given, gradient[..., None], np.full((size, 1), 1.0 / size, np.float32))


def _places_of_windows(layer: Any, given: tf.Tensor, found: tf.Tensor) -> list[tf.Tensor]:
    """Give the first value of every window, the second, and so on, row by row."""
    (rows, columns), (down, right) = found.shape[1:3], layer.strides
    return [
        given[:, top : top + (rows - 1) * down + 1 : down, left : left + (columns - 1) * right + 1 : right]
        for top, left in itertools.product(*map(range, layer.pool_size))
    ]


def _laid_down(layer: Any, given: tf.Tensor, parts: tf.Tensor, kernel: np.ndarray[Any, Any]) -> tf.Tensor:
    """Add up what windows give to the values that they saw, each channel by itself.

    Parameters
    ----------
    layer : tf.keras.layers.Layer
        Which pools.
    given : tf.Tensor of shape (n, rows, columns, channels)
    parts : tf.Tensor of shape (n, windows, windows, channels, parts)
    kernel : array of shape (values of a window, parts)
        What each part gives to each.
    """
    rows, columns, channels = given.shape[1:]
    apart = tf.transpose(parts, (0, 3, 1, 2, 4))
    images = tf.reshape(apart, (-1, *apart.shape[2:]))
    laid = tf.nn.conv2d_transpose(
        images,
        tf.constant(kernel.reshape(*layer.pool_size, 1, -1)),
        (tf.shape(images)[0], rows, columns, 1),
        layer.strides,
        padding="VALID",
    )
    return tf.transpose(tf.reshape(laid, (-1, channels, rows, columns)), (0, 2, 3, 1))


def _global_mean(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    places = given.shape[1:-1]
    share = tf.reshape(gradient / math.prod(places), (-1, *(1 for _ in places), given.shape[-1]))
    return tf.tile(share, (1, *places, 1))


def _adaptive_mean(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return weighted_means(gradient, [one.T for one in layer.means(given)])


def _group_norm(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    values, axes = layer.grouped(given)
    scaled = layer.grouped(gradient)[0] * tf.reshape(layer.gamma, values.shape[-2:])
    return _like(given, _before_norm(values, scaled, axes, layer.epsilon))


def _layer_norm(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return _before_norm(given, gradient * layer.gamma, [-1], layer.epsilon)


def _rms_norm(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return _before_norm(given, gradient * layer.gamma, [-1], layer.epsilon, centred=False)


def _before_norm(
    values: tf.Tensor, gradient: tf.Tensor, axes: list[int], epsilon: float, *, centred: bool = True
) -> tf.Tensor:
    """Gradient by values, from that by the same with mean 0 and mean square 1 over some axes."""
    mean = functools.partial(tf.reduce_mean, axis=axes, keepdims=True)
    spread = values - mean(values) if centred else values
    rate = tf.math.rsqrt(mean(tf.square(spread)) + epsilon)
    normalised = spread * rate
    across = gradient - normalised * mean(gradient * normalised)
    return rate * (across - mean(gradient) if centred else across)


def _product(layer: Any, given: list[tf.Tensor], found: tf.Tensor, gradient: tf.Tensor) -> list[tf.Tensor]:
    return [
        functools.reduce(tf.multiply, [*given[:place], *given[place + 1 :]], gradient) for place in range(len(given))
    ]


def _sigmoid(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return gradient * found * (1.0 - found)


def _swish(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(given)
    return gradient * (gate + found * (1.0 - gate))


def _positive(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values > 0, tf.float32)


_OF_ACTIVATION: dict[str, Rule] = {
    "relu": lambda layer, given, found, gradient: gradient * _positive(found),
    "tanh": lambda layer, given, found, gradient: gradient * (1.0 - tf.square(found)),
    "softplus": lambda layer, given, found, gradient: gradient * tf.sigmoid(given),
    "sigmoid": _sigmoid,
    "swish": _swish,
}
_RULES: dict[type[tf.keras.layers.Layer], Rule] = {
    tf.keras.layers.Dense: _dense,
    tf.keras.layers.Conv2D: _convolution,
    tf.keras.layers.MaxPooling2D: _largest,
    tf.keras.layers.AveragePooling2D: _mean_of_windows,
    tf.keras.layers.LayerNormalization: _layer_norm,
    tf.keras.layers.LeakyReLU: lambda layer, given, found, gradient: (
        gradient * (layer.alpha + (1.0 - layer.alpha) * _positive(given))
    ),
    tf.keras.layers.Add: lambda layer, given, found, gradient: [gradient] * len(given),
    tf.keras.layers.Multiply: _product,
    tf.keras.layers.Concatenate: lambda layer, given, found, gradient: list(
        tf.split(gradient, [one.shape[-1] for one in given], axis=-1)
    ),
    tf.keras.layers.Flatten: lambda layer, given, found, gradient: _like(given, gradient),
    tf.keras.layers.Permute: lambda layer, given, found, gradient: tf.transpose(
        gradient, (0, *(1 + np.argsort(layer.dims)))
    ),
    tf.keras.layers.Dropout: lambda layer, given, found, gradient: gradient,
    Pad: _padding,
    GlobalMean: _global_mean,
    AdaptiveMean: _adaptive_mean,
    Scaled: lambda layer, given, found, gradient: gradient * layer.value,
    TransposedConvolution: _transposed_convolution,
    PlainGroupNorm: _group_norm,
    RMSNormalization: _rms_norm,
}
