"""Shapes and weights of layers of tokens and of attention, and the constants of positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError
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

Shape: TypeAlias = tuple[int, ...]


def embedding(layer: Embedding, shapes: Sequence[Shape], field: str) -> Shape:
    """Steps, each a row of the table; or of tokens that were looked up (:mod:`trustml.models.token_space`)."""
    if len(shapes[0]) == 2 and shapes[0][1] == layer.width + 1:
        return shapes[0][0], layer.width
    return (*_ids(layer, shapes[0], field), layer.width)


def embedding_weights(layer: Embedding, shape: Shape) -> dict[str, Shape]:
    """One table."""
    return {"table": (layer.vocabulary, layer.width)}


def mask(layer: Mask, shapes: Sequence[Shape], field: str) -> Shape:
    """One value a step, of ids or of tokens that were looked up."""
    return shapes[0][:1] if len(shapes[0]) == 2 else _ids(layer, shapes[0], field)


def feature_tokens(layer: FeatureTokens, shapes: Sequence[Shape], field: str) -> Shape:
    """One step a feature."""
    (columns,) = _ids(layer, shapes[0], field)
    if layer.columns and sum(layer.columns) != columns:
        raise ScenarioError(
            f"{field}.columns",
            f"the features take {sum(layer.columns)} columns, but there are {columns}",
            fix="name how many columns each feature takes, or leave it out",
        )
    return len(layer.columns) or columns, layer.width


def feature_token_weights(layer: FeatureTokens, shape: Shape) -> dict[str, Shape]:
    """A vector for each column, and an offset for each feature."""
    features = len(layer.columns) or shape[0]
    return {"vectors": (shape[0], layer.width), "bias": (features, layer.width)}


def feature_of_columns(layer: FeatureTokens, columns: int) -> npt.NDArray[np.int32]:
    """Number of the feature that each column belongs to."""
    sizes = layer.columns or (1,) * columns
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def positions(layer: LearnedPositions | SinusoidalPositions, shapes: Sequence[Shape], field: str) -> Shape:
    """As it comes."""
    return _sequence(layer, shapes[0], field)


def position_weights(layer: LearnedPositions, shape: Shape) -> dict[str, Shape]:
    """One table, of all steps."""
    return {"table": shape}


def prepend(layer: Prepend, shapes: Sequence[Shape], field: str) -> Shape:
    """One step more."""
    steps, channels = _sequence(layer, shapes[0], field)
    return steps + 1, channels


def prepend_weights(layer: Prepend, shape: Shape) -> dict[str, Shape]:
    """One vector."""
    return {"token": shape[-1:]}


def attention(layer: Attention, shapes: Sequence[Shape], field: str) -> Shape:
    """Steps of the queries, channels of the values."""
    queries, keys, values = (_sequence(layer, shape, field) for shape in shapes[:3])
    if queries[1] != keys[1] or keys[0] != values[0]:
        raise ScenarioError(
            field,
            f"queries {queries} and keys {keys} must have as many channels, keys and values {values} as many steps",
            fix="project them by a Dense each, keys and values of one sequence",
        )
    for what, channels in (("channels of queries", queries[1]), ("channels of values", values[1])):
        if channels % layer.heads:
            problem = f"{layer.heads} does not divide {channels} {what}"
            raise ScenarioError(f"{field}.heads", problem, fix=f"choose a divisor of {channels}")
    if layer.rotary and queries[1] // layer.heads % 2:
        problem = f"turns pairs of channels, and each of {layer.heads} heads has {queries[1] // layer.heads}"
        raise ScenarioError(f"{field}.rotary", problem, fix="use an even number of channels in each head")
    if layer.causal and queries[0] != keys[0]:
        problem = f"{queries[0]} queries cannot be told from {keys[0]} keys by their order"
        raise ScenarioError(f"{field}.causal", problem, fix="take queries and keys of one sequence, or set it to false")
    if len(shapes) > 3:
        _mask_of(keys[0], shapes[3], field)
    return queries[0], values[1]


def masked_mean(layer: MaskedMean, shapes: Sequence[Shape], field: str) -> Shape:
    """One vector."""
    steps, channels = _sequence(layer, shapes[0], field)
    _mask_of(steps, shapes[1], field)
    return (channels,)


def pick(layer: Pick, shapes: Sequence[Shape], field: str) -> Shape:
    """One vector."""
    steps, channels = _sequence(layer, shapes[0], field)
    if not -steps <= layer.index < steps:
        problem = f"{layer.index} is none of {steps} steps"
        raise ScenarioError(f"{field}.index", problem, fix=f"choose from {-steps} to {steps - 1}")
    return (channels,)


def reshape(layer: Reshape, shapes: Sequence[Shape], field: str) -> Shape:
    """Another shape of as many values."""
    if not 1 <= len(layer.shape) <= 3 or math.prod(layer.shape) != math.prod(shapes[0]):
        raise ScenarioError(
            f"{field}.shape",
            f"{layer.shape} does not hold the {math.prod(shapes[0])} values of {shapes[0]} in one to three axes",
            fix=f"choose sizes whose product is {math.prod(shapes[0])}",
        )
    return layer.shape


def unembedding(layer: Unembedding, shapes: Sequence[Shape], field: str) -> Shape:
    """A logit for each token, at each step."""
    if len(shapes[0]) > 2:
        problem = f"Unembedding takes a vector or a sequence (steps, channels) but gets shape {shapes[0]}"
        raise ScenarioError(field, problem, fix="put a Flatten or a Reshape before it")
    return (*shapes[0][:-1], layer.vocabulary)


def sinusoids(layer: SinusoidalPositions, shape: Shape) -> npt.NDArray[np.float32]:
    """What is added to a sequence of that shape: sines at even channels, cosines of the same angles at odd ones."""
    steps, channels = shape
    angles = _angles(steps, (channels + 1) // 2, span=channels, base=layer.base)
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(steps, -1)[:, :channels].astype(np.float32)


def rotations(layer: Attention, shape: Shape) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines and sines (steps, channels of a head / 2) by which pairs of channels are turned."""
    steps, channels = shape
    pairs = channels // layer.heads // 2
    angles = _angles(steps, pairs, span=2 * pairs, base=layer.base)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _angles(steps: int, count: int, *, span: int, base: float) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.arange(steps)[:, None] * base ** (-2 * np.arange(count) / span)
    return found


