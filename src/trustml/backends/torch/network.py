"""An :class:`Architecture` as a PyTorch module. Inside, images are channels-first; sequences (steps, channels) stay."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from trustml.backends.contract import Model
from trustml.backends.torch.device import current_device
from trustml.backends.torch.native import own_module, own_part
from trustml.backends.torch.own_layers import (
    ChannelConcatenation,
    ChannelsLastFlatten,
    GlobalMean,
    GraphModule,
    LossOfEach,
    Product,
    Rearranged,
    StandardisedConv2d,
    Sum,
    Thinning,
    child_name,
    lay_out_group_norms,
)
from trustml.backends.torch.recurrent import PARAMETERS, StepsGRU, StepsLSTM
from trustml.backends.torch.resizing import (
    AdaptiveMean,
    CroppedTranspose1d,
    CroppedTranspose2d,
    GlobalMax,
    Scaled,
    Transposed,
)
from trustml.backends.torch.tokens import tie, token_module
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.models.graph import is_chain
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
from trustml.models.shapes import value_shapes
from trustml.models.token_layers import (
    Unembedding,
)
from trustml.models.weights import Weights

_CHANNELS_LAST = (0, 2, 3, 1), (0, 3, 1, 2)
_STEPS_LAST = (0, 2, 1), (0, 2, 1)
"""Axes of images and of sequences on the way into a :class:`Rearranged` layer, and out of it."""
_KERNELS = (".kernel", ".recurrent_kernel")
"""Ends of the names of weights whose last two axes come first in PyTorch."""


def node_module(module: nn.Module, index: int) -> nn.Module:
    """Module of the node with this number."""
    return list(module.children())[index]


def split_module(module: nn.Module, bend: int) -> tuple[nn.Module, nn.Module]:
    """Give the nodes before number `bend`, which are a chain that nothing else takes from, and those from there on."""
    if isinstance(module, nn.Sequential):
        return module[:bend], module[bend:]
    assert isinstance(module, GraphModule)
    layers = list(module.children())
    entry = module.nodes[bend - 1].name if bend else module.entry
    return nn.Sequential(*layers[:bend]), GraphModule(module.nodes[bend:], layers[bend:], entry=entry)


def build_module(model: Model) -> nn.Module:
    """Build the module, one child a node, and load the weights; on the chosen device. A chain is a Sequential."""
    shapes = value_shapes(model.architecture, model.input_shape)
    nodes = model.architecture.nodes
    layers = [_layer(node.layer, [shapes[name] for name in node.inputs]) for node in nodes]
    for node, layer in zip(nodes, layers, strict=True):
        if isinstance(node.layer, Unembedding):
            tie(layer, layers[[one.name for one in nodes].index(node.layer.of)])
    module: nn.Module
    if is_chain(model.architecture):
        names = [child_name(node.name) for node in nodes]
        module = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
    else:
        module = GraphModule(nodes, layers)
    load_weights(module, model.weights)
    return module.to(current_device())


def load_weights(module: nn.Module, weights: Weights) -> None:
    """Copy canonical weights into the module."""
    with torch.no_grad():
        for name, array in weights.items():
            _parameter(module, name).copy_(torch.from_numpy(_to_torch(array, name)))


def read_weights(module: nn.Module, names: list[str]) -> Weights:
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
        if name.endswith(_KERNELS):
            rows = np.moveaxis(rows, (-1, -2), (1, 2))
        found[name] = torch.from_numpy(np.array(rows, np.float32, order="C")).to(current_device())
    return found


def parameter_names(module: nn.Module, names: list[str]) -> dict[str, nn.Parameter]:
    """Parameters by canonical name."""
    return {name: _parameter(module, name) for name in names}


def trained_parameters(module: nn.Module, model: Model) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by canonical name; the others are told to ask for no gradient."""
    for frozen in parameter_names(module, list(model.frozen)).values():
        frozen.requires_grad_(False)
    return parameter_names(module, list(model.trained))


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
        return from_input(target_gradients(self.module, to_input(inputs), targets))


def target_gradients(module: nn.Module, tensor: Tensor, targets: Ints) -> Tensor:
    """Gradient of each example's target logit with respect to that example's input."""
    tensor = tensor.requires_grad_()
    chosen = module(tensor).gather(1, to_labels(targets)[:, None]).sum()
    # of token ids there is none: what is looked up does not change between them
    (gradient,) = torch.autograd.grad(chosen, tensor, allow_unused=True, materialize_grads=True)
    return gradient


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    if (own := own_part(module)) is not None:
        return own.get_parameter(name)
    node, _, part = name.rpartition(".")
    layer = module.get_submodule(child_name(node))
    while isinstance(layer, nn.Sequential | Rearranged):  # padding, then the layer
        layer = layer.inner if isinstance(layer, Rearranged) else layer[-1]
    if isinstance(layer, nn.RNNBase):
        return cast(nn.Parameter, getattr(layer, PARAMETERS[part]))
    return cast(nn.Parameter, layer.bias if part == "bias" else layer.weight)


def _to_torch(array: Floats, name: str) -> Floats:
    if name.endswith(_KERNELS):
        array = np.moveaxis(array, (-1, -2), (0, 1))
    return np.ascontiguousarray(array)


