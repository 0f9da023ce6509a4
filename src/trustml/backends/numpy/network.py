"""Every layer as plain loops over windows and groups, in float64. Nothing here is fast or clever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import erf
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Model
from trustml.backends.numpy.tokens import token_layer
from trustml.models.layer_types import covered
from trustml.models.layers import (
    GELU,
    GRU,
    INPUT,
    LSTM,
    STANDARDISATION_EPSILON,
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
    Layer,
    LayerNorm,
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
from trustml.models.outcome import Outcome
from trustml.models.shapes import node_of
from trustml.models.token_layers import (
    Unembedding,
)

Doubles = npt.NDArray[np.float64]


def logits(model: Model, inputs: npt.NDArray[Any]) -> Doubles:
    """Logits of shape (n, c), float64."""
    return np.stack([_one(model, example.astype(np.float64)) for example in inputs])


def input_gradient(model: Model, example: npt.NDArray[Any], target: int, *, step: float = 1e-6) -> Doubles:
    """Gradient of one logit with respect to one input, by central differences."""
    point = example.astype(np.float64)
    gradient = np.zeros_like(point)
    for place in np.ndindex(point.shape):
        ends = []
        for sign in (1, -1):
            moved = point.copy()
            moved[place] += sign * step
            ends.append(_one(model, moved)[target])
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def _one(model: Model, example: Doubles) -> Doubles:
    values, result = {INPUT: example}, example
    for node in model.architecture.nodes:
        owner = node.layer.of if isinstance(node.layer, Unembedding) else node.name
        weights = {
            name.rpartition(".")[2]: array.astype(np.float64)
            for name, array in model.weights.items()
            if node_of(name) == owner
        }
        result = values[node.name] = _layer(node.layer, [values[name] for name in node.inputs], weights)
    return result


def _layer(layer: Layer, inputs: list[Doubles], weights: dict[str, Doubles]) -> Doubles:
    values = inputs[0]
    match layer:
        case NativeModule():
            raise NotImplementedError(f"the network is code of its own ({layer.module}), which is not run here")
        case Add():
            return np.sum(inputs, axis=0)
        case Multiply():
            return np.prod(inputs, axis=0)
        case Concatenate():
            return np.concatenate(inputs, axis=-1)
        case Dense():
            return values @ weights["kernel"] + weights.get("bias", 0.0)
        case Conv2D():
            return _convolution(layer, values, weights["kernel"]) + weights.get("bias", 0.0)
        case Conv1D():
            padded = np.pad(values, (layer.padding, (0, 0)))
            starts = range(0, len(padded) - (layer.kernel - 1) * layer.dilation, layer.stride)
            places = np.arange(layer.kernel) * layer.dilation
            parts = [
                np.array([np.tensordot(own[start + places], kernel, axes=2) for start in starts])
                for own, kernel in _groups(layer, padded, weights["kernel"])
            ]
            return np.concatenate(parts, axis=-1) + weights.get("bias", 0.0)
        case ConvTranspose2D():
            return _transposed(values, weights["kernel"], layer.stride, layer.padding) + weights.get("bias", 0.0)
        case ConvTranspose1D():
            kernel = weights["kernel"][:, None]
            found = _transposed(values[:, None], kernel, (layer.stride, 1), (layer.padding, (0, 0)))
            return found[:, 0] + weights.get("bias", 0.0)
        case GRU() | LSTM():
            return _recurrent(layer, values, **weights)
        case MaxPool():
            return _windows(values, layer.size, layer, -np.inf, lambda window: window.max(axis=(0, 1)))
        case AvgPool():
            return _windows(values, layer.size, layer, 0.0, lambda window: window.mean(axis=(0, 1)))
        case ReLU() | GELU() | LeakyReLU() | SiLU() | Softplus() | Tanh() | Sigmoid():
            return _activation(layer, values)
        case GlobalAvgPool():
            return values.mean(axis=tuple(range(values.ndim - 1)))
        case GlobalMaxPool():
            return values.max(axis=tuple(range(values.ndim - 1)))
        case AdaptiveAvgPool():
            return _adaptive(layer, values)
        case Outcome():
            return _outcome(layer, values)
        case Flatten():
            return values.ravel()
        case Scale():
            return values * layer.value
        case Transpose():
            return values.transpose(layer.axes)
        case GroupNorm():
            size = values.shape[-1] // layer.groups
            parts = [
                _normal(values[..., group * size : (group + 1) * size], layer.epsilon) for group in range(layer.groups)
            ]
            return np.concatenate(parts, axis=-1) * weights["scale"] + weights["bias"]
        case LayerNorm():
            normal = np.apply_along_axis(_normal, -1, values, layer.epsilon)
            return normal * weights["scale"] + weights["bias"]
        case RMSNorm():
            size = np.sqrt(np.mean(values**2, axis=-1, keepdims=True) + layer.epsilon)
            return values / size * weights["scale"]
        case Dropout():
            return values
        case BatchNorm():
            raise NotImplementedError("BatchNorm mixes the examples of a batch")
        case _:
            return token_layer(layer, inputs, weights)


def _outcome(layer: Outcome, values: Doubles) -> Doubles:
    if not layer.exclusive:
        shares = np.stack([1 / (1 + np.exp(values)), 1 / (1 + np.exp(-values))])
        return shares[1] if layer.quantity == "probability" else -np.log(shares[:, 0])
    shares = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
    return shares if layer.quantity == "probability" else -np.log(shares)


def _activation(layer: Layer, values: Doubles) -> Doubles:
    match layer:
        case ReLU():
            return np.maximum(values, 0.0)
        case GELU():
            return np.array([v * 0.5 * (1 + erf(v / 2**0.5)) for v in values.ravel()]).reshape(values.shape)
        case LeakyReLU():
            return np.where(values > 0, values, layer.slope * values)
        case SiLU():
            return values / (1 + np.exp(-values))
        case Softplus():
            return np.logaddexp(0, values)
        case Sigmoid():
            return _sigmoid(values)
        case Tanh():
            return np.tanh(values)
        case _:
            raise NotImplementedError(f"{type(layer).__name__} is no activation")


def _convolution(layer: Conv2D, values: Doubles, kernel: Doubles) -> Doubles:
    """Each filter sees the channels of its own group."""
    if layer.standardised:
        spread = kernel - kernel.mean(axis=(0, 1, 2))
        kernel = spread / np.sqrt((spread**2).sum(axis=(0, 1, 2)) + STANDARDISATION_EPSILON)
    down, across = layer.dilation
    parts = []
    for own, filters in _groups(layer, values, kernel):
        parts.append(
            _windows(own, covered(layer), layer, 0.0, lambda w, f=filters: np.tensordot(w[::down, ::across], f, axes=3))
        )
    return np.concatenate(parts, axis=-1)


def _groups(layer: Conv2D | Conv1D, values: Doubles, kernel: Doubles) -> Iterator[tuple[Doubles, Doubles]]:
    """Channels of each group, and the filters that see them."""
    return zip(np.split(values, layer.groups, axis=-1), np.split(kernel, layer.groups, axis=-1), strict=True)


def _transposed(values: Doubles, kernel: Doubles, stride: tuple[int, int], padding: Padding) -> Doubles:
    """Each value lays its kernel (height, width, out, in) down."""
    rows, columns = ((values.shape[axis] - 1) * stride[axis] + kernel.shape[axis] for axis in (0, 1))
    found = np.zeros((rows, columns, kernel.shape[2]))
    for row, column in np.ndindex(values.shape[:2]):
        top, left = row * stride[0], column * stride[1]
        found[top : top + kernel.shape[0], left : left + kernel.shape[1]] += kernel @ values[row, column]
    (top, bottom), (left, right) = padding
    return found[top : rows - bottom, left : columns - right]


def _adaptive(layer: AdaptiveAvgPool, values: Doubles) -> Doubles:
    for axis, size in enumerate(layer.size):
        length = values.shape[axis]
        bins = [range(math.floor(i * length / size), math.ceil((i + 1) * length / size)) for i in range(size)]
        values = np.stack([values.take(list(places), axis=axis).mean(axis=axis) for places in bins], axis=axis)
    return values


def _recurrent(
    layer: GRU | LSTM,
    values: Doubles,
    kernel: Doubles,
    recurrent_kernel: Doubles,
    bias: Doubles,
    recurrent_bias: Doubles,
) -> Doubles:
    """State after each step."""
    state, cell, states = np.zeros(layer.units), np.zeros(layer.units), []
    for step in values:
        own, before = step @ kernel + bias, state @ recurrent_kernel + recurrent_bias
        if isinstance(layer, GRU):
            a, b = np.split(own, 3), np.split(before, 3)
            reset, update = _sigmoid(a[0] + b[0]), _sigmoid(a[1] + b[1])
            state = (1 - update) * np.tanh(a[2] + reset * b[2]) + update * state
        else:
            enter, forget, new, leave = np.split(own + before, 4)
            cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
            state = _sigmoid(leave) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def _sigmoid(values: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-values))


def _windows(values: Doubles, size: tuple[int, int], layer: Any, filling: float, reduce: Any) -> Doubles:
    """Apply `reduce` to every window (height, width, channels) of a padded image."""
    padded = np.pad(values, (*layer.padding, (0, 0)), constant_values=filling)
    rows = range(0, padded.shape[0] - size[0] + 1, layer.stride[0])
    columns = range(0, padded.shape[1] - size[1] + 1, layer.stride[1])
    return np.array([[reduce(padded[top : top + size[0], left : left + size[1]]) for left in columns] for top in rows])


def _normal(values: Doubles, epsilon: float) -> Doubles:
    return (values - values.mean()) / np.sqrt(values.var() + epsilon)
