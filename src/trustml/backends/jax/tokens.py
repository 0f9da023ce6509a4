"""Layers of tokens and of attention, and their gradients for each example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

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
)
from trustml.models.token_types import feature_of_columns, rotations, sinusoids


def prepared_ids(layer: Embedding, values: Array) -> Array:
    """Rows of the table that the tokens take; tokens that were looked up stay."""
    if values.ndim == 3:
        return values
    return jnp.clip(values, 0, layer.vocabulary - 1).astype(jnp.int32)


def weighted_tokens(layer: Layer, values: Array, weights: dict[str, Array]) -> Array:
    """Output of a layer of tokens that has weights, from what it is given; ids are those of :func:`prepared_ids`."""
    match layer:
        case Embedding() if values.ndim == 3:
            return values[..., :-1] + weights["table"][0]
        case Embedding():
            return weights["table"][values]
        case FeatureTokens():
            apart = values[:, :, None] * weights["vectors"]
            if layer.columns:
                apart = _sum_by_feature(layer, apart)
            return apart + weights["bias"]
        case LearnedPositions():
            return values + weights["table"]
        case Prepend():
            first = jnp.broadcast_to(weights["token"], (values.shape[0], 1, values.shape[-1]))
            return jnp.concatenate([first, values], axis=1)
        case _:
            raise NotImplementedError(f"{type(layer).__name__} has no weights of its own")


def token_layer(layer: Layer, inputs: Sequence[Array]) -> Array:
    """Output of a layer without weights."""
    values = inputs[0]
    match layer:
        case Mask() if values.ndim == 3:  # tokens that were looked up
            return (values[..., -1] >= 0).astype(jnp.float32)
        case Mask():
            return (values != layer.padding).astype(jnp.float32)
        case SinusoidalPositions():
            return values + sinusoids(layer, values.shape[1:])
        case Attention():
            return attention(layer, *inputs)
        case MaskedMean():
            there = (inputs[1] > 0).astype(values.dtype)[:, :, None]
            return (values * there).sum(axis=1) / jnp.maximum(there.sum(axis=1), 1.0)
        case Pick():
            return values[:, layer.index]
        case Reshape():
            return values.reshape(values.shape[0], *layer.shape)
        case _:
            raise NotImplementedError(f"{type(layer).__name__} is no layer of JAX's networks")


def attention(layer: Attention, queries: Array, keys: Array, values: Array, mask: Array | None = None) -> Array:
    """Heads side by side; a step without a key to look at gives 0."""
    q, k, v = (part.reshape(*part.shape[:2], layer.heads, -1) for part in (queries, keys, values))
    if layer.rotary:
        q, k = _turned(layer, q), _turned(layer, k)
    scores = jnp.einsum("nqhc,nkhc->nhqk", q, k) / math.sqrt(q.shape[-1])
    there = jnp.ones((1, 1, 1, k.shape[1]), bool) if mask is None else (mask > 0)[:, None, None]
    if layer.causal:
        there = there & jnp.tril(jnp.ones((q.shape[1], k.shape[1]), bool))
    shares = jax.nn.softmax(jnp.where(there, scores, jnp.finfo(scores.dtype).min), axis=-1) * there
    found = jnp.einsum("nhqk,nkhc->nqhc", shares, v)
    return found.reshape(*found.shape[:2], -1)


def _turned(layer: Attention, heads: Array) -> Array:
    """Turn pairs of channels of each head (n, steps, heads, channels)."""
    cosines, sines = (part[:, None] for part in rotations(layer, (heads.shape[1], layer.heads * heads.shape[3])))
    first, second = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


def _sum_by_feature(layer: FeatureTokens, apart: Array) -> Array:
    """From columns (n, columns, width) to features."""
    of = feature_of_columns(layer, apart.shape[1])
    return jnp.stack([apart[:, of == feature].sum(axis=1) for feature in range(len(layer.columns))], axis=1)


@partial(jax.tree_util.register_dataclass, data_fields=["ids", "each"], meta_fields=["rows"])
@dataclass(frozen=True)
class Scattered:
    """Gradients of a table for each example, of the rows that its tokens take: (n, steps) and (n, steps, width).

    Where a token comes several times, its first place has the sum over all of them, and the others zeros: squares add
    up, and rows that nobody takes are never written.
    """

    ids: Array
    each: Array
    rows: int

    def square_norms(self) -> Array:
        """Shape (n,)."""
        return jnp.square(self.each).sum(axis=(1, 2))

    def weighted_sum(self, scales: Array) -> Array:
        """Shape of the table."""
        width = self.each.shape[-1]
        scaled = (self.each * scales[:, None, None]).reshape(-1, width)
        return jnp.zeros((self.rows, width)).at[self.ids.reshape(-1)].add(scaled)


def scattered(ids: Array, gradient: Array, rows: int) -> Scattered:
    """Gradients of a table from ids (n, steps) and what comes back, (n, steps, width)."""
    alike = ids[:, :, None] == ids[:, None, :]
    first = jnp.argmax(alike, axis=2)  # place where each token comes first
    at_first = (first[:, :, None] == jnp.arange(ids.shape[1])).astype(gradient.dtype)
    return Scattered(ids, jnp.einsum("nsf,nsw->nfw", at_first, gradient), rows)


def tied_gradients(lookups: Scattered, seen: Array, gradient: Array) -> Array:
    """Gradients of a table that is looked up in and multiplied by, (n, width, rows): the sum of both uses.

    Parameters
    ----------
    lookups : Scattered
    seen, gradient : arrays of shape (n, steps, width) and (n, steps, rows)
        What the table was multiplied by, and what comes back.
    """
    looked_up = jax.vmap(lambda ids, each: jnp.zeros((lookups.rows, each.shape[-1])).at[ids].add(each))
    return jnp.einsum("nsw,nsr->nwr", seen, gradient) + looked_up(lookups.ids, lookups.each).swapaxes(1, 2)


def token_gradients(layer: Layer, seen: Array, gradient: Array, examples: int) -> dict[str, Array]:
    """Gradients for each example, written out, from what was prepared and what comes back, with copies in front."""
    apart = gradient.reshape(examples, -1, *gradient.shape[1:])
    match layer:
        case LearnedPositions():
            return {"table": apart.sum(axis=1)}
        case Prepend():
            return {"token": apart[:, :, 0].sum(axis=1)}
        case FeatureTokens():
            given = seen.reshape(examples, -1, seen.shape[-1])
            of = feature_of_columns(layer, seen.shape[-1])
            return {"vectors": jnp.einsum("nkc,nkcw->ncw", given, apart[:, :, of]), "bias": apart.sum(axis=1)}
        case _:
            raise NotImplementedError(f"no gradients are known of {type(layer).__name__}")
