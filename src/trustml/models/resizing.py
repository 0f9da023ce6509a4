"""Layers that change the number of places, or their order: shapes, and which places a window is of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError
from trustml.models.layers import AdaptiveAvgPool, ConvTranspose1D, ConvTranspose2D, Scale, Transpose


def transposed_image(layer: ConvTranspose2D, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of an image that is larger by the stride."""
    if len(shapes[0]) != 3:
        raise ScenarioError(
            field,
            f"ConvTranspose2D takes images (height, width, channels) but gets shape {shapes[0]}",
            fix="use ConvTranspose1D for sequences, Dense for vectors",
        )
    sides = zip(shapes[0], layer.kernel, layer.stride, layer.padding, strict=False)
    return (*(_transposed(*side, field) for side in sides), layer.filters)


def transposed_sequence(layer: ConvTranspose1D, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of a sequence that is longer by the stride."""
    if len(shapes[0]) != 2:
        raise ScenarioError(
            field,
            f"ConvTranspose1D takes sequences (steps, channels) but gets shape {shapes[0]}",
            fix="use ConvTranspose2D for images, Dense for vectors",
        )
    return _transposed(shapes[0][0], layer.kernel, layer.stride, layer.padding, field), layer.filters


def adaptive_pool(layer: AdaptiveAvgPool, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of as many windows as are asked for."""
    axes = len(shapes[0]) - 1
    if axes < 1:
        raise ScenarioError(
            field, f"AdaptiveAvgPool takes images or sequences but gets shape {shapes[0]}", fix="remove it"
        )
    if len(layer.size) != axes or min(layer.size) < 1:
        raise ScenarioError(
            f"{field}.size",
            f"{layer.size} is no number of windows along each axis of places of shape {shapes[0]}",
            fix=f"give {axes} positive numbers",
        )
    return (*layer.size, shapes[0][-1])


def adaptive_means(length: int, size: int) -> npt.NDArray[np.float32]:
    """Matrix (size, length) that takes the mean of each window; see :class:`~trustml.models.layers.AdaptiveAvgPool`."""
    matrix = np.zeros((size, length), np.float32)
    for window in range(size):
        begin, end = window * length // size, -(-(window + 1) * length // size)
        matrix[window, begin:end] = 1 / (end - begin)
    return matrix


def constant(layer: Scale, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of what is multiplied."""
    if layer.value == 0 or not math.isfinite(layer.value):
        raise ScenarioError(f"{field}.value", f"{layer.value} leaves nothing of its input", fix="use another number")
    return shapes[0]


def reordered(layer: Transpose, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape with its axes in another order."""
    if sorted(layer.axes) != list(range(len(shapes[0]))):
        raise ScenarioError(
            f"{field}.axes",
            f"{layer.axes} is no order of the {len(shapes[0])} axes of shape {shapes[0]}",
            fix=f"name each of 0 to {len(shapes[0]) - 1} once",
        )
    return tuple(shapes[0][axis] for axis in layer.axes)


def _transposed(length: int, kernel: int, stride: int, padding: tuple[int, int], field: str) -> int:
    if min(kernel, stride) < 1:
        raise ScenarioError(field, f"window {kernel} or stride {stride} is not positive", fix="use 1 or more")
    if min(padding) < 0:
        raise ScenarioError(f"{field}.padding", f"{padding} is negative", fix="use 0 or more on each side")
    found = (length - 1) * stride + kernel - sum(padding)
    if found < 1:
        whole = found + sum(padding)
        raise ScenarioError(f"{field}.padding", f"{padding} cuts all of {whole} off", fix=f"cut off fewer than {whole}")
    return found
