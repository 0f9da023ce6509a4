"""The shape that every layer gives, and the shapes of its weights."""

from __future__ import annotations

import math
from typing import TypeAlias

from trustml.errors import ScenarioError
from trustml.models.layers import (
    Architecture,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    Padding,
)

Shape: TypeAlias = tuple[int, ...]


def windows(length: int, window: int, *, stride: int, padding: tuple[int, int]) -> int:
    """Number of places where a window fits along one axis."""
    return (length + padding[0] + padding[1] - window) // stride + 1


def layer_output(layer: Layer, shape: Shape, *, field: str) -> Shape:
    """Shape of one example after `layer`.

    Raises
    ------
    ScenarioError
        If the layer cannot take that shape; `field` names the layer.
    """
    match layer:
        case Dense():
            _positive(layer.units, f"{field}.units")
            if len(shape) != 1:
                raise ScenarioError(
                    field, f"Dense takes a vector but gets shape {shape}", fix="put a Flatten before it"
                )
            return (layer.units,)
        case Conv2D():
            _positive(layer.filters, f"{field}.filters")
            return (*_window_output(layer.kernel, layer.stride, layer.padding, shape, field), layer.filters)
        case MaxPool() | AvgPool():
            if any(max(sides) >= size for sides, size in zip(layer.padding, layer.size, strict=True)):
                raise ScenarioError(
                    f"{field}.padding",
                    f"{layer.padding} makes a window {layer.size} of padding alone",
                    fix="pad by less than the window",
                )
            return (*_window_output(layer.size, layer.stride, layer.padding, shape, field), shape[-1])
        case Flatten():
            total = 1
            for extent in shape:
                total *= extent
            return (total,)
        case GroupNorm():
            _positive(layer.groups, f"{field}.groups")
            if shape[-1] % layer.groups:
                raise ScenarioError(
                    f"{field}.groups",
                    f"{layer.groups} does not divide {shape[-1]} channels",
                    fix=f"choose a divisor of {shape[-1]}",
                )
            return shape
        case Dropout():
            if not 0 <= layer.rate < 1:
                raise ScenarioError(f"{field}.rate", f"{layer.rate} is no probability below 1", fix="0 <= rate < 1")
            return shape
        case BatchNorm():
            raise ScenarioError(
                field,
                "BatchNorm mixes the examples of a batch, so no example has a gradient of its own",
                fix="use GroupNorm(groups=...), which normalises within one example",
            )
        case _:
            return shape


def layer_shapes(architecture: Architecture, input_shape: Shape) -> list[Shape]:
    """Shape of one example before each layer, and after the last."""
    if not architecture.layers:
        raise ScenarioError("model.layers", "is empty", fix="end with Dense(units=<number of classes>)")
    shapes = [input_shape]
    for index, layer in enumerate(architecture.layers):
        shapes.append(layer_output(layer, shapes[-1], field=f"model.layers.{index}"))
    return shapes


def refuse_erasing_norms(architecture: Architecture, input_shape: Shape) -> None:
    """Refuse layers that normalise one value by itself: whatever it was, nothing but 0 is left of it.

    Raises
    ------
    ScenarioError
    """
    for index, (layer, shape) in enumerate(
        zip(architecture.layers, layer_shapes(architecture, input_shape), strict=False)
    ):
        field = f"model.layers.{index}"
        if isinstance(layer, GroupNorm) and math.prod(shape) == layer.groups:
            problem = f"{layer.groups} groups of {shape} hold one value each, of which normalising leaves 0"
            raise ScenarioError(f"{field}.groups", problem, fix="use fewer groups, or leave the layer out")
        if isinstance(layer, LayerNorm) and shape[-1] == 1:
            problem = f"LayerNorm over the last axis of {shape} normalises one value, of which it leaves 0"
            raise ScenarioError(field, problem, fix="leave the layer out, or put it where there are more values")


def weight_shapes(architecture: Architecture, input_shape: Shape) -> dict[str, Shape]:
    """Canonical name and shape of every weight, in order.

    Names are ``<layer index>.<kernel|bias|scale>``. Dense kernels are (in, out), convolution kernels
    (height, width, in, out).
    """
    shapes = layer_shapes(architecture, input_shape)
    found: dict[str, Shape] = {}
    for index, layer in enumerate(architecture.layers):
        channels = shapes[index][-1]
        match layer:
            case Dense():
                found[f"{index}.kernel"] = (channels, layer.units)
            case Conv2D():
                found[f"{index}.kernel"] = (*layer.kernel, channels, layer.filters)
            case GroupNorm() | LayerNorm():
                found[f"{index}.scale"] = (channels,)
                found[f"{index}.bias"] = (channels,)
        if isinstance(layer, Dense | Conv2D) and layer.bias:
            found[f"{index}.bias"] = (found[f"{index}.kernel"][-1],)
    return found


def _positive(value: int, field: str) -> None:
    if value < 1:
        raise ScenarioError(field, f"{value} is not positive", fix="use 1 or more")


def _window_output(
    window: tuple[int, int], stride: tuple[int, int], padding: Padding, shape: Shape, field: str
) -> tuple[int, int]:
    if len(shape) != 3:
        raise ScenarioError(
            field,
            f"takes images (height, width, channels) but gets shape {shape}",
            fix="use Dense for vectors, or remove the Flatten before it",
        )
    if min(window) < 1 or min(stride) < 1:
        raise ScenarioError(field, f"window {window} or stride {stride} is not positive", fix="use 1 or more")
    if min(min(sides) for sides in padding) < 0:
        raise ScenarioError(f"{field}.padding", f"{padding} is negative", fix="use 0 or more on each side")
    rows, columns = (windows(shape[axis], window[axis], stride=stride[axis], padding=padding[axis]) for axis in (0, 1))
    if rows < 1 or columns < 1:
        raise ScenarioError(field, f"window {window} is larger than its input {shape}", fix="use a smaller window")
    return rows, columns
