"""Layers that a method with rules has none for, and why: one table a method."""

from __future__ import annotations

from collections.abc import Mapping

from trustml.models.layers import (
    GELU,
    GRU,
    LSTM,
    GroupNorm,
    LayerNorm,
    LayerSpec,
    LeakyReLU,
    Multiply,
    NativeModule,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softplus,
)
from trustml.models.outcome import Outcome
from trustml.models.token_layers import (
    Attention,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Prepend,
    SinusoidalPositions,
    Unembedding,
)

_NO_LOGIT = "of a probability or a loss it has none; explain the logit"
NoRules = Mapping[type[LayerSpec], str]
"""Type of layer to why there is no rule."""

_NORM = "it divides by what follows from all its inputs, and the paper has rules for sums and functions of one value"
_PRODUCT = "it multiplies inputs, and the paper has rules for sums and functions of one value"
_OTHER_LRP = "the epsilon rule is for sums; use TransformerLRP"
_NO_LIBRARY = "Captum's LRP knows none; use TransformerLRP"
_NOT_ZERO = "what it gives at zero belongs to no input, so no rule keeps relevance"

_OWN_CODE = "no hook sees every function that own code calls; use IntegratedGradients"
NO_HOOKS: NoRules = {NativeModule: _OWN_CODE}
"""Methods that put something else in place of the gradient of ReLUs (Springenberg et al., 2015)."""

NO_RESCALE: NoRules = {
    NativeModule: _OWN_CODE,
    **dict.fromkeys((GroupNorm, LayerNorm, RMSNorm), f"{_NORM}; use IntegratedGradients"),
    **dict.fromkeys((Multiply, GRU, LSTM, Attention), f"{_PRODUCT}; use IntegratedGradients"),
    Outcome: _NO_LOGIT,
}
"""DeepLIFT's rescale rule (Shrikumar et al., 2017, section 3)."""

NO_EPSILON: NoRules = {
    NativeModule: _OWN_CODE,
    **dict.fromkeys((GroupNorm, LayerNorm, RMSNorm, Multiply, Attention), _OTHER_LRP),
    **dict.fromkeys((GRU, LSTM), _PRODUCT),
    **dict.fromkeys((Sigmoid, Softplus), _NOT_ZERO),
    **dict.fromkeys((GELU, SiLU, LeakyReLU), _NO_LIBRARY),
    Outcome: _NO_LOGIT,
    **dict.fromkeys(
        (FeatureTokens, LearnedPositions, Mask, MaskedMean, Prepend, SinusoidalPositions, Unembedding), _NO_LIBRARY
    ),
}
"""LRP's epsilon rule, as Captum has it."""

NO_CONSERVATION: NoRules = {
    NativeModule: _OWN_CODE,
    Outcome: _NO_LOGIT,
    **dict.fromkeys((GRU, LSTM), "its gates multiply, and conservative propagation has no rule for a recurrence"),
    **dict.fromkeys((Sigmoid, Softplus), _NOT_ZERO),
}
"""Conservative propagation (Ali et al., 2022)."""
