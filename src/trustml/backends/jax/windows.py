"""Convolution and pooling from shifted slices of the image, columns first and then rows.

Under ``vmap`` and per-example gradients this becomes ordinary matrix products, where XLA's own convolution becomes
grouped convolutions that are many times slower on a CPU. One axis after the other needs height + width slices
instead of height * width, and each copies long runs of memory, backwards too.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import Array, lax

from trustml.models.layers import NO_DILATION, Padding
from trustml.models.shapes import windows
from trustml.ranges import Sides

_ROWS, _COLUMNS = 1, 2


def patches(
    images: Array, size: tuple[int, int], *, stride: tuple[int, int], padding: Padding, dilation: Sides = NO_DILATION
) -> Array:
    """Give every window of images (n, h, w, c) as one row: shape (n, rows, columns, height * width * c).

    Times a kernel reshaped to (height * width * c, filters), this is the cross-correlation.
    """
    values = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    if dilation == NO_DILATION:
        columns = _slices(*_merged(values, size[1], stride[1]), _COLUMNS)
    else:
        columns = _slices(values, size[1], stride[1], _COLUMNS, dilation[1])
    return jnp.concatenate(_slices(jnp.concatenate(columns, axis=-1), size[0], stride[0], _ROWS, dilation[0]), axis=-1)


def max_pool(images: Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Array:
    """Largest value of each window; among equal ones the first gets the gradient, as in PyTorch."""
    values = jnp.pad(images, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    for axis in (_COLUMNS, _ROWS):  # so that the first is the first row by row
        parts = _slices(values, size[axis - 1], stride[axis - 1], axis)
        values = functools.reduce(lambda best, new: jnp.where(new > best, new, best), parts)
    return values


def avg_pool(images: Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Array:
    """Mean of each window, padding included."""
    values = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    for axis in (_COLUMNS, _ROWS):
        values = functools.reduce(jnp.add, _slices(values, size[axis - 1], stride[axis - 1], axis))
    return values / (size[0] * size[1])


def _merged(values: Array, size: int, stride: int) -> tuple[Array, int, int]:
    """Make columns that a stride steps over together into one, where windows are made of whole such columns.

    Gives the values, and the size and stride that are left.
    """
    if stride == 1 or size % stride:
        return values, size, stride
    examples, rows, width, channels = values.shape
    used = (windows(width, size, stride=stride, padding=(0, 0)) - 1) * stride + size
    return values[:, :, :used].reshape(examples, rows, used // stride, stride * channels), size // stride, 1


def _slices(values: Array, size: int, stride: int, axis: int, dilation: int = 1) -> list[Array]:
    """One slice for each place inside the window, along one axis."""
    count = windows(values.shape[axis], (size - 1) * dilation + 1, stride=stride, padding=(0, 0))
    return [
        lax.slice_in_dim(values, start, start + (count - 1) * stride + 1, stride, axis=axis)
        for start in range(0, size * dilation, dilation)
    ]
