"""Layers of tokens and of attention as plain loops over steps and heads, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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

Doubles = npt.NDArray[np.float64]


def token_layer(layer: Layer, inputs: Sequence[Doubles], weights: dict[str, Doubles]) -> Doubles:
    """Output of a layer of tokens; `weights` are its own by their part, or those that it is tied to."""
    values = inputs[0]
    match layer:
        case Embedding() if values.ndim == 2:  # looked up already
            return values[:, :-1] + weights["table"][0]
        case Mask() if values.ndim == 2:
            return (values[:, -1] >= 0).astype(float)
        case Embedding():
            return np.array([weights["table"][int(min(max(one, 0), layer.vocabulary - 1))] for one in values])
        case Mask():
            return np.array([float(one != layer.padding) for one in values])
        case FeatureTokens():
            found, column = [], 0
            for feature, size in enumerate(layer.columns or (1,) * len(values)):
                token = weights["bias"][feature].copy()
                for one in range(column, column + size):
                    token += values[one] * weights["vectors"][one]
                found.append(token)
                column += size
            return np.array(found)
        case LearnedPositions():
            return values + weights["table"]
        case SinusoidalPositions():
            added = np.zeros_like(values)
            for step, channel in np.ndindex(values.shape):
                angle = step / layer.base ** ((channel - channel % 2) / values.shape[1])
                added[step, channel] = math.cos(angle) if channel % 2 else math.sin(angle)
            return values + added
        case Prepend():
            return np.vstack([weights["token"], values])
        case Attention():
            return _attention(layer, inputs)
        case MaskedMean():
            chosen = values[inputs[1] > 0]
            return chosen.mean(axis=0) if len(chosen) else np.zeros(values.shape[1])
        case Pick():
            return values[layer.index]
        case Reshape():
            return values.reshape(layer.shape)
        case Unembedding():
            return values @ weights["table"].T
        case _:
            raise NotImplementedError(f"{type(layer).__name__} is no layer of tokens")


def _attention(layer: Attention, inputs: Sequence[Doubles]) -> Doubles:
    queries, keys, values = (np.split(one, layer.heads, axis=1) for one in inputs[:3])
    there = inputs[3] > 0 if len(inputs) > 3 else np.ones(len(inputs[1]), bool)
    heads = []
    for q, k, v in zip(queries, keys, values, strict=True):
        if layer.rotary:
            q, k = _turned(q, layer.base), _turned(k, layer.base)
        found = np.zeros((len(q), v.shape[1]))
        for step in range(len(q)):
            seen = [key for key in range(len(k)) if there[key] and (key <= step or not layer.causal)]
            if seen:
                scores = k[seen] @ q[step] / math.sqrt(q.shape[1])
                shares = np.exp(scores - scores.max())
                found[step] = shares / shares.sum() @ v[seen]
        heads.append(found)
    return np.concatenate(heads, axis=1)


def _turned(values: Doubles, base: float) -> Doubles:
    """Each pair of channels (i, i + half) as a complex number, turned by the step times its frequency."""
    half = values.shape[1] // 2
    pairs = values[:, :half] + 1j * values[:, half:]
    angles = np.arange(len(values))[:, None] * base ** (-np.arange(half) / half)
    turned = pairs * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=1)
