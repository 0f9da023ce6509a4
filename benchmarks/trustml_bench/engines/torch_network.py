"""Our networks in PyTorch as its users write them: padding in the convolution, channels first, ``nn.Flatten``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from trustml.backends.contract import Model
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.models.layers import Conv2D, Dense, Flatten, Layer, MaxPool, ReLU
from trustml.models.shapes import layer_shapes
from trustml.models.weights import Weights
from trustml_bench.engine import device
from trustml_bench.engines.layered_torch import layered_module
from trustml_bench.layered import LAYERED
from trustml_bench.workloads import Workload, make_batch, make_model


def start(workload: Workload) -> nn.Sequential:
    """Build the workload's network with its starting weights, on the device of this process."""
    layered = workload.network in LAYERED
    return (layered_module(workload.network) if layered else build(make_model(workload))).to(device())


def weights_of(module: nn.Sequential, workload: Workload) -> Weights:
    """Read the weights of what :func:`start` made; canonical, where trustml's layers can say the network."""
    if workload.network in LAYERED:
        return {name: value.cpu().numpy() for name, value in module.state_dict().items()}
    return canonical(module, make_model(workload))


def settle() -> None:
    """Wait until the device has done what it was given."""
    if device() == "cuda":
        torch.cuda.synchronize()


def build(model: Model) -> nn.Sequential:
    """Build the module, one child a layer, with the model's weights.

    Raises
    ------
    NotImplementedError
        If a layer is not one of the benchmark's networks.
    """
    shapes = layer_shapes(model.architecture, model.input_shape)
    nodes = model.architecture.nodes
    module = nn.Sequential(*(_layer(node.layer, shape) for node, shape in zip(nodes, shapes, strict=False)))
    orders = _orders(model)
    with torch.no_grad():
        for name, array in model.weights.items():
            index, part = name.split(".")
            if part == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array[orders.get(index, slice(None))].T
            _parameter(module, name).copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return module


def canonical(module: nn.Sequential, model: Model) -> Weights:
    """Read the weights of what :func:`build` made of `model`, canonical."""
    orders, found = _orders(model), {}
    for name, array in model.weights.items():
        index, part = name.split(".")
        values = _parameter(module, name).detach().cpu().numpy()
        if part == "kernel" and values.ndim == 4:
            values = values.transpose(2, 3, 1, 0)
        elif part == "kernel":
            rows = np.empty(array.shape, np.float32)
            rows[orders.get(index, slice(None))] = values.T
            values = rows
        found[name] = np.array(values, np.float32, order="C")
    return found


def batch(workload: Workload) -> tuple[Tensor, Tensor]:
    """Inputs, images channels-first, and labels, as tensors."""
    inputs, labels = make_batch(workload)
    if workload.network in LAYERED:  # channels-first already
        return torch.from_numpy(inputs).to(device()), torch.from_numpy(labels).to(device())
    return tensors(inputs, labels)


def tensors(inputs: Floats, labels: LabelArray) -> tuple[Tensor, Tensor]:
    """Turn a batch in numpy to tensors, images channels-first.

    Copied even where a single channel lets numpy call the view contiguous: PyTorch would take its strides for
    channels-last, lay out all that follows so, and Opacus 1.6.0 would then get convolutions wrong.
    """
    given = inputs.transpose(0, 3, 1, 2) if inputs.ndim == 4 else inputs
    return torch.from_numpy(np.array(given, order="C")).to(device()), torch.from_numpy(labels).to(device())


def like_input(tensor: Tensor) -> Floats:
    """Turn a tensor shaped like the inputs to numpy, channels-last."""
    array = tensor.detach().cpu().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


def _orders(model: Model) -> dict[str, Ints]:
    """Rows of the kernel behind a flattened image, in the order in which channels-first flattening has them."""
    layers = model.architecture.layers
    shapes = layer_shapes(model.architecture, model.input_shape)
    found = {}
    for index, (layer, shape) in enumerate(zip(layers, shapes, strict=False)):
        if isinstance(layer, Flatten) and len(shape) == 3:
            behind = next(number for number in range(index, len(layers)) if isinstance(layers[number], Dense))
            found[str(behind)] = np.arange(np.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
    return found


def _parameter(module: nn.Sequential, name: str) -> nn.Parameter:
    index, part = name.split(".")
    return getattr(module[int(index)], "weight" if part == "kernel" else part)


def _layer(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    match layer:
        case Dense():
            return nn.Linear(shape[-1], layer.units, bias=layer.bias)
        case Conv2D(padding=((top, bottom), (left, right))) if top == bottom and left == right:
            return nn.Conv2d(
                shape[-1], layer.filters, layer.kernel, stride=layer.stride, padding=(top, left), bias=layer.bias
            )
        case MaxPool(padding=((0, 0), (0, 0))):
            return nn.MaxPool2d(layer.size, layer.stride)
        case ReLU():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()
        case _:
            raise NotImplementedError(f"{layer}: no layer of the benchmark's networks")
