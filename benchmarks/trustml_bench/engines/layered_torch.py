"""Networks of :mod:`trustml_bench.layered` in PyTorch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from trustml_bench.layered import LAYERED, Layers, plan, start


def layered_module(network: str) -> nn.Sequential:
    """Build a network with its weights."""
    found = LAYERED[network]
    module = _build(found.layers, found.shape)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in start(network).items()})
    return module


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)


class _Embed(nn.Module):
    def __init__(self, words: int, length: int, width: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)

    def forward(self, x: Tensor) -> Tensor:
        # repeated, and not expanded, of which Opacus's ghost clipping cannot take norms
        return self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device).repeat(len(x), 1))


class _Attention(nn.Module):  # of linear layers, which Opacus knows, and not nn.MultiheadAttention
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(width // self.heads)
        return self.out((scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(n, length, width))


def _build(layers: Layers, shape: tuple[int, ...]) -> nn.Sequential:
    made: list[nn.Module] = []
    for layer in layers:
        kind, *settings = layer
        after = plan((layer,), shape, np.random.default_rng(0)).shape
        match kind:
            case "dense":
                made.append(nn.Linear(shape[-1], settings[0]))
            case "conv":
                out, side, stride, padding, bias = settings
                made.append(nn.Conv2d(shape[0], out, side, stride, padding, bias=bias))
            case "maxpool":
                made.append(nn.MaxPool2d(*settings))
            case "norm":
                made.append(nn.GroupNorm(settings[0], shape[0]))
            case "layernorm":
                made.append(nn.LayerNorm(shape[-1]))
            case "relu" | "gelu" | "mean":
                made.append({"relu": nn.ReLU, "gelu": nn.GELU, "mean": _Mean}[kind]())
            case "embed":
                made.append(_Embed(*settings))
            case "attention":
                made.append(_Attention(shape[-1], settings[0]))
            case "residual":
                made.append(_Residual(*(_build(inner, shape) for inner in settings)))
        shape = after
    return nn.Sequential(*made)
