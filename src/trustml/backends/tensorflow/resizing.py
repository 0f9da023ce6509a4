"""Layers that change the number of places or their order, which Keras 2.14 lacks or has with other weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trustml.backends.tensorflow.own_layers import AsWritten
from trustml.models.layers import Padding
from trustml.models.resizing import adaptive_means


@tf.keras.utils.register_keras_serializable("trustml")
class TransposedConvolution(AsWritten):
    """The transpose of a convolution of images, or of sequences as images of one column; some is cut off.

    Parameters
    ----------
    filters : int
    kernel, strides : tuple of int
        One for each axis of places.
    padding : ((int, int), (int, int))
        Rows and columns that are cut off.
    use_bias : bool
    """

    def __init__(
        self,
        filters: int,
        *,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        padding: Padding,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.filters, self.size, self.cut, self.use_bias = filters, tuple(kernel), padding, use_bias
        self.strides = tuple(strides)
        one = (1,) * (2 - len(self.size))
        self.window, self.step = (*self.size, *one), (*self.strides, *one)

    def build(self, shape: tf.TensorShape) -> None:
        """Make kernel and bias."""
        self.kernel = self.add_weight("kernel", shape=(*self.size, self.filters, shape[-1]))
        if self.use_bias:
            self.bias = self.add_weight("bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, *places, filters)."""
        images = self.as_images(inputs)
        rows, columns = (
            (length - 1) * step + window
            for length, step, window in zip(images.shape[1:3], self.step, self.window, strict=True)
        )
        kernel = tf.reshape(self.kernel, (*self.window, self.filters, -1))
        shape = (tf.shape(images)[0], rows, columns, self.filters)
        found = tf.nn.conv2d_transpose(images, kernel, shape, self.step, padding="VALID")
        (top, bottom), (left, right) = self.cut
        found = found[:, top : rows - bottom, left : columns - right]
        found = found if len(self.size) == 2 else found[:, :, 0]
        return found + self.bias if self.use_bias else found

    def laid_down(self, gradient: tf.Tensor) -> tf.Tensor:
        """What comes back to each value by its kernel, shape (n, values, window * filters)."""
        padded = tf.pad(self.as_images(gradient), [[0, 0], *map(list, self.cut), [0, 0]])
        found = tf.image.extract_patches(padded, (1, *self.window, 1), (1, *self.step, 1), (1, 1, 1, 1), "VALID")
        return tf.reshape(found, (-1, found.shape[1] * found.shape[2], found.shape[3]))

    def as_images(self, values: tf.Tensor) -> tf.Tensor:
        """Sequences have one column."""
        return values if len(self.size) == 2 else values[:, :, None]

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {
            "filters": self.filters,
            "kernel": self.size,
            "strides": self.strides,
            "padding": self.cut,
            "use_bias": self.use_bias,
            "name": self.name,
        }


@tf.keras.utils.register_keras_serializable("trustml")
class GlobalMax(AsWritten):
    """Largest value of each channel over all places; of equal ones the first has the gradient, as in JAX."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, c)."""
        channels = inputs.shape[-1]
        places = tf.transpose(tf.reshape(inputs, (-1, math.prod(inputs.shape[1:-1]), channels)), (0, 2, 1))
        return tf.gather(places, tf.argmax(places, axis=2), axis=2, batch_dims=2)


@tf.keras.utils.register_keras_serializable("trustml")
class AdaptiveMean(AsWritten):
    """Means of so many windows along each axis of places."""

    def __init__(self, size: tuple[int, ...], name: str | None = None) -> None:
        super().__init__(name=name)
        self.size = tuple(size)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, *size, c)."""
        return weighted_means(inputs, self.means(inputs))

    def means(self, inputs: tf.Tensor) -> list[npt.NDArray[np.float32]]:
        """Weights of the values in each mean, shape (means, values), of each axis of places."""
        return [adaptive_means(length, size) for length, size in zip(inputs.shape[1:], self.size, strict=False)]

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"size": self.size, "name": self.name}


def weighted_means(values: tf.Tensor, means: list[npt.NDArray[np.float32]]) -> tf.Tensor:
    """Multiply each axis of places by a matrix of weights, (means, values)."""
    if len(means) == 1:
        return tf.einsum("nsc,ts->ntc", values, means[0])
    return tf.einsum("nrkc,kq->nrqc", tf.einsum("nhkc,rh->nrkc", values, means[0]), means[1].T)


@tf.keras.utils.register_keras_serializable("trustml")
class Scaled(AsWritten):
    """Multiply by a constant."""

    def __init__(self, value: float, name: str | None = None) -> None:
        super().__init__(name=name)
        self.value = value

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape of the inputs."""
        return inputs * self.value

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"value": self.value, "name": self.name}