def _sequence(layer: Any, shape: Shape, field: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise ScenarioError(
            field,
            f"{type(layer).__name__} takes sequences (steps, channels) but gets shape {shape}",
            fix="put an Embedding or a Reshape before it",
        )
    return shape[0], shape[1]


def _ids(layer: Any, shape: Shape, field: str) -> Shape:
    if len(shape) != 1:
        what = "the columns of a table" if isinstance(layer, FeatureTokens) else "token ids (steps,)"
        problem = f"{type(layer).__name__} takes {what} but gets shape {shape}"
        raise ScenarioError(field, problem, fix="let it take the input, or put a Flatten before it")
    return shape


def _mask_of(steps: int, shape: Shape, field: str) -> None:
    if shape != (steps,):
        problem = f"a mask of shape {shape} does not go with {steps} steps"
        raise ScenarioError(field, problem, fix="name a Mask node of the same token ids")


_TRUNCATED_DEVIATION = 0.02


def token_start(
    layer: Any, shapes: Mapping[str, Shape], law: str, generator: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    """Draw weights that no kernel goes with, by the law of their part.

    As PyTorch starts an embedding, from standard normal numbers, and FT-Transformer its tokens, uniform within
    1/sqrt(width); as Keras starts an embedding, uniform within 0.05; otherwise normal with deviation 0.02.
    """
    return {part: _drawn(part, shape, law, generator).astype(np.float32) for part, shape in shapes.items()}


def _drawn(part: str, shape: Shape, law: str, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    if law == "torch":
        bound = 1 / math.sqrt(shape[-1])
        return generator.normal(size=shape) if part == "table" else generator.uniform(-bound, bound, shape)
    if part == "bias":
        return np.zeros(shape)
    return generator.uniform(-0.05, 0.05, shape) if law == "glorot_uniform" else truncated_normal(shape, generator)


def truncated_normal(shape: Shape, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw normal numbers of deviation 0.02, those beyond twice as much anew."""
    drawn = generator.normal(size=shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = generator.normal(size=int(beyond.sum()))
    return drawn * _TRUNCATED_DEVIATION
