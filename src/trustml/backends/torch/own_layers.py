"""Modules that PyTorch lacks: a graph of others, ways to meet in it, and layers between two orders of axes."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trustml.models.layers import INPUT, STANDARDISATION_EPSILON, Node
from trustml.models.token_path import PatchGrid


def lay_out_group_norms(module: nn.Module) -> None:
    """Give each GroupNorm of a network its images channels-first, as which they then go on.

    On a processor PyTorch 2.13's takes four times as long where they are channels-last, more than convolutions gain by
    it. And its gradient by its weights alone, that of the first layer that is trained, ends the process there.
    """
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(_channels_first)


def _channels_first(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(part.contiguous() for part in inputs)


class ChannelsLastFlatten(nn.Module):
    """Flatten in the order height, width, channels."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, h * w * c)."""
        return (inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs).flatten(1)


class Rearranged(nn.Module):
    """A layer that has its channels elsewhere than what is around it.

    Parameters
    ----------
    inner : Module
    order, back : tuple of int
        Axes of what goes in as the layer takes them, and of what comes out as it was.
    """

    def __init__(self, inner: nn.Module, order: tuple[int, ...], back: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self._order, self._back = inner, order, back

    def forward(self, inputs: Tensor) -> Tensor:
        """Axes as they come."""
        return self.inner(inputs.permute(self._order)).permute(self._back)


class LaidOut(nn.Module):
    """A layer whose tokens of patches go through a module of their own as images (n, channels, rows, columns).

    Parameters
    ----------
    inner : Module
        Gives (n, steps, channels).
    grid : PatchGrid
    """

    def __init__(self, inner: nn.Module, grid: PatchGrid) -> None:
        super().__init__()
        self.inner, self.places, self._grid = inner, nn.Identity(), grid

    def forward(self, inputs: Tensor) -> Tensor:
        """As the layer gives it."""
        steps: Tensor = self.inner(inputs)
        image = steps[:, self._grid.first :].transpose(1, 2).unflatten(2, (self._grid.rows, self._grid.columns))
        back = self.places(image.contiguous()).flatten(2).transpose(1, 2)
        return torch.cat([steps[:, : self._grid.first], back], dim=1)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters have mean zero and length one."""

    def forward(self, inputs: Tensor) -> Tensor:
        """As the parent's."""
        spread = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        length = (spread.square().sum(dim=(1, 2, 3), keepdim=True) + STANDARDISATION_EPSILON).sqrt()
        return self._conv_forward(inputs, spread / length, self.bias)


class Sum(nn.Module):
    """Add inputs of one shape."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Shape of one of them."""
        return functools.reduce(torch.add, inputs)


class Product(nn.Module):
    """Multiply inputs of one shape, element by element."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Shape of one of them."""
        return functools.reduce(torch.mul, inputs)


class ChannelConcatenation(nn.Module):
    """Put inputs side by side along their channels or features."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Images are channels-first, all else has its features last."""
        return torch.cat(inputs, dim=1 if inputs[0].ndim == 4 else -1)


class LossOfEach(nn.Module):
    """Cross-entropy of each label that an example could have, from logits of classes or from log-odds of the second.

    Parameters
    ----------
    exclusive : bool
        Whether there is a logit for each class.
    """

    def __init__(self, exclusive: bool) -> None:
        super().__init__()
        self._exclusive = exclusive

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, labels)."""
        if self._exclusive:
            return -inputs.log_softmax(dim=1)
        return nn.functional.softplus(torch.cat([inputs, -inputs], dim=1), threshold=30.0)


class GlobalMean(nn.Module):
    """Mean of each channel over all places."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, c)."""
        return inputs.mean(dim=(2, 3)) if inputs.ndim == 4 else inputs.mean(dim=1)


class Thinning(nn.Module):
    """Keep every so manieth row and column: what a convolution of kernel (1, 1) with a stride looks at.

    Its gradients by oneDNN 3.12, in PyTorch 2.13.0 on CPUs, write beyond their memory where images are channels-last
    and have few channels.
    """

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (n, c, h, w) to smaller ones."""
        return inputs[:, :, :: self.stride[0], :: self.stride[1]]


class GraphModule(nn.Module):
    """Nodes that take each other's outputs, one child each.

    Parameters
    ----------
    nodes : sequence of Node
    layers : sequence of Module
        Of each node.
    entry : str
        Name of what is given to it.
    apart : bool
        Whether each of several nodes that take one value gets a copy of its own: hooks of Captum on what a module takes
        see the gradient of all its uses.
    """

    def __init__(
        self, nodes: Sequence[Node], layers: Sequence[nn.Module], *, entry: str = INPUT, apart: bool = False
    ) -> None:
        super().__init__()
        self._apart = apart
        self.nodes, self.entry = tuple(nodes), entry
        for node, layer in zip(nodes, layers, strict=True):
            self.add_module(child_name(node.name), layer)
        last = {name: index for index, node in enumerate(nodes) for name in node.inputs}
        done = [tuple(name for name, use in last.items() if use == index) for index in range(len(nodes))]
        self._steps = [(node.name, node.inputs, over) for node, over in zip(nodes, done, strict=True)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Output of the last node; a value is let go of after its last use."""
        values, result = {self.entry: inputs}, inputs
        for layer, (name, sources, done) in zip(self.children(), self._steps, strict=True):
            given = [values[source].clone() if self._apart else values[source] for source in sources]
            result = values[name] = layer(*given)
            for value in done:
                del values[value]
        return result


def child_name(node: str) -> str:
    """Name of a node's module: without dots, which PyTorch does not allow, and never that of an attribute (half)."""
    return node if node.isdigit() else f"/{node.replace('.', '/')}"
