"""What every backend has to know of a layer: how many inputs it takes, the shape it gives, its weights."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError
from trustml.models import token_types
from trustml.models.layers import (
    GELU,
    GRU,
    LSTM,
    AdaptiveAvgPool,
    Add,
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
    LayerNorm,
    LayerSpec,
    LeakyReLU,
    MaxPool,
    Multiply,
    NativeModule,
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
from trustml.models.native import native_output, native_weights
from trustml.models.outcome import Outcome, outcome_shape
from trustml.models.recurrence import gated_start, gated_states, gated_weights
from trustml.models.resizing import adaptive_pool, constant, reordered, transposed_image, transposed_sequence
from trustml.models.token_layers import (
    Attention,
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Pick,
    Prepend,
    Reshape,
    SinusoidalPositions,
    Unembedding,
)
from trustml.models.token_types import token_start

Shape: TypeAlias = tuple[int, ...]
Floats: TypeAlias = npt.NDArray[np.float32]
_SEVERAL = (2, sys.maxsize)


def _no_weights(layer: Any, shape: Shape) -> dict[str, Shape]:
    return {}


@dataclass(frozen=True, kw_only=True)
class LayerType:
    """One type of layer.

    Attributes
    ----------
    output : callable
        From a layer, the shapes of its inputs and the field that names it to the shape of its output, without the
        axis of examples. Raises ScenarioError if it cannot take those shapes.
    weights : callable
        From a layer and the shape of its first input to the names and shapes of its weights, in canonical order.
    inputs : (int, int)
        Fewest and most that it takes.
    affine : bool
        Whether a straight way through its input is one through its output.
    start : callable, optional
        From a layer, the shapes of its weights, the name of a law and a generator to starting weights, where those of
        :func:`trustml.models.weights.initial_weights` are not for it.
    """

    output: Callable[[Any, Sequence[Shape], str], Shape]
    weights: Callable[[Any, Shape], dict[str, Shape]] = _no_weights
    inputs: tuple[int, int] = (1, 1)
    affine: bool = False
    start: Callable[[Any, Mapping[str, Shape], str, np.random.Generator], dict[str, Floats]] | None = None

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to train."""
        return self.weights is not _no_weights


def windows(length: int, window: int, *, stride: int, padding: tuple[int, int]) -> int:
    """Number of places where a window fits along one axis."""
    return (length + padding[0] + padding[1] - window) // stride + 1


def _same(layer: Any, shapes: Sequence[Shape], field: str) -> Shape:
    return shapes[0]


def _dense(layer: Dense, shapes: Sequence[Shape], field: str) -> Shape:
    _positive(layer.units, f"{field}.units")
    if len(shapes[0]) not in (1, 2):
        raise ScenarioError(field, f"Dense takes a vector but gets shape {shapes[0]}", fix="put a Flatten before it")
    return (*shapes[0][:-1], layer.units)


def _dense_weights(layer: Dense, shape: Shape) -> dict[str, Shape]:
    return _kernel_and_bias((shape[-1], layer.units), bias=layer.bias)


def _conv2d(layer: Conv2D, shapes: Sequence[Shape], field: str) -> Shape:
    _positive(layer.filters, f"{field}.filters")
    _positive(min(layer.kernel), f"{field}.kernel")
    size = covered(layer)
    rows, columns = _window_output(size, layer.stride, layer.padding, shapes[0], field)
    _check_groups(layer, shapes[0], field)
    if layer.standardised and math.prod(layer.kernel) * shapes[0][-1] == layer.groups:
        raise ScenarioError(
            f"{field}.standardised",
            "leaves nothing of a filter of one value",
            fix="set it to false, or a larger kernel",
        )
    return rows, columns, layer.filters


def _check_groups(layer: Conv2D | Conv1D, shape: Shape, field: str) -> None:
    for what, count in (("channels", shape[-1]), ("filters", layer.filters)):
        if count % layer.groups:
            raise ScenarioError(
                f"{field}.groups", f"{layer.groups} does not divide {count} {what}", fix=f"choose a divisor of {count}"
            )


