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
import numpy.typing as npt
import tensorflow as tf

from trustml.backends.contract import Model
from trustml.backends.tensorflow.network import layer_name, walk_nodes
from trustml.backends.tensorflow.own_layers import GlobalMean, Pad, PlainGroupNorm, RMSNormalization, WindowConvolution
from trustml.backends.tensorflow.resizing import (
    AdaptiveMean,
    GlobalMax,
    Scaled,
    TransposedConvolution,
    weighted_means,
)
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


def _steps_of_padding(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    return gradient[:, layer.padding[0] : layer.padding[0] + given.shape[1]]


def _windows(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    *places, _ = gradient.shape[1:]
    one = (1,) * (2 - len(places))  # sequences are images of one column
    count, size, groups = math.prod(places), math.prod(layer.size), layer.groups
    matrix = tf.reshape(layer.matrix(), (-1, groups, layer.filters // groups))
    apart = tf.reshape(gradient, (-1, count, groups, layer.filters // groups))
    seen = tf.reshape(tf.einsum("npgo,igo->npgi", apart, matrix), (-1, count, groups, size, matrix.shape[0] // size))
    parts = tf.reshape(tf.transpose(seen, (0, 1, 2, 4, 3)), (-1, *places, *one, given.shape[-1], size))
    kernel = _one_place_each((*layer.size, *one), (*layer.dilation, *one))
    shape = (*given.shape[1:-1], *one, given.shape[-1])
    return _like(given, _laid_down(shape, parts, kernel, (*layer.strides, *one)))


def _largest(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Of equal values in a window the first has the gradient, as in TensorFlow's and PyTorch's own."""
    (rows, columns), (down, right) = found.shape[1:3], layer.strides
    places = [
        given[:, top : top + (rows - 1) * down + 1 : down, left : left + (columns - 1) * right + 1 : right]
        for top, left in itertools.product(*map(range, layer.pool_size))
    ]
    first = tf.argmax(tf.stack(places, axis=-1), axis=-1, output_type=tf.int32)
    parts = tf.one_hot(first, len(places)) * gradient[..., None]
    return _laid_down(given.shape[1:], parts, _one_place_each(layer.pool_size), layer.strides)


def _mean_of_windows(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    kernel = np.full((*layer.pool_size, 1, 1), 1 / math.prod(layer.pool_size), np.float32)
    return _laid_down(given.shape[1:], gradient[..., None], kernel, layer.strides)


def _one_place_each(size: Sequence[int], dilation: Sequence[int] = (1, 1)) -> npt.NDArray[np.float32]:
    """Kernel that lays the first part at the first value of a window, the second at the second, row by row."""
    extent = [(count - 1) * step + 1 for count, step in zip(size, dilation, strict=True)]
    kernel = np.zeros((*extent, 1, math.prod(size)), np.float32)
    for part, (row, column) in enumerate(itertools.product(*map(range, size))):
        kernel[row * dilation[0], column * dilation[1], 0, part] = 1
    return kernel


def _laid_down(
    shape: Sequence[int], parts: tf.Tensor, kernel: npt.NDArray[np.float32], strides: Sequence[int]
) -> tf.Tensor:
    """Add up what windows give to the values that they saw, each channel by itself.

    Parameters
    ----------
    shape : (int, int, int)
        Rows, columns and channels of the values.
    parts : tf.Tensor of shape (n, windows, windows, channels, parts)
    kernel : array of shape (rows, columns, 1, parts)
        What each part gives to each value of its window.
    strides : (int, int)
    """
    rows, columns, channels = shape
    apart = tf.transpose(parts, (0, 3, 1, 2, 4))
    images = tf.reshape(apart, (-1, *apart.shape[2:]))
    goal = (tf.shape(images)[0], rows, columns, 1)
    laid = tf.nn.conv2d_transpose(images, tf.constant(kernel), goal, strides, padding="VALID")
    return tf.transpose(tf.reshape(laid, (-1, channels, rows, columns)), (0, 2, 3, 1))


def _largest_of_all(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    places = math.prod(given.shape[1:-1])
    first = tf.argmax(tf.reshape(given, (-1, places, given.shape[-1])), axis=1, output_type=tf.int32)
    return _like(given, tf.one_hot(first, places, axis=1) * gradient[:, None])


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


def _gelu(layer: Any, given: tf.Tensor, found: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """By the normal distribution below each value, which is what came out over what went in, but near 0."""
    density = tf.exp(-0.5 * tf.square(given)) / math.sqrt(2 * math.pi)
    near = tf.abs(given) < 1e-4
    below = tf.where(near, 0.5 + given / math.sqrt(2 * math.pi), found / tf.where(near, 1.0, given))
    return gradient * (below + given * density)


def _positive(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values > 0, tf.float32)


_OF_ACTIVATION: dict[str, Rule] = {
    "relu": lambda layer, given, found, gradient: gradient * _positive(found),
    "tanh": lambda layer, given, found, gradient: gradient * (1.0 - tf.square(found)),
    "softplus": lambda layer, given, found, gradient: gradient * tf.sigmoid(given),
    "sigmoid": _sigmoid,
    "swish": _swish,
    "gelu": _gelu,
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
    tf.keras.layers.ZeroPadding1D: _steps_of_padding,
    Pad: _padding,
    WindowConvolution: _windows,
    GlobalMean: _global_mean,
    GlobalMax: _largest_of_all,
    AdaptiveMean: _adaptive_mean,
    Scaled: lambda layer, given, found, gradient: gradient * layer.value,
    TransposedConvolution: _transposed_convolution,
    PlainGroupNorm: _group_norm,
    RMSNormalization: _rms_norm,
}
