"""Layers as plain data, from which every backend builds the same function.

Arrays are channels-last: images are ``(height, width, channels)``. Padding is always an explicit count of
rows and columns, because the frameworks disagree on what "same" means as soon as a stride is involved.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from trustml.ranges import BelowOne, Count, Positive, Sides

Padding: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in rows and columns."""

NO_PADDING: Padding = ((0, 0), (0, 0))


class LayerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all layers share: the field ``kind`` names them in files."""


class Dense(LayerSpec, frozen=True, kw_only=True, tag="Dense"):
    """``y = x @ kernel + bias`` on the last axis of a flat input; kernel is (in, units)."""

    units: Count
    bias: bool = True


class Conv2D(LayerSpec, frozen=True, kw_only=True, tag="Conv2D"):
    """Cross-correlation; kernel is (height, width, in, filters). Padding is with zeros."""

    filters: Count
    kernel: Sides = (3, 3)
    stride: Sides = (1, 1)
    padding: Padding = NO_PADDING
    bias: bool = True


class MaxPool(LayerSpec, frozen=True, kw_only=True, tag="MaxPool"):
    """Largest value of each window. Padding is with minus infinity, so it never wins."""

    size: Sides = (2, 2)
    stride: Sides = (2, 2)
    padding: Padding = NO_PADDING


class AvgPool(LayerSpec, frozen=True, kw_only=True, tag="AvgPool"):
    """Mean of each window. Padding is with zeros, and the zeros count."""

    size: Sides = (2, 2)
    stride: Sides = (2, 2)
    padding: Padding = NO_PADDING


class ReLU(LayerSpec, frozen=True, kw_only=True, tag="ReLU"):
    """``max(x, 0)``."""


class GELU(LayerSpec, frozen=True, kw_only=True, tag="GELU"):
    """``x * Phi(x)`` with the exact normal distribution function, not its tanh approximation."""


class Tanh(LayerSpec, frozen=True, kw_only=True, tag="Tanh"):
    """Hyperbolic tangent."""


class Flatten(LayerSpec, frozen=True, kw_only=True, tag="Flatten"):
    """One vector per example, in the order height, width, channels."""


class GroupNorm(LayerSpec, frozen=True, kw_only=True, tag="GroupNorm"):
    """Normalise each of ``groups`` groups of channels over space, within one example."""

    groups: Count
    epsilon: Positive = 1e-5


class LayerNorm(LayerSpec, frozen=True, kw_only=True, tag="LayerNorm"):
    """Normalise over the last axis (the channels or features), within one example and one position."""

    epsilon: Positive = 1e-5


class Dropout(LayerSpec, frozen=True, kw_only=True, tag="Dropout"):
    """Zero each value with probability ``rate`` while training.

    The frameworks draw different masks, so no two of them could train the same model: a scenario with more
    than one backend refuses it.
    """

    rate: BelowOne


class BatchNorm(LayerSpec, frozen=True, kw_only=True, tag="BatchNorm"):
    """Known only to be refused by name: it mixes the examples of a batch.

    No example then has a gradient of its own, so nothing can be clipped, and two frameworks' running
    statistics differ. Use GroupNorm, as Opacus's ``ModuleValidator.fix`` does.
    """

    epsilon: Positive = 1e-5


Layer: TypeAlias = (
    Dense | Conv2D | MaxPool | AvgPool | ReLU | GELU | Tanh | Flatten | GroupNorm | LayerNorm | Dropout | BatchNorm
)


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feed-forward network as data.

    Parameters
    ----------
    layers : tuple of Layer
        From input to output. The last one must give one logit per class.
    initialisation : {"torch", "glorot_uniform"}
        Law of the starting weights, which the core draws and every backend gets. ``"torch"`` is PyTorch's
        default, uniform within 1/sqrt(fan_in) for kernels and biases; ``"glorot_uniform"`` is Keras's
        default, with zero biases (Glorot and Bengio, AISTATS 2010).
    """

    layers: tuple[Layer, ...]
    initialisation: Literal["torch", "glorot_uniform"] = "torch"


_AFFINE = (Dense, Conv2D, AvgPool, Flatten, Dropout)  # dropout does nothing to a trained network


def straight_until(architecture: Architecture, first: int = 0) -> int:
    """Give the first layer, from `first` on, that bends a straight way; the number of layers if none does."""
    for index in range(first, len(architecture.layers)):
        if not isinstance(architecture.layers[index], _AFFINE):
            return index
    return len(architecture.layers)