def _from_torch(tensor: Tensor, name: str) -> Floats:
    array = tensor.cpu().numpy()
    if name.endswith(_KERNELS):
        array = np.moveaxis(array, (0, 1), (-1, -2))
    return np.array(array, np.float32, order="C")


def _padded(layer: nn.Module, padding: Padding, *, value: float) -> nn.Module:
    (top, bottom), (left, right) = padding
    if not any((top, bottom, left, right)):
        return layer
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), value), layer)


def _convolution(layer: Conv2D, channels: int) -> nn.Module:
    (top, bottom), (left, right) = layer.padding
    alike = top == bottom and left == right  # then the convolution pads by itself, without a copy
    thinned = layer.kernel == (1, 1) and layer.stride != (1, 1)
    convolution = (StandardisedConv2d if layer.standardised else nn.Conv2d)(
        channels,
        layer.filters,
        layer.kernel,
        stride=1 if thinned else layer.stride,
        padding=(top, left) if alike and not thinned else 0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )
    if thinned:
        return _padded(nn.Sequential(Thinning(layer.stride), convolution), layer.padding, value=0.0)
    return convolution if alike else _padded(convolution, layer.padding, value=0.0)


def _sequence_convolution(layer: Conv1D, channels: int) -> nn.Module:
    convolution: nn.Module = nn.Conv1d(
        channels,
        layer.filters,
        layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )
    if any(layer.padding):
        convolution = nn.Sequential(nn.ConstantPad1d(layer.padding, 0.0), convolution)
    return Rearranged(convolution, *_STEPS_LAST)


def _transposed(layer: ConvTranspose2D | ConvTranspose1D, channels: int) -> nn.Module:
    if isinstance(layer, ConvTranspose2D):
        return CroppedTranspose2d(
            channels, layer.filters, layer.kernel, stride=layer.stride, padding=layer.padding, bias=layer.bias
        )
    longer = CroppedTranspose1d(
        channels, layer.filters, layer.kernel, stride=layer.stride, padding=layer.padding, bias=layer.bias
    )
    return Rearranged(longer, *_STEPS_LAST)


def _group_norm(layer: GroupNorm, shape: tuple[int, ...]) -> nn.Module:
    norm = nn.GroupNorm(layer.groups, shape[-1], eps=layer.epsilon)
    lay_out_group_norms(norm)
    return Rearranged(norm, *_STEPS_LAST) if len(shape) == 2 else norm


def _layer(layer: Layer, shapes: list[tuple[int, ...]]) -> nn.Module:
    shape, channels = shapes[0], shapes[0][-1]
    match layer:
        case Dense():
            return nn.Linear(channels, layer.units, bias=layer.bias)
        case Conv2D():
            return _convolution(layer, channels)
        case Conv1D():
            return _sequence_convolution(layer, channels)
        case ConvTranspose2D() | ConvTranspose1D():
            return _transposed(layer, channels)
        case GRU():
            return StepsGRU(channels, layer.units)
        case LSTM():
            return StepsLSTM(channels, layer.units)
        case MaxPool():
            return _padded(nn.MaxPool2d(layer.size, layer.stride), layer.padding, value=-torch.inf)
        case AvgPool():
            return _padded(nn.AvgPool2d(layer.size, layer.stride), layer.padding, value=0.0)
        case GlobalAvgPool():
            return GlobalMean()
        case GlobalMaxPool():
            return GlobalMax()
        case AdaptiveAvgPool():
            return AdaptiveMean(shape, layer.size)
        case ReLU():
            return nn.ReLU()
        case LeakyReLU():
            return nn.LeakyReLU(layer.slope)
        case GELU():
            return nn.GELU(approximate="none")
        case SiLU():
            return nn.SiLU()
        case Softplus():
            return nn.Softplus(threshold=30.0)  # where float32 no longer tells it from the identity; PyTorch's is 20
        case Tanh():
            return nn.Tanh()
        case Outcome(quantity="probability"):
            return nn.Softmax(dim=1) if layer.exclusive else nn.Sigmoid()
        case Outcome():
            return LossOfEach(layer.exclusive)
        case Sigmoid():
            return nn.Sigmoid()
        case Add():
            return Sum()
        case Multiply():
            return Product()
        case Concatenate():
            return ChannelConcatenation()
        case Flatten():
            return ChannelsLastFlatten()
        case Scale():
            return Scaled(layer.value)
        case Transpose():
            return Transposed(layer.axes)
        case GroupNorm():
            return _group_norm(layer, shape)
        case LayerNorm() | RMSNorm():
            kind = nn.LayerNorm if isinstance(layer, LayerNorm) else nn.RMSNorm
            normal = kind(channels, eps=layer.epsilon)
            return Rearranged(normal, *_CHANNELS_LAST) if len(shape) == 3 else normal
        case Dropout():
            return nn.Dropout(layer.rate)
        case NativeModule():
            return own_module(layer, shape)
        case BatchNorm():
            raise NotImplementedError("BatchNorm mixes the examples of a batch")
        case _:
            return token_module(layer, shapes)
