"""Networks with branches, as nested tuples: ResNets with GroupNorm, a Transformer encoder.

Peers and floors are measured on them as their users write them; images are channels-first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from trustml.data.dataset import Floats, Ints

Layers: TypeAlias = tuple[tuple[Any, ...], ...]


def resnet(width: int, blocks: Sequence[int], groups: int, *, bias: bool = True, small_images: bool = True) -> Layers:
    """ResNet with GroupNorm (Wu and He, 2018, arXiv 1803.08494) in place of BatchNorm."""
    stem = ("conv", width, 3, 1, 1, bias) if small_images else ("conv", width, 7, 2, 3, bias)
    layers: list[tuple[Any, ...]] = [stem, ("norm", groups), ("relu",)]
    if not small_images:
        layers.append(("maxpool", 3, 2, 1))
    channels = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            out, stride = width * 2**stage, 2 if stage and not block else 1
            body = (
                ("conv", out, 3, stride, 1, bias),
                ("norm", groups),
                ("relu",),
                ("conv", out, 3, 1, 1, bias),
                ("norm", groups),
            )
            shortcut = () if stride == 1 and out == channels else (("conv", out, 1, stride, 0, bias), ("norm", groups))
            layers += [("residual", body, shortcut), ("relu",)]
            channels = out
    return (*layers, ("mean",), ("dense", 10))


def encoder(vocabulary: int, length: int, width: int, heads: int, depth: int) -> Layers:
    """Transformer encoder that classifies texts: normalised before each part, mean over the positions at the end."""
    block = (
        ("residual", (("layernorm",), ("attention", heads)), ()),
        ("residual", (("layernorm",), ("dense", 4 * width), ("gelu",), ("dense", width)), ()),
    )
    return (("embed", vocabulary, length, width), *block * depth, ("layernorm",), ("mean",), ("dense", 10))


@dataclass(frozen=True)
class Network:
    """Layers, the shape of one input, and the size of the vocabulary of inputs that are words."""

    layers: Layers
    shape: tuple[int, ...]
    words: int = 0


LAYERED: dict[str, Network] = {
    "resnet18": Network(resnet(64, (2, 2, 2, 2), 32), (3, 32, 32)),
    "resnet20": Network(resnet(16, (3, 3, 3), 8, bias=False), (3, 32, 32)),
    "resnet18_224": Network(resnet(64, (2, 2, 2, 2), 32, bias=False, small_images=False), (3, 224, 224)),
    "encoder": Network(encoder(8_000, 64, 128, 4, 4), (64,), 8_000),
    "encoder_64k": Network(encoder(64_000, 64, 128, 4, 4), (64,), 64_000),
    "transformer": Network(encoder(10_000, 128, 256, 8, 4), (128,), 10_000),
    "small_resnet": Network(resnet(8, (1, 1), 4), (3, 8, 8)),
    "small_transformer": Network(encoder(50, 8, 16, 2, 1), (8,), 50),
}
"""By name; the small ones have the same parts and fewer of them."""


@dataclass
class Plan:
    """What the layers amount to for one example: weights, operations of a forward pass, values of all outputs."""

    weights: dict[str, Floats]
    operations: int
    values: int
    shape: tuple[int, ...]


def plan(layers: Layers, shape: tuple[int, ...], generator: np.random.Generator, prefix: str = "") -> Plan:
    """Draw the weights and count. An operation is a multiplication or an addition of a product or convolution."""
    made = Plan({}, 0, 0, shape)

    def matrix(name: str, out: int, into: int, *kernel: int) -> None:
        fan = into * math.prod(kernel)
        values = generator.normal(0, math.sqrt(1 / fan), (out, into, *kernel))
        made.weights[f"{name}.weight"] = values.astype(np.float32)

    def vector(name: str, part: str, size: int, value: float) -> None:
        made.weights[f"{name}.{part}"] = np.full(size, value, np.float32)

    for index, (kind, *settings) in enumerate(layers):
        name = f"{prefix}{index}"
        match kind:
            case "dense":
                matrix(name, settings[0], made.shape[-1])
                vector(name, "bias", settings[0], 0)
                made.operations += 2 * math.prod(made.shape) * settings[0]
                made.shape = (*made.shape[:-1], settings[0])
            case "conv":
                out, side, stride, padding, bias = settings
                channels, *space = made.shape
                matrix(name, out, channels, side, side)
                if bias:
                    vector(name, "bias", out, 0)
                made.shape = (out, *((length + 2 * padding - side) // stride + 1 for length in space))
                made.operations += 2 * math.prod(made.shape) * channels * side * side
            case "norm" | "layernorm":
                size = made.shape[0] if kind == "norm" else made.shape[-1]
                vector(name, "weight", size, 1)
                vector(name, "bias", size, 0)
            case "maxpool":
                side, stride, padding = settings
                channels, *space = made.shape
                made.shape = (channels, *((length + 2 * padding - side) // stride + 1 for length in space))
            case "mean":  # over the places of an image, or the positions of a text
                made.shape = made.shape[:1] if len(made.shape) == 3 else made.shape[1:]
            case "embed":
                words, length, width = settings
                for part, rows in (("tokens", words), ("positions", length)):
                    made.weights[f"{name}.{part}.weight"] = generator.normal(0, 0.1, (rows, width)).astype(np.float32)
                made.shape = (length, width)
            case "attention":
                length, width = made.shape
                for part, out in (("qkv", 3 * width), ("out", width)):
                    matrix(f"{name}.{part}", out, width)
                    vector(f"{name}.{part}", "bias", out, 0)
                made.operations += 2 * length * width * 4 * width + 4 * length * length * width
                made.values += 3 * length * width + 2 * settings[0] * length * length
            case "residual":
                for part, inner in zip(("body", "shortcut"), settings, strict=True):
                    below = plan(inner, made.shape, generator, f"{name}.{part}.")
                    made.weights |= below.weights
                    made.operations, made.values = made.operations + below.operations, made.values + below.values
                made.shape = below.shape if settings[1] else plan(settings[0], made.shape, generator).shape
        made.values += math.prod(made.shape)
    return made


def start(network: str) -> dict[str, Floats]:
    """The same starting weights for every engine, by the names of PyTorch's modules."""
    found = LAYERED[network]
    return plan(found.layers, found.shape, np.random.default_rng(1)).weights


def draw(network: Network, rows: int) -> tuple[Floats, Ints]:
    """Inputs (rows, *shape), whole numbers where they are words, and labels (rows,)."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, rows)
    if network.words:
        words: Any = generator.integers(0, network.words, (rows, *network.shape))
        return words, labels
    return generator.random((rows, *network.shape), np.float32), labels
