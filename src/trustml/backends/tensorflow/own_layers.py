"""Layers that Keras 2.14 lacks, or has without gradients on a CPU."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import tensorflow as tf

from trustml.models.layers import STANDARDISATION_EPSILON, Padding


class AsWritten(tf.keras.layers.Layer):
    """A layer without control flow over tensors, whose functions AutoGraph would take long to rewrite for nothing."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "call" in vars(cls):
            signature = inspect.signature(cls.call)  # Keras looks at it to know what it may give
            cls.call = tf.autograph.experimental.do_not_convert(cls.call)
            cls.call.__signature__ = signature


@tf.keras.utils.register_keras_serializable("trustml")
class Pad(AsWritten):
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
class GlobalMean(AsWritten):
    """Mean of each channel over all places."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, c)."""
        return tf.reduce_mean(inputs, axis=list(range(1, len(inputs.shape) - 1)))


@tf.keras.utils.register_keras_serializable("trustml")
class LossOfEach(AsWritten):
    """Cross-entropy of each label that an example could have, from logits of classes or from log-odds of the second."""

    def __init__(self, exclusive: bool, name: str | None = None) -> None:
        super().__init__(name=name)
        self.exclusive = exclusive

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, labels)."""
        if self.exclusive:
            return -tf.nn.log_softmax(inputs)
        return tf.nn.softplus(tf.concat([inputs, -inputs], axis=1))

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"exclusive": self.exclusive, "name": self.name}


@tf.keras.utils.register_keras_serializable("trustml")
class PlainGroupNorm(AsWritten, tf.keras.layers.GroupNormalization):
    """Group normalisation over all values, without a mask of ones."""

    def call(self, inputs: tf.Tensor, mask: None = None) -> tf.Tensor:
        """Shape of the inputs."""
        grouped, axes = self.grouped(inputs)
        split = grouped.shape[-2:]
        centred = grouped - tf.reduce_mean(grouped, axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
        normalised = centred * tf.math.rsqrt(variance + self.epsilon)
        scaled = normalised * tf.reshape(self.gamma, split) + tf.reshape(self.beta, split)
        return tf.reshape(scaled, [-1, *inputs.shape[1:]])

    def grouped(self, values: tf.Tensor) -> tuple[tf.Tensor, list[int]]:
        """Give values of shape (n, *places, groups, channels of each), and the axes over which they are normalised."""
        *places, channels = values.shape[1:]
        split = [self.groups, channels // self.groups]
        return tf.reshape(values, [-1, *places, *split]), [*range(1, len(places) + 1), len(places) + 2]


@tf.keras.utils.register_keras_serializable("trustml")
class RMSNormalization(AsWritten):
    """Divide by the root mean square over the last axis, and scale."""

    def __init__(self, epsilon: float, name: str | None = None) -> None:
        super().__init__(name=name)
        self.epsilon = epsilon

    def build(self, shape: tf.TensorShape) -> None:
        """Make the scale."""
        self.gamma = self.add_weight("gamma", shape=shape[-1:], initializer="ones")

    def normalised(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the scale multiplies."""
        return inputs * tf.math.rsqrt(tf.reduce_mean(tf.square(inputs), axis=-1, keepdims=True) + self.epsilon)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape of the inputs."""
        return self.normalised(inputs) * self.gamma

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"epsilon": self.epsilon, "name": self.name}


@tf.keras.utils.register_keras_serializable("trustml")
class WindowConvolution(AsWritten):
    """Convolution of images or sequences by gathered windows: with groups, dilation or standardised filters.

    TensorFlow 2.14 has no gradients of convolutions with groups or dilation on a CPU.

    Parameters
    ----------
    filters : int
    kernel, strides, dilation : tuple of int
        One for each axis of places.
    groups : int
    use_bias, standardised : bool
    """

    def __init__(
        self,
        filters: int,
        *,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int = 1,
        use_bias: bool = True,
        standardised: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self._settings = {
            "filters": filters,
            "kernel": kernel,
            "strides": strides,
            "dilation": dilation,
            "groups": groups,
            "use_bias": use_bias,
            "standardised": standardised,
        }
        self.size, self.strides, self.dilation = tuple(kernel), tuple(strides), tuple(dilation)
        self.filters, self.groups, self.use_bias, self.standardised = filters, groups, use_bias, standardised

    def build(self, shape: tf.TensorShape) -> None:
        """Make kernel and bias."""
        kernel = (*self.size, shape[-1] // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape=kernel)
        if self.use_bias:
            self.bias = self.add_weight("bias", shape=(self.filters,), initializer="zeros")

    def windows(self, inputs: tf.Tensor) -> tf.Tensor:
        """What filters see, shape (n, *places, groups, in)."""
        parts = [inputs]
        for axis, (size, stride, step) in enumerate(zip(self.size, self.strides, self.dilation, strict=True), start=1):
            count = (inputs.shape[axis] - (size - 1) * step - 1) // stride + 1
            parts = [_slice(part, axis, start * step, stride, count) for part in parts for start in range(size)]
        channels = inputs.shape[-1] // self.groups
        apart = [tf.reshape(part, (-1, *part.shape[1:-1], self.groups, channels)) for part in parts]
        return tf.concat(apart, axis=-1)

    def matrix(self) -> tf.Tensor:
        """Filters as they are used, shape (in, filters)."""
        matrix = tf.reshape(self.kernel, (-1, self.filters))
        return standardised(matrix) if self.standardised else matrix

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, *places, filters)."""
        windows, matrix = self.windows(inputs), self.matrix()
        apart = tf.reshape(matrix, (matrix.shape[0], self.groups, -1))
        found = tf.einsum("npgi,igo->npgo", tf.reshape(windows, (-1, _places(windows), *windows.shape[-2:])), apart)
        found = tf.reshape(found, (-1, *windows.shape[1:-2], self.filters))
        return found + self.bias if self.use_bias else found

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {**self._settings, "name": self.name}


def standardised(matrix: tf.Tensor) -> tf.Tensor:
    """Filters (in, out), each with mean zero and length one."""
    spread = matrix - tf.reduce_mean(matrix, axis=0)
    return spread * tf.math.rsqrt(tf.reduce_sum(tf.square(spread), axis=0) + STANDARDISATION_EPSILON)


def _places(windows: tf.Tensor) -> int:
    return int(np.prod(windows.shape[1:-2]))


def _slice(values: tf.Tensor, axis: int, start: int, stride: int, count: int) -> tf.Tensor:
    """Every so manieth value along one axis."""
    chosen = [slice(None)] * len(values.shape)
    chosen[axis] = slice(start, start + (count - 1) * stride + 1, stride)
    return values[tuple(chosen)]
