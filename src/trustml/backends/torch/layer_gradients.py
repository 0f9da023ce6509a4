"""Norms and weighted sums of one layer's per-example gradients, from what went into it and what came back.

A dense layer or a convolution computes ``z = W a`` at each position (a dense layer has one position, a convolution
one for each patch). With ``g`` the gradient of the loss by ``z``, an example's gradient is the sum of ``g a^T`` over
its positions. At one position its norm is ``|a| |g|`` (Goodfellow, 2015, arXiv 1510.01799). At several it comes from
the products of positions among each other (Li et al., ICLR 2022), or from the gradient itself where that costs less.
The sum over the examples, each with its scale ``c``, is one product of ``c g`` and ``a`` (Bu et al., ICML 2023, arXiv
2210.00038).
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

Covered: TypeAlias = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
"""Layers whose per-example gradients are known here."""

_ROUNDING = 2.0**-22
"""Relative error of float32 products, generously: it is added, so that cancellation makes no norm too short."""


_IMAGES_AT_ONCE = 32
"""Images whose patches are gathered at once, so that they stay in the processor's cache."""


class LayerGradients(Protocol):
    """Per-example gradients of a layer's weight and, if it has one, its bias, in that order."""

    def square_norms(self) -> list[Tensor]:
        """Squared L2 norms: one tensor of shape (n,) for each parameter."""
        ...

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        """Sums over the examples of scale times gradient, shaped like the parameters.

        `scales` holds one tensor of shape (n,) for each parameter.
        """
        ...


def layer_gradients(layer: Covered, inputs: Tensor, outputs: Tensor, *, copies: int) -> LayerGradients:
    """Gradients of one layer for each example.

    Parameters
    ----------
    layer : Linear, Conv2d, GroupNorm or LayerNorm
    inputs : Tensor of shape (n * copies, *)
        What went in; the copies of an example are side by side.
    outputs : Tensor of shape (n * copies, *)
        Gradient of the loss by what came out.
    copies : int
        Rows that make one example, whose gradient is the sum of theirs.
    """
    if isinstance(layer, nn.Linear):
        return _Dense(layer, inputs, outputs, copies)
    if isinstance(layer, nn.Conv2d):
        return _Convolution(layer, inputs, outputs, copies)
    return _Norm(layer, inputs, outputs, copies)


class _Dense:
    """A dense layer on (rows, in); the copies of an example are its positions."""

    def __init__(self, layer: nn.Linear, inputs: Tensor, outputs: Tensor, copies: int) -> None:
        self._inputs, self._outputs, self._copies = inputs, outputs, copies
        self._bias = layer.bias is not None

    def square_norms(self) -> list[Tensor]:
        if self._copies == 1:
            outer = _squares(self._outputs)
            found = [_squares(self._inputs) * outer]
            return [*found, outer] if self._bias else found
        a, g = (part.unflatten(0, (-1, self._copies)) for part in (self._inputs, self._outputs))
        found = [_gram_square_norms(a.transpose(1, 2), g.transpose(1, 2))]
        return [*found, _squares(g.sum(dim=1))] if self._bias else found

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        weight, *bias = (_by_row(scale, self._copies) for scale in scales)
        found = [(self._outputs * weight[:, None]).T @ self._inputs]
        return [*found, bias[0] @ self._outputs] if self._bias else found


class _Convolution:
    """A convolution without groups or dilation, on (rows, channels, height, width)."""

    def __init__(self, layer: nn.Conv2d, inputs: Tensor, outputs: Tensor, copies: int) -> None:
        self._layer, self._inputs, self._outputs = layer, inputs, outputs
        flat = outputs.flatten(2)
        entries, filters = layer.weight[0].numel(), flat.shape[1]
        few = copies == 1 and flat.shape[2] * (entries + filters) < entries * filters
        found = inputs.new_empty(len(inputs) if few else (len(inputs), filters, entries))
        for start in range(0, len(inputs), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            patches, g = _patches(layer, inputs[part]), flat[part]
            if few:
                found[part] = _gram_square_norms(patches.transpose(1, 2), g)
            else:
                torch.bmm(g, patches, out=found[part])
        self._gram = found if few else None
        self._each = None if few else _joined(found.flatten(1), copies)
        self._bias = _joined(flat.sum(dim=2), copies) if layer.bias is not None else None

    def square_norms(self) -> list[Tensor]:
        weight = _squares(self._each) if self._gram is None else self._gram
        return [weight] if self._bias is None else [weight, _squares(self._bias)]

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        layer = self._layer
        if self._each is not None:
            filters, channels, *size = layer.weight.shape
            weight = (scales[0] @ self._each).view(filters, *size, channels).movedim(3, 1).contiguous()
        else:
            scaled = self._outputs * scales[0].view(-1, 1, 1, 1)
            weight = conv2d_weight(self._inputs, layer.weight.shape, scaled, layer.stride, layer.padding)
        return [weight] if self._bias is None else [weight, scales[1] @ self._bias]


class _Norm:
    """GroupNorm, or LayerNorm over the last axis: the gradients are as small as the parameters."""

    def __init__(self, layer: nn.GroupNorm | nn.LayerNorm, inputs: Tensor, outputs: Tensor, copies: int) -> None:
        if isinstance(layer, nn.GroupNorm):
            normal, axis = functional.group_norm(inputs, layer.num_groups, eps=layer.eps), 1
        else:
            normal, axis = functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps), -1
        parts = [part.movedim(axis, 1) for part in (normal * outputs, outputs)]
        self._each = [_joined(part.flatten(2).sum(dim=2) if part.ndim > 2 else part, copies) for part in parts]

    def square_norms(self) -> list[Tensor]:
        return [_squares(part) for part in self._each]

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        return [scale @ part for scale, part in zip(scales, self._each, strict=True)]


def _patches(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """What each output of a convolution sees, shape (rows, positions, values); ``nn.Unfold`` is slower on the CPU.

    The values are in the order height, width, channels, as they are in memory.
    """
    (height, width), (down, across), (above, beside) = layer.kernel_size, layer.stride, layer.padding
    images = functional.pad(images, (beside, beside, above, above)).contiguous(memory_format=torch.channels_last)
    windows = images.unfold(2, height, down).unfold(3, width, across).permute(0, 2, 3, 4, 5, 1)
    return windows.flatten(3).flatten(1, 2)


def _squares(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1).square()


def _gram_square_norms(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Squared norms of ``outputs @ inputs^T``, whose shapes are (n, out, positions) and (n, in, positions)."""
    inner, outer = (torch.bmm(part.transpose(1, 2), part) for part in (inputs, outputs))
    lengths = (inner.diagonal(dim1=1, dim2=2) * outer.diagonal(dim1=1, dim2=2)).sqrt().sum(dim=1)
    return (inner * outer).sum(dim=(1, 2)).clamp(min=0.0) + _ROUNDING * lengths.square()


def _joined(rows: Tensor, copies: int) -> Tensor:
    return rows if copies == 1 else rows.unflatten(0, (-1, copies)).sum(dim=1)


def _by_row(scale: Tensor, copies: int) -> Tensor:
    return scale if copies == 1 else scale.repeat_interleave(copies)
