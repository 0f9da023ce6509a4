"""How relevance goes back through each layer, as tables for all backends."""

from __future__ import annotations

from trustml.models.layers import (
    GELU,
    AdaptiveAvgPool,
    Add,
    AvgPool,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    GlobalAvgPool,
    LeakyReLU,
    ReLU,
    SiLU,
    Tanh,
)
from trustml.models.token_layers import (
    FeatureTokens,
    LearnedPositions,
    MaskedMean,
    SinusoidalPositions,
    Unembedding,
)

PASSES_ON = (ReLU, LeakyReLU, GELU, SiLU, Tanh)
"""Functions of one value that are zero at zero: what comes back is given to that value whole."""
SHARES_OUT = (
    Dense,
    Conv2D,
    Conv1D,
    ConvTranspose2D,
    ConvTranspose1D,
    AvgPool,
    AdaptiveAvgPool,
    GlobalAvgPool,
    Add,
    FeatureTokens,
    LearnedPositions,
    SinusoidalPositions,
    MaskedMean,
    Unembedding,
)
"""Sums: each part gets what it is of the whole. All other layers move values, or take the largest."""
