"""Convolution and pooling from shifted slices of the image.

One slice for each position inside the window, each of the size of the output. Under ``vmap`` and per-example
gradients this becomes ordinary matrix products, where XLA's own convolution becomes grouped convolutions that
are many times slower on a CPU.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import Array, lax

from trustml.models.layers import Padding
from trustml.models.shapes import windows


def patches(images: Array, size: tuple[int, int], *, stride: tuple[int, int], padding: Padding) -> Array:
    """Give every window of images (n, h, w, c) as one row: shape (n, rows, columns, height * width * c).

    Times a kernel reshaped to (height * width * c, filters), this is the cross-correlation.
    """
    return jnp.concatenate(_slices(images, size, stride=stride, padding=padding, value=0.0), axis=-1)


def max_pool(images: Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Array:
    """Largest value of each window; among equal ones the first gets the gradient, as in PyTorch."""
    parts = _slices(images, size, stride=stride, padding=padding, value=-jnp.inf)
    return functools.reduce(lambda best, new: jnp.where(new > best, new, best), parts)


def avg_pool(images: Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Array:
    """Mean of each window, padding included."""
    parts = _slices(images, size, stride=stride, padding=padding, value=0.0)
    return functools.reduce(jnp.add, parts) / len(parts)


def _slices(
    images: Array, size: tuple[int, int], *, stride: tuple[int, int], padding: Padding, value: float
) -> list[Array]:
    examples, height, width, channels = images.shape
    rows = windows(height, size[0], stride=stride[0], padding=padding[0])
    columns = windows(width, size[1], stride=stride[1], padding=padding[1])
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)), constant_values=value)
    return [
        lax.slice(
            padded,
            (0, top, left, 0),
            (examples, top + (rows - 1) * stride[0] + 1, left + (columns - 1) * stride[1] + 1, channels),
            (1, *stride, 1),
        )
        for top in range(size[0])
        for left in range(size[1])
    ]