def _conv2d_weights(layer: Conv2D, shape: Shape) -> dict[str, Shape]:
    return _kernel_and_bias((*layer.kernel, shape[-1] // layer.groups, layer.filters), bias=layer.bias)


def covered(layer: Conv2D) -> tuple[int, int]:
    """Rows and columns that a window reaches over, those left out by dilation included."""
    rows, columns = ((size - 1) * step + 1 for size, step in zip(layer.kernel, layer.dilation, strict=True))
    return rows, columns


def _conv1d(layer: Conv1D, shapes: Sequence[Shape], field: str) -> Shape:
    if len(shapes[0]) != 2:
        raise ScenarioError(
            field, f"Conv1D takes sequences (steps, channels) but gets shape {shapes[0]}", fix="use Conv2D or Dense"
        )
    _positive(min(layer.filters, layer.kernel, layer.stride, layer.dilation), field)
    _check_groups(layer, shapes[0], field)
    window = (layer.kernel - 1) * layer.dilation + 1
    steps = windows(shapes[0][0], window, stride=layer.stride, padding=layer.padding)
    if steps < 1:
        raise ScenarioError(field, f"window {window} is longer than its input {shapes[0]}", fix="use a smaller window")
    return steps, layer.filters


def _conv1d_weights(layer: Conv1D, shape: Shape) -> dict[str, Shape]:
    return _kernel_and_bias((layer.kernel, shape[-1] // layer.groups, layer.filters), bias=layer.bias)


def _transposed_weights(layer: ConvTranspose2D | ConvTranspose1D, shape: Shape) -> dict[str, Shape]:
    places = layer.kernel if isinstance(layer, ConvTranspose2D) else (layer.kernel,)
    kernel = {"kernel": (*places, layer.filters, shape[-1])}
    return {**kernel, "bias": (layer.filters,)} if layer.bias else kernel


def _pool(layer: MaxPool | AvgPool, shapes: Sequence[Shape], field: str) -> Shape:
    if any(max(sides) >= size for sides, size in zip(layer.padding, layer.size, strict=True)):
        raise ScenarioError(
            f"{field}.padding",
            f"{layer.padding} makes a window {layer.size} of padding alone",
            fix="pad by less than the window",
        )
    return (*_window_output(layer.size, layer.stride, layer.padding, shapes[0], field), shapes[0][-1])


def _global_pool(layer: GlobalAvgPool | GlobalMaxPool, shapes: Sequence[Shape], field: str) -> Shape:
    if len(shapes[0]) < 2:
        raise ScenarioError(
            field,
            f"{type(layer).__name__} takes images or sequences but gets shape {shapes[0]}",
            fix="remove it",
        )
    return shapes[0][-1:]


def _flatten(layer: Flatten, shapes: Sequence[Shape], field: str) -> Shape:
    return (math.prod(shapes[0]),)


def _elementwise(layer: Add | Multiply, shapes: Sequence[Shape], field: str) -> Shape:
    if len(set(shapes)) > 1:
        raise ScenarioError(
            field,
            f"{type(layer).__name__} takes inputs of one shape but gets {_listed(shapes)}",
            fix="bring them to one shape, such as by a Conv2D of kernel (1, 1) on the shorter way",
        )
    return shapes[0]


def _concatenate(layer: Concatenate, shapes: Sequence[Shape], field: str) -> Shape:
    if len({shape[:-1] for shape in shapes}) > 1:
        raise ScenarioError(
            field,
            f"Concatenate takes inputs that differ in the last axis alone but gets {_listed(shapes)}",
            fix="bring them to the same rows and columns",
        )
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


def _group_norm(layer: GroupNorm, shapes: Sequence[Shape], field: str) -> Shape:
    _positive(layer.groups, f"{field}.groups")
    channels = shapes[0][-1]
    if channels % layer.groups:
        raise ScenarioError(
            f"{field}.groups",
            f"{layer.groups} does not divide {channels} channels",
            fix=f"choose a divisor of {channels}",
        )
    return shapes[0]


def _norm_weights(layer: GroupNorm | LayerNorm, shape: Shape) -> dict[str, Shape]:
    return {"scale": shape[-1:], "bias": shape[-1:]}


def _scale(layer: RMSNorm, shape: Shape) -> dict[str, Shape]:
    return {"scale": shape[-1:]}


def _dropout(layer: Dropout, shapes: Sequence[Shape], field: str) -> Shape:
    if not 0 <= layer.rate < 1:
        raise ScenarioError(f"{field}.rate", f"{layer.rate} is no probability below 1", fix="0 <= rate < 1")
    return shapes[0]


def _batch_norm(layer: BatchNorm, shapes: Sequence[Shape], field: str) -> Shape:
    raise ScenarioError(
        field,
        "BatchNorm mixes the examples of a batch, so no example has a gradient of its own",
        fix="use GroupNorm(groups=...), which normalises within one example",
    )


TOKENS = (Embedding, FeatureTokens, LearnedPositions, Prepend)
"""Layers of tokens that have weights of their own."""
WITHOUT_EXPANDED_WEIGHTS = (Conv1D, Conv2D, ConvTranspose1D, ConvTranspose2D, GRU, LSTM, RMSNorm, *TOKENS)
"""Layers that PyTorch 2.13's expanded weights fail on: the gradients of convolutions are viewed as if they were
channels-first whatever their layout, which shows at some batch sizes, and recurrent layers, RMSNorm and our layers of
tokens have no rule."""
WHY_NO_EXPANDED_WEIGHTS = (
    "fails on convolutions at some batch sizes, and on recurrent layers, RMSNorm and layers of tokens"
)
WITHOUT_FUNCTORCH = (GRU, LSTM)
"""Layers of PyTorch 2.13 that ``vmap`` cannot vectorise."""

LAYER_TYPES: Mapping[type[LayerSpec], LayerType] = {
    Dense: LayerType(output=_dense, weights=_dense_weights, affine=True),
    Conv2D: LayerType(output=_conv2d, weights=_conv2d_weights, affine=True),
    Conv1D: LayerType(output=_conv1d, weights=_conv1d_weights, affine=True),
    ConvTranspose2D: LayerType(output=transposed_image, weights=_transposed_weights, affine=True),
    ConvTranspose1D: LayerType(output=transposed_sequence, weights=_transposed_weights, affine=True),
    GRU: LayerType(output=gated_states, weights=gated_weights, start=gated_start),
    LSTM: LayerType(output=gated_states, weights=gated_weights, start=gated_start),
    MaxPool: LayerType(output=_pool),
    AvgPool: LayerType(output=_pool, affine=True),
    AdaptiveAvgPool: LayerType(output=adaptive_pool, affine=True),
    GlobalAvgPool: LayerType(output=_global_pool, affine=True),
    GlobalMaxPool: LayerType(output=_global_pool),
    **dict.fromkeys((ReLU, LeakyReLU, GELU, SiLU, Softplus, Tanh, Sigmoid), LayerType(output=_same)),
    Flatten: LayerType(output=_flatten, affine=True),
    Scale: LayerType(output=constant, affine=True),
    Transpose: LayerType(output=reordered, affine=True),
    Add: LayerType(output=_elementwise, inputs=_SEVERAL, affine=True),
    Multiply: LayerType(output=_elementwise, inputs=_SEVERAL),
    Concatenate: LayerType(output=_concatenate, inputs=_SEVERAL, affine=True),
    GroupNorm: LayerType(output=_group_norm, weights=_norm_weights),
    LayerNorm: LayerType(output=_same, weights=_norm_weights),
    RMSNorm: LayerType(output=_same, weights=_scale),
    Dropout: LayerType(output=_dropout, affine=True),  # does nothing to a trained network
    BatchNorm: LayerType(output=_batch_norm),
    Embedding: LayerType(output=token_types.embedding, weights=token_types.embedding_weights, start=token_start),
    Mask: LayerType(output=token_types.mask),
    FeatureTokens: LayerType(
        output=token_types.feature_tokens,
        weights=token_types.feature_token_weights,
        affine=True,
        start=token_start,
    ),
    LearnedPositions: LayerType(
        output=token_types.positions, weights=token_types.position_weights, affine=True, start=token_start
    ),
    SinusoidalPositions: LayerType(output=token_types.positions, affine=True),
    Prepend: LayerType(output=token_types.prepend, weights=token_types.prepend_weights, affine=True, start=token_start),
    Attention: LayerType(output=token_types.attention, inputs=(3, 4)),
    MaskedMean: LayerType(output=token_types.masked_mean, inputs=(2, 2)),
    Pick: LayerType(output=token_types.pick, affine=True),
    Reshape: LayerType(output=token_types.reshape, affine=True),
    Unembedding: LayerType(output=token_types.unembedding, affine=True),
    Outcome: LayerType(output=outcome_shape),
    NativeModule: LayerType(output=native_output, weights=native_weights),
}


def _kernel_and_bias(kernel: Shape, *, bias: bool) -> dict[str, Shape]:
    return {"kernel": kernel, "bias": kernel[-1:]} if bias else {"kernel": kernel}


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(str, shapes))


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
