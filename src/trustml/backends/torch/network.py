"""An :class:`Architecture` as a PyTorch module. Inside, images are channels-first."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from trustml.backends.contract import Model
from trustml.backends.torch.device import current_device
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.models.layers import (
    GELU,
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
    ReLU,
    Tanh,
)
from trustml.models.shapes import layer_shapes
from trustml.models.weights import Weights


class ChannelsLastFlatten(nn.Module):
    """Flatten in the order height, width, channels."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, h * w * c)."""
        return (inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs).flatten(1)


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of an image."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=epsilon)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.norm(inputs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def build_module(model: Model) -> nn.Sequential:
    """Build the module, one child a layer, and load the weights; on the chosen device."""
    shapes = layer_shapes(model.architecture, model.input_shape)
    module = nn.Sequential(
        *(_layer(layer, shape) for layer, shape in zip(model.architecture.layers, shapes, strict=False))
    )
    load_weights(module, model.weights)
    return module.to(current_device())


def load_weights(module: nn.Sequential, weights: Weights) -> None:
    """Copy canonical weights into the module."""
    with torch.no_grad():
        for name, array in weights.items():
            _parameter(module, name).copy_(torch.from_numpy(_to_torch(array, name)))


def read_weights(module: nn.Sequential, names: list[str]) -> Weights:
    """Copy the module's weights out, canonical."""
    return {name: _from_torch(_parameter(module, name).detach(), name) for name in names}


def from_torch_tensors(tensors: dict[str, Tensor]) -> Weights:
    """Turn tensors shaped like the parameters, by canonical name, into the canonical layout."""
    return {name: _from_torch(tensor.detach(), name) for name, tensor in tensors.items()}


def to_torch_tensor(array: Floats, name: str) -> Tensor:
    """Turn one canonical array into a tensor shaped like the parameter of that name, on the device."""
    return torch.from_numpy(_to_torch(array, name).copy()).to(current_device())


def rows_to_torch(weights: Weights) -> dict[str, Tensor]:
    """Turn canonical arrays behind a leading axis into tensors shaped like the parameters, behind that axis."""
    found = {}
    for name, rows in weights.items():
        if name.endswith(".kernel"):
            rows = rows.transpose(0, 4, 3, 1, 2) if rows.ndim == 5 else rows.transpose(0, 2, 1)
        found[name] = torch.from_numpy(np.array(rows, np.float32, order="C")).to(current_device())
    return found


def parameter_names(module: nn.Sequential, names: list[str]) -> dict[str, nn.Parameter]:
    """Parameters by canonical name."""
    return {name: _parameter(module, name) for name in names}


def to_input(inputs: Floats) -> Tensor:
    """Numpy examples to a tensor on the device; images become channels-first.

    In memory they stay channels-last, which is faster: a CNN's step on 32x32x3 takes two thirds on the CPU.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(inputs)).to(current_device())
    return channels_last(tensor.permute(0, 3, 1, 2)) if tensor.ndim == 4 else tensor


def channels_last(images: Tensor) -> Tensor:
    """Lay images of shape (n, c, h, w) out channels-last in memory.

    Their strides say so even where there is one channel and both layouts are the same: PyTorch goes by the strides,
    and its pooling on the CPU takes up to five times as long where they say channels-first.
    """
    examples, channels, height, width = images.shape
    return images.permute(0, 2, 3, 1).reshape(-1).view(examples, height, width, channels).permute(0, 3, 1, 2)


def to_labels(labels: LabelArray) -> Tensor:
    """Numpy labels to a tensor on the device."""
    return torch.from_numpy(np.ascontiguousarray(labels)).to(current_device())


def from_input(tensor: Tensor) -> Floats:
    """Return a tensor shaped like the input as numpy, channels-last."""
    tensor = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


class TorchNetwork:
    """See :class:`trustml.backends.contract.Network`."""

    def __init__(self, model: Model) -> None:
        self.module = build_module(model).eval()

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        with torch.no_grad():
            return self.module(to_input(inputs)).cpu().numpy()

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        tensor = to_input(inputs).requires_grad_()
        chosen = self.module(tensor).gather(1, to_labels(targets)[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, tensor)
        return from_input(gradient)


def _parameter(module: nn.Sequential, name: str) -> nn.Parameter:
    index, part = name.split(".")
    layer = module[int(index)]
    while isinstance(layer, nn.Sequential):  # padding, then the layer
        layer = layer[-1]
    if isinstance(layer, _ChannelNorm):
        layer = layer.norm
    return cast(nn.Parameter, layer.bias if part == "bias" else layer.weight)


def _to_torch(array: Floats, name: str) -> Floats:
    if name.endswith(".kernel"):
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array)


def _from_torch(tensor: Tensor, name: str) -> Floats:
    array = tensor.cpu().numpy()
    if name.endswith(".kernel"):
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return np.array(array, np.float32, order="C")


def _padded(layer: nn.Module, padding: Padding, *, value: float) -> nn.Module:
    (top, bottom), (left, right) = padding
    if not any((top, bottom, left, right)):
        return layer
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), value), layer)


def _layer(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    channels = shape[-1]
    match layer:
        case Dense():
            return nn.Linear(channels, layer.units, bias=layer.bias)
        case Conv2D():
            (top, bottom), (left, right) = layer.padding
            alike = top == bottom and left == right  # then the convolution pads by itself, without a copy
            convolution = nn.Conv2d(
                channels,
                layer.filters,
                layer.kernel,
                stride=layer.stride,
                padding=(top, left) if alike else 0,
                bias=layer.bias,
            )
            return convolution if alike else _padded(convolution, layer.padding, value=0.0)
        case MaxPool():
            return _padded(nn.MaxPool2d(layer.size, layer.stride), layer.padding, value=-torch.inf)
        case AvgPool():
            return _padded(nn.AvgPool2d(layer.size, layer.stride), layer.padding, value=0.0)
        case ReLU():
            return nn.ReLU()
        case GELU():
            return nn.GELU(approximate="none")
        case Tanh():
            return nn.Tanh()
        case Flatten():
            return ChannelsLastFlatten()
        case GroupNorm():
            return nn.GroupNorm(layer.groups, channels, eps=layer.epsilon)
        case LayerNorm():
            return (
                _ChannelNorm(channels, layer.epsilon) if len(shape) == 3 else nn.LayerNorm(channels, eps=layer.epsilon)
            )
        case Dropout():
            return nn.Dropout(layer.rate)
        case BatchNorm():
            raise NotImplementedError("BatchNorm mixes the examples of a batch")
