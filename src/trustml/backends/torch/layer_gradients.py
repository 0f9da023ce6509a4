"""Norms and weighted sums of one layer's per-example gradients, from what went into it and what came back.

A dense layer or a convolution computes ``z = W a`` at each position (a dense layer has one position, a convolution
one for each patch). With ``g`` the gradient of the loss by ``z``, an example's gradient is the sum of ``g a^T`` over
its positions. At one position it is never formed: its norm is ``|a| |g|`` (Goodfellow, 2015, arXiv 1510.01799), and the
sum over the examples, each with its scale ``c``, is one product of ``c g`` and ``a`` (Bu et al., ICML 2023, arXiv
2210.00038). At several it is written out, so that what is clipped is what was measured: norms from products of
positions (Li et al., ICLR 2022) lose all digits where positions cancel.
"""

from __future__ import annotations

from itertools import compress
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from trustml.backends.torch.given_rows import outer_square_norms, square_norms
from trustml.backends.torch.own_layers import StandardisedConv2d
from trustml.backends.torch.recurrent import StepsGRU, StepsLSTM, written_gradients
from trustml.backends.torch.resizing import CroppedTranspose1d, CroppedTranspose2d
from trustml.backends.torch.tokens import ColumnTokens, FirstToken, Lookup, PositionTable
from trustml.models.layers import STANDARDISATION_EPSILON

Covered: TypeAlias = (
    nn.Linear
    | nn.Conv2d
    | nn.Conv1d
    | CroppedTranspose2d
    | CroppedTranspose1d
    | StepsGRU
    | StepsLSTM
    | nn.GroupNorm
    | nn.LayerNorm
    | nn.RMSNorm
    | Lookup
    | ColumnTokens
    | PositionTable
    | FirstToken
)
"""Layers whose per-example gradients are known here."""

_FILTERS = (nn.Conv2d, nn.Conv1d, CroppedTranspose2d, CroppedTranspose1d)
_IMAGES_AT_ONCE = 32
"""Images whose patches are gathered at once, so that they stay in the processor's cache."""


class LayerGradients(Protocol):
    """Per-example gradients of a layer's weight and, if it has one, its bias, in that order; of what is trained."""

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
    layer : Covered
    inputs : Tensor of shape (n * copies, *)
        What went in; the copies of an example are side by side.
    outputs : Tensor of shape (n * copies, *)
        Gradient of the loss by what came out.
    copies : int
        Rows that make one example, whose gradient is the sum of theirs.
    """
    wanted = [parameter.requires_grad for parameter in layer.parameters()]
    if not all(wanted):
        return _some_gradients(layer, inputs, outputs, copies, wanted)
    return _all_gradients(layer, inputs, outputs, copies)


def trained_of(layer: nn.Module) -> list[nn.Parameter]:
    """Parameters of a layer's own that are trained."""
    return [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]


