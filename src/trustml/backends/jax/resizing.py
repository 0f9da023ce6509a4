"""Layers that change the number of places: the transpose of a convolution, and means of so many windows."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.windows import patches
from trustml.models.layers import AdaptiveAvgPool, ConvTranspose1D, ConvTranspose2D, Padding
from trustml.models.resizing import adaptive_means
from trustml.ranges import Sides


def transposed_convolution(layer: ConvTranspose2D | ConvTranspose1D, values: Array, kernel: Array) -> Array:
    """Each value lays its kernel (..., out, in) down: one product, and shifted sums."""
    stride, padding = _sides(layer)
    images = values if values.ndim == 4 else values[:, :, None]
    height, width = kernel.shape[:-2] if values.ndim == 4 else (kernel.shape[0], 1)
    examples, rows, columns, channels = images.shape
    found = (images.reshape(-1, channels) @ kernel.reshape(-1, channels).T).reshape(
        examples, rows, columns, height, width, layer.filters
    )
    down, across = stride
    total = jnp.zeros(
        (examples, (rows - 1) * down + height, (columns - 1) * across + width, layer.filters), values.dtype
    )
    for row in range(height):
        for column in range(width):
            apart = ((0, 0, 0), (row, height - 1 - row, down - 1), (column, width - 1 - column, across - 1), (0, 0, 0))
            total += lax.pad(found[:, :, :, row, column], jnp.zeros((), values.dtype), apart)
    (top, bottom), (left, right) = padding
    total = total[:, top : total.shape[1] - bottom, left : total.shape[2] - right]
    return total if values.ndim == 4 else total[:, :, 0]


def laid_down(layer: ConvTranspose2D | ConvTranspose1D, gradient: Array) -> Array:
    """What comes back to each value by its kernel: patches of the gradient of what came out, (n, *places, out)."""
    stride, padding = _sides(layer)
    images = gradient if gradient.ndim == 4 else gradient[:, :, None]
    size = layer.kernel if isinstance(layer, ConvTranspose2D) else (layer.kernel, 1)
    return patches(images, size, stride=stride, padding=padding)


def adaptive_pool(layer: AdaptiveAvgPool, values: Array) -> Array:
    """Means over windows, one axis of places after the other."""
    for axis, size in enumerate(layer.size, start=1):
        means = adaptive_means(values.shape[axis], size)
        values = jnp.moveaxis(jnp.moveaxis(values, axis, -1) @ means.T, -1, axis)
    return values


def _sides(layer: ConvTranspose2D | ConvTranspose1D) -> tuple[Sides, Padding]:
    """Stride and padding of a layer, or of the one that sees a sequence as an image of one column."""
    if isinstance(layer, ConvTranspose2D):
        return layer.stride, layer.padding
    return (layer.stride, 1), (layer.padding, (0, 0))
