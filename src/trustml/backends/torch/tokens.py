"""Modules of tokens and of attention between them. Sequences are (n, steps, channels); images are channels-first."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from trustml.models.layers import (
    Layer,
)
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
from trustml.models.token_types import feature_of_columns, rotations, sinusoids


class Lookup(nn.Module):
    """Rows of a table by token ids, which come as floats."""

    def __init__(self, layer: Embedding) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layer.vocabulary, layer.width))

    def ids(self, inputs: Tensor) -> Tensor:
        """Rows that the tokens take."""
        return inputs.clamp(0, len(self.weight) - 1).long()

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, steps, width)."""
        if inputs.ndim == 3:  # looked up already
            return inputs[..., :-1] + self.weight[0]
        return self.weight[self.ids(inputs)]


class TiedProduct(nn.Module):
    """Products with the rows of a table that is another module's, whose parameter it stays."""

    def __init__(self) -> None:
        super().__init__()
        self.tied: list[Lookup] = []  # in a list, so that it is no child

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, ..., rows)."""
        return inputs @ self.tied[0].weight.T


class PaddingMask(nn.Module):
    """1 where a token is no padding."""

    def __init__(self, layer: Mask) -> None:
        super().__init__()
        self._padding = layer.padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, steps)."""
        if inputs.ndim == 3:  # tokens that were looked up
            return (inputs[..., -1] >= 0).to(inputs.dtype)
        return (inputs != self._padding).to(inputs.dtype)


class ColumnTokens(nn.Module):
    """A token for each feature of a table."""

    def __init__(self, layer: FeatureTokens, columns: int) -> None:
        super().__init__()
        features = len(layer.columns) or columns
        self.weight = nn.Parameter(torch.zeros(columns, layer.width))
        self.bias = nn.Parameter(torch.zeros(features, layer.width))
        of = feature_of_columns(layer, columns)
        self.columns_of = [[int(one) for one in (of == feature).nonzero()[0]] for feature in range(features)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, features, width)."""
        apart = inputs[:, :, None] * self.weight
        if len(self.bias) < len(self.weight):
            apart = torch.stack([apart[:, columns].sum(dim=1) for columns in self.columns_of], dim=1)
        return apart + self.bias


class PositionTable(nn.Module):
    """A trained vector for each step."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape of the inputs."""
        return inputs + self.weight


class Sinusoids(nn.Module):
    """Sines and cosines of each step; no buffer, as nothing of it is stored."""

    def __init__(self, layer: SinusoidalPositions, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._added = torch.from_numpy(sinusoids(layer, shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape of the inputs."""
        return inputs + self._added.to(inputs.device)


class FirstToken(nn.Module):
    """A trained vector before the first step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, steps + 1, channels)."""
        return torch.cat([self.weight.expand(inputs.shape[0], 1, -1), inputs], dim=1)


class Heads(nn.Module):
    """Attention of several heads; a step without a key to look at gives 0."""

    def __init__(self, layer: Attention, queries: tuple[int, ...], keys: tuple[int, ...]) -> None:
        super().__init__()
        self._layer = layer
        if layer.rotary:
            self._turns = [[torch.from_numpy(part) for part in rotations(layer, shape)] for shape in (queries, keys)]

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Shape (n, steps of the queries, channels of the values)."""
        q, k, v = (part.unflatten(2, (self._layer.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
        if self._layer.rotary:
            q, k = (_turned(part, *turns) for part, turns in zip((q, k), self._turns, strict=True))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        there = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device)
        if self._layer.causal:
            there = there.tril()
        if mask is not None:
            there = there & (mask > 0)[:, None, None]
        shares = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(dim=3) * there
        return (shares @ v).transpose(1, 2).flatten(2)


class MeanOfSteps(nn.Module):
    """Mean over the steps that a mask leaves; 0 where it leaves none."""

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Shape (n, channels)."""
        there = (mask > 0).to(inputs.dtype)[:, :, None]
        return (inputs * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)


class Step(nn.Module):
    """One step of a sequence."""

    def __init__(self, layer: Pick) -> None:
        super().__init__()
        self._index = layer.index

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, channels)."""
        return inputs[:, self._index]


class Reshaped(nn.Module):
    """The same values in another shape, in channels-last order."""

    def __init__(self, layer: Reshape) -> None:
        super().__init__()
        self._shape = layer.shape

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, *shape); channels-first if it is an image."""
        flat = inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs
        found = flat.reshape(inputs.shape[0], *self._shape)
        return found.permute(0, 3, 1, 2) if found.ndim == 4 else found


def token_module(layer: Layer, shapes: list[tuple[int, ...]]) -> nn.Module:
    """Build the module of a layer of tokens, from the shapes of its inputs."""
    shape = shapes[0]
    match layer:
        case Embedding():
            return Lookup(layer)
        case Mask():
            return PaddingMask(layer)
        case FeatureTokens():
            return ColumnTokens(layer, shape[0])
        case LearnedPositions():
            return PositionTable(shape)
        case SinusoidalPositions():
            return Sinusoids(layer, shape)
        case Prepend():
            return FirstToken(shape[-1])
        case Attention():
            return Heads(layer, shapes[0], shapes[1])
        case MaskedMean():
            return MeanOfSteps()
        case Pick():
            return Step(layer)
        case Reshape():
            return Reshaped(layer)
        case Unembedding():
            return TiedProduct()
        case _:
            raise NotImplementedError(f"{type(layer).__name__} is no layer of PyTorch's networks")


def tie(product: nn.Module, lookup: nn.Module) -> None:
    """Let a product use the table of a lookup."""
    cast(TiedProduct, product).tied.append(cast(Lookup, lookup))


def _turned(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn pairs of channels of each head (n, heads, steps, channels)."""
    cosines, sines = cosines.to(heads.device), sines.to(heads.device)
    # By slices, not `chunk`: ExecuTorch's lowering narrows the batch of what is split to that of the example.
    half = heads.shape[3] // 2
    first, second = heads[..., :half], heads[..., half:]
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=3)