def _some_gradients(layer: Covered, inputs: Tensor, outputs: Tensor, copies: int, wanted: list[bool]) -> LayerGradients:
    """Gradients by the parameters that are trained: a bias needs none by its kernel, which is what takes the time."""
    if wanted == [False, True] and isinstance(layer, nn.Linear):
        return _Written([outputs.reshape(len(outputs) // copies, -1, outputs.shape[-1]).sum(dim=1)])
    if wanted == [False, True] and isinstance(layer, _FILTERS):
        return _Written([_joined(outputs.flatten(2).sum(dim=2), copies)])
    return _Some(_all_gradients(layer, inputs, outputs, copies), wanted)


def _all_gradients(layer: Covered, inputs: Tensor, outputs: Tensor, copies: int) -> LayerGradients:
    if isinstance(layer, nn.Linear):
        one = copies == 1 and inputs.ndim == 2
        return _Dense(layer, inputs, outputs) if one else _several_rows(layer, inputs, outputs, copies)
    if isinstance(layer, StepsGRU | StepsLSTM):
        return _Written(written_gradients(layer, inputs, outputs, copies=copies))
    if isinstance(layer, CroppedTranspose1d | CroppedTranspose2d):
        return _Transposed(layer, inputs, outputs, copies)
    if isinstance(layer, Lookup):
        return _Scattered(layer, inputs, outputs, copies)
    if isinstance(layer, ColumnTokens | PositionTable | FirstToken):
        return _Written(_token_gradients(layer, inputs, outputs, copies))
    if isinstance(layer, nn.Conv1d):  # an image of one column
        inputs, outputs = inputs[..., None], outputs[..., None]
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _Convolution(layer, inputs, outputs, copies)
    return _normalisation(layer, inputs, outputs, copies)


class _Dense:
    """A dense layer on (n, in)."""

    def __init__(self, layer: nn.Linear, inputs: Tensor, outputs: Tensor) -> None:
        self._inputs, self._outputs, self._bias = inputs, outputs, layer.bias is not None

    def square_norms(self) -> list[Tensor]:
        of_bias = square_norms(self._outputs)
        found = [outer_square_norms(self._inputs, self._outputs, of_outputs=of_bias)]
        return [*found, of_bias] if self._bias else found

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        found = [(self._outputs * scales[0][:, None]).T @ self._inputs]
        return [*found, scales[1] @ self._outputs] if self._bias else found


class _Written:
    """Gradients that are written out, one tensor of shape (n, *) for each parameter."""

    def __init__(self, each: list[Tensor]) -> None:
        self._each = each

    def square_norms(self) -> list[Tensor]:
        return [square_norms(part.flatten(1)) for part in self._each]

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        return [(scale @ part.flatten(1)).view(part.shape[1:]) for scale, part in zip(scales, self._each, strict=True)]


class _Some:
    """Gradients by some of a layer's parameters, of which there is at least one."""

    def __init__(self, whole: LayerGradients, wanted: list[bool]) -> None:
        self._whole, self._wanted = whole, wanted

    def square_norms(self) -> list[Tensor]:
        return list(compress(self._whole.square_norms(), self._wanted))

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        given = iter(scales)
        every = [next(given) if wanted else torch.zeros_like(scales[0]) for wanted in self._wanted]
        return list(compress(self._whole.weighted_sums(every), self._wanted))


class _Scattered:
    """A table that tokens are looked up in: the rows that each example takes, each once, with their sums."""

    def __init__(self, layer: Lookup, inputs: Tensor, outputs: Tensor, copies: int) -> None:
        self._like = layer.weight
        self._ids = layer.ids(inputs).reshape(len(inputs) // copies, -1)
        first = (self._ids[:, :, None] == self._ids[:, None, :]).byte().argmax(dim=2)  # where each token comes first
        gradient = outputs.reshape(*self._ids.shape, -1)
        self._each = torch.zeros_like(gradient).scatter_add_(1, first[..., None].expand_as(gradient), gradient)

    def written(self) -> Tensor:
        rows = self._each.new_zeros((len(self._each), *self._like.shape))
        return rows.scatter_add_(1, self._ids[..., None].expand_as(self._each), self._each)

    def square_norms(self) -> list[Tensor]:
        return [square_norms(self._each.flatten(1))]

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        scaled = (self._each * scales[0][:, None, None]).flatten(0, 1)
        return [torch.zeros_like(self._like).index_add_(0, self._ids.flatten(), scaled)]


def tied_gradients(lookup: LayerGradients, inputs: Tensor, outputs: Tensor, *, copies: int) -> LayerGradients:
    """Gradients of a table that tokens are looked up in and that outputs are tied to: the sum of both uses.

    Parameters
    ----------
    lookup : LayerGradients
        Of the first use, as :func:`layer_gradients` gives them.
    inputs, outputs : Tensor of shape (n * copies, steps, width) and (n * copies, steps, rows)
        What was multiplied by the table, and the gradient of the loss by the products.
    copies : int
    """
    assert isinstance(lookup, _Scattered)
    a, g = (part.reshape(len(inputs) // copies, -1, part.shape[-1]) for part in (inputs, outputs))
    return _Written([torch.bmm(g.transpose(1, 2), a) + lookup.written()])


class _Convolution(_Written):
    """A convolution on (rows, channels, height, width), padded alike on both sides; its gradients are channels-last."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, inputs: Tensor, outputs: Tensor, copies: int) -> None:
        self._shape = layer.weight.shape
        flat = outputs.flatten(2)
        found = inputs.new_empty(len(inputs), flat.shape[1], layer.weight[0].numel())
        for start in range(0, len(inputs), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            patches = _patches(layer, inputs[part])
            if layer.groups == 1:
                torch.bmm(flat[part], patches, out=found[part])
            else:
                found[part] = _by_group(flat[part], patches, layer.groups, inputs.shape[1])
        whole = _joined(found, copies)
        each = [_through_standardisation(layer, whole) if isinstance(layer, StandardisedConv2d) else whole]
        super().__init__([*each, _joined(flat.sum(dim=2), copies)] if layer.bias is not None else each)

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        weight, *bias = super().weighted_sums(scales)
        filters, channels, *size = self._shape
        return [weight.view(filters, *size, channels).movedim(-1, 1).contiguous(), *bias]


class _Transposed(_Written):
    """The transpose of a convolution, whose weight is that of the convolution from what came back to what went in."""

    def __init__(
        self, layer: CroppedTranspose1d | CroppedTranspose2d, inputs: Tensor, outputs: Tensor, copies: int
    ) -> None:
        self._shape = layer.weight.shape
        biases = [_joined(outputs.flatten(2).sum(dim=2), copies)] if layer.bias is not None else []
        if isinstance(layer, CroppedTranspose1d):  # an image of one column
            padded = functional.pad(outputs, layer.cut)[..., None]
        else:
            (above, below), (left, right) = layer.cut
            padded = functional.pad(outputs, (left, right, above, below))
        found = torch.bmm(inputs.flatten(2), _patches(layer, padded))
        super().__init__([_joined(found, copies), *biases])

    def weighted_sums(self, scales: list[Tensor]) -> list[Tensor]:
        weight, *bias = super().weighted_sums(scales)
        channels, filters, *size = self._shape
        return [weight.view(channels, *size, filters).movedim(-1, 1).contiguous(), *bias]


def _by_group(outputs: Tensor, patches: Tensor, groups: int, channels: int) -> Tensor:
    """Gradients (n, out, in) of filters that see the channels of their own group alone."""
    rows, positions, _ = patches.shape
    apart = patches.reshape(rows, positions, -1, groups, channels // groups).movedim(3, 1).flatten(3)
    return torch.matmul(outputs.unflatten(1, (groups, -1)), apart).flatten(1, 2)


def _through_standardisation(layer: nn.Conv2d, each: Tensor) -> Tensor:
    """Gradients (n, out, in) by standardised filters, to those by the filters themselves."""
    rows = layer.weight.movedim(1, -1).flatten(1)
    spread = rows - rows.mean(dim=1, keepdim=True)
    scale = (spread.square().sum(dim=1, keepdim=True) + STANDARDISATION_EPSILON).rsqrt()
    along = (each * spread).sum(dim=2, keepdim=True)
    inner = each * scale - spread * scale**3 * along
    return inner - inner.mean(dim=2, keepdim=True)


def _several_rows(layer: nn.Linear, inputs: Tensor, outputs: Tensor, copies: int) -> _Written:
    """Gradients of a dense layer over the copies and steps of each example."""
    a, g = (part.reshape(len(inputs) // copies, -1, part.shape[-1]) for part in (inputs, outputs))
    each = [torch.bmm(g.transpose(1, 2), a)]
    return _Written([*each, g.sum(dim=1)] if layer.bias is not None else each)


def _token_gradients(
    layer: ColumnTokens | PositionTable | FirstToken, inputs: Tensor, outputs: Tensor, copies: int
) -> list[Tensor]:
    """Gradients that are as small as the parameters, or the first step's."""
    if isinstance(layer, PositionTable):
        return [_joined(outputs, copies)]
    if isinstance(layer, FirstToken):
        return [_joined(outputs[:, 0], copies)]
    of = [feature for feature, columns in enumerate(layer.columns_of) for _ in columns]
    return [_joined(inputs[:, :, None] * outputs[:, of], copies), _joined(outputs, copies)]


def _normalisation(
    layer: nn.GroupNorm | nn.LayerNorm | nn.RMSNorm, inputs: Tensor, outputs: Tensor, copies: int
) -> _Written:
    """Gradients of GroupNorm, or of LayerNorm or RMSNorm over the last axis: they are as small as the parameters."""
    axis = -1
    if isinstance(layer, nn.GroupNorm):
        normal, axis = functional.group_norm(inputs, layer.num_groups, eps=layer.eps), 1
    elif isinstance(layer, nn.LayerNorm):
        normal = functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    else:
        normal = functional.rms_norm(inputs, layer.normalized_shape, eps=layer.eps)
    both = [normal * outputs] if isinstance(layer, nn.RMSNorm) else [normal * outputs, outputs]
    parts = [part.movedim(axis, 1) for part in both]
    return _Written([_joined(part.flatten(2).sum(dim=2) if part.ndim > 2 else part, copies) for part in parts])


def _patches(layer: nn.Conv1d | nn.Conv2d | CroppedTranspose1d | CroppedTranspose2d, images: Tensor) -> Tensor:
    """What each output of a convolution sees, shape (rows, positions, values); ``nn.Unfold`` is slower on the CPU.

    The values are in the order height, width, channels, as they are in memory. A layer for sequences sees one column.
    """
    sides = zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    (height, down, above, deep), (width, across, beside, wide) = [*sides, (1, 1, 0, 1)][:2]
    images = functional.pad(images, (beside, beside, above, above)).contiguous(memory_format=torch.channels_last)
    windows = images.unfold(2, (height - 1) * deep + 1, down).unfold(3, (width - 1) * wide + 1, across)
    windows = windows[..., ::deep, ::wide].permute(0, 2, 3, 4, 5, 1)
    return windows.flatten(3).flatten(1, 2)


def _joined(rows: Tensor, copies: int) -> Tensor:
    return rows if copies == 1 else rows.unflatten(0, (-1, copies)).sum(dim=1)
