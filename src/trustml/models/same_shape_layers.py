"""Layers whose output has the shape of their input: activations, normalisations and Dropout, as plain data."""

from __future__ import annotations

from trustml.models.layer_spec import LayerSpec
from trustml.ranges import BelowOne, Count, NotNegative, Positive


class ReLU(LayerSpec, frozen=True, kw_only=True, tag="ReLU"):
    """``max(x, 0)``."""


class GELU(LayerSpec, frozen=True, kw_only=True, tag="GELU"):
    """``x * Phi(x)`` with the exact normal distribution function, not its tanh approximation."""


class Tanh(LayerSpec, frozen=True, kw_only=True, tag="Tanh"):
    """Hyperbolic tangent."""


class SiLU(LayerSpec, frozen=True, kw_only=True, tag="SiLU"):
    """``x * sigmoid(x)``."""


class Sigmoid(LayerSpec, frozen=True, kw_only=True, tag="Sigmoid"):
    """``1 / (1 + exp(-x))``."""


class LeakyReLU(LayerSpec, frozen=True, kw_only=True, tag="LeakyReLU"):
    """``x`` where it is positive, else ``slope * x``."""

    slope: NotNegative = 0.01


class Softplus(LayerSpec, frozen=True, kw_only=True, tag="Softplus"):
    """``log(1 + exp(x))``."""


class GroupNorm(LayerSpec, frozen=True, kw_only=True, tag="GroupNorm"):
    """Normalise each of ``groups`` groups of channels over space, within one example."""

    groups: Count
    epsilon: Positive = 1e-5


class LayerNorm(LayerSpec, frozen=True, kw_only=True, tag="LayerNorm"):
    """Normalise over the last axis (the channels or features), within one example and one position."""

    epsilon: Positive = 1e-5


class RMSNorm(LayerSpec, frozen=True, kw_only=True, tag="RMSNorm"):
    """Divide by the root mean square over the last axis, and scale (Zhang and Sennrich, arXiv 1910.07467)."""

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
