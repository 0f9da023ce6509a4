"""Layers of tokens and of attention, as layers of Keras; their inputs and weights are laid out as trustml's."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from trustml.models.layers import GELU
from trustml.models.token_layers import Attention, Embedding, LearnedPositions, Mask, MaskedMean

TOKEN_LAYERS = (Attention, Embedding, GELU, LearnedPositions, Mask, MaskedMean)
_NEVER = -1e30


class TokenLayer(keras.layers.Layer):
    """One of :data:`TOKEN_LAYERS`.

    Tokens come as ids (n, steps), or looked up (n, steps, width + 1), less the first row of the table, with what says
    in the last channel whether they are padding, by which explanations reach them.

    Parameters
    ----------
    layer : one of :data:`TOKEN_LAYERS`
    name : str
    """

    def __init__(self, layer: Any, name: str) -> None:
        super().__init__(name=name)
        self._layer = layer

    def build(self, shape: Any) -> None:
        """Make the table of a layer that has one."""
        layer = self._layer
        if isinstance(layer, Embedding | LearnedPositions):
            own = (layer.vocabulary, layer.width) if isinstance(layer, Embedding) else tuple(shape[1:])
            self.table = self.add_weight(shape=own, name="table")

    def call(self, given: Any) -> Any:
        """Give the layer's output."""
        match self._layer:
            case Embedding() if len(given.shape) == 3:
                return given[..., :-1] + self.table[0]
            case Embedding(vocabulary=size):
                return ops.take(self.table, ops.cast(ops.clip(given, 0, size - 1), "int32"), axis=0)
            case LearnedPositions():
                return given + self.table
            case GELU():
                return ops.gelu(given, approximate=False)
            case Mask() if len(given.shape) == 3:
                return ops.cast(given[..., -1] >= 0, "float32")
            case Mask(padding=padding):
                return ops.cast(ops.not_equal(given, float(padding)), "float32")
            case MaskedMean():
                values, mask = given
                count = ops.sum(mask, axis=1, keepdims=True)
                return ops.sum(values * mask[..., None], axis=1) / ops.maximum(count, 1.0)
        return self._attended(*given)

    def _attended(self, queries: Any, keys: Any, values: Any, mask: Any = None) -> Any:
        if self._layer.rotary:
            raise NotImplementedError("trustml-keras3 turns no positions; use learned ones")
        steps, heads = queries.shape[1], self._layer.heads
        q, k, v = (
            ops.transpose(ops.reshape(one, (-1, steps, heads, one.shape[-1] // heads)), (0, 2, 1, 3))
            for one in (queries, keys, values)
        )
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / math.sqrt(q.shape[-1])
        there = ops.ones((1, 1, 1, steps)) if mask is None else mask[:, None, None, :]
        if self._layer.causal:
            there = there * ops.tril(ops.ones((steps, steps)))
        shares = ops.softmax(ops.where(there > 0, scores, _NEVER), axis=-1) * there
        found = ops.transpose(ops.matmul(shares, v), (0, 2, 1, 3))
        return ops.reshape(found, (-1, steps, values.shape[-1]))
