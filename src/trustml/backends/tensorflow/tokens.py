"""Keras layers of tokens and of attention between them. Each holds its layer's struct, by which it is rebuilt."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from trustml.backends.tensorflow.own_layers import AsWritten
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
from trustml.models.token_types import feature_of_columns, rotations, sinusoids


class _TokenLayer(AsWritten):
    """A Keras layer of one struct."""

    def __init__(self, layer: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        self.layer = msgspec.convert(layer, Layer) if isinstance(layer, dict) else layer

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"layer": msgspec.to_builtins(self.layer), "name": self.name}


@tf.keras.utils.register_keras_serializable("trustml")
class Lookup(_TokenLayer):
    """Rows of a table by token ids, which come as floats."""

    def build(self, shape: tf.TensorShape) -> None:
        """Make the table."""
        self.table = self.add_weight("table", shape=(self.layer.vocabulary, self.layer.width))

    def ids(self, inputs: tf.Tensor) -> tf.Tensor:
        """Rows that the tokens take."""
        return tf.cast(tf.clip_by_value(inputs, 0, self.layer.vocabulary - 1), tf.int32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, steps, width)."""
        if len(inputs.shape) == 3:  # looked up already
            return inputs[..., :-1] + self.table[0]
        # Reshaped, so that its gradient is a tensor: nothing that takes gradients here takes slices of them.
        return tf.gather(tf.reshape(self.table, self.table.shape), self.ids(inputs))


@tf.keras.utils.register_keras_serializable("trustml")
class TiedProduct(_TokenLayer):
    """Products with the rows of a table that is another layer's, whose variable it stays."""

    def tie(self, lookup: Lookup) -> None:
        """Use the table of a lookup."""
        self._tied = lambda: lookup  # a function, so that Keras does not track it

    @property
    def lookup(self) -> Lookup:
        """Whose table it is."""
        return self._tied()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, ..., rows)."""
        return tf.matmul(inputs, self.lookup.table, transpose_b=True)


@tf.keras.utils.register_keras_serializable("trustml")
class PaddingMask(_TokenLayer):
    """1 where a token is no padding."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, steps)."""
        if len(inputs.shape) == 3:  # tokens that were looked up
            return tf.cast(inputs[..., -1] >= 0, inputs.dtype)
        return tf.cast(inputs != self.layer.padding, inputs.dtype)


@tf.keras.utils.register_keras_serializable("trustml")
class ColumnTokens(_TokenLayer):
    """A token for each feature of a table."""

    def build(self, shape: tf.TensorShape) -> None:
        """Make a vector for each column and an offset for each feature."""
        features = len(self.layer.columns) or shape[-1]
        self.of = feature_of_columns(self.layer, shape[-1])
        self.vectors = self.add_weight("vectors", shape=(shape[-1], self.layer.width))
        self.bias = self.add_weight("bias", shape=(features, self.layer.width))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, features, width)."""
        apart = inputs[:, :, None] * self.vectors
        if self.layer.columns:
            of_feature = [tf.constant(np.flatnonzero(self.of == one)) for one in range(len(self.layer.columns))]
            apart = tf.stack([tf.reduce_sum(tf.gather(apart, one, axis=1), axis=1) for one in of_feature], axis=1)
        return apart + self.bias


@tf.keras.utils.register_keras_serializable("trustml")
class PositionTable(_TokenLayer):
    """A trained vector for each step."""

    def build(self, shape: tf.TensorShape) -> None:
        """Make the table."""
        self.table = self.add_weight("table", shape=shape[1:])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape of the inputs."""
        return inputs + self.table


@tf.keras.utils.register_keras_serializable("trustml")
class Sinusoids(_TokenLayer):
    """Sines and cosines of each step."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape of the inputs."""
        return inputs + sinusoids(self.layer, tuple(inputs.shape[1:]))


@tf.keras.utils.register_keras_serializable("trustml")
class FirstToken(_TokenLayer):
    """A trained vector before the first step."""

    def build(self, shape: tf.TensorShape) -> None:
        """Make the vector."""
        self.token = self.add_weight("token", shape=shape[-1:])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, steps + 1, channels)."""
        first = tf.broadcast_to(self.token, (tf.shape(inputs)[0], 1, inputs.shape[-1]))
        return tf.concat([first, inputs], axis=1)


@tf.keras.utils.register_keras_serializable("trustml")
class Heads(_TokenLayer):
    """Attention of several heads; a step without a key to look at gives 0."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Shape (n, steps of the queries, channels of the values), from queries, keys, values and a mask."""
        queries, keys, values, *mask = inputs
        q, k, v = (_by_head(part, self.layer.heads) for part in (queries, keys, values))
        if self.layer.rotary:
            q, k = (_turned(self.layer, part, whole) for part, whole in ((q, queries), (k, keys)))
        scores = tf.matmul(q, k, transpose_b=True) / math.sqrt(q.shape[-1])
        there = np.ones(tuple(scores.shape[2:]), bool)
        there = tf.constant(np.tril(there) if self.layer.causal else there)
        if mask:
            there = there & (mask[0] > 0)[:, None, None]
        shares = tf.nn.softmax(tf.where(there, scores, scores.dtype.min)) * tf.cast(there, scores.dtype)
        found = tf.transpose(tf.matmul(shares, v), (0, 2, 1, 3))
        return tf.reshape(found, (-1, queries.shape[1], values.shape[2]))


@tf.keras.utils.register_keras_serializable("trustml")
class MeanOfSteps(_TokenLayer):
    """Mean over the steps that a mask leaves; 0 where it leaves none."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Shape (n, channels)."""
        values, mask = inputs
        there = tf.cast(mask > 0, values.dtype)[:, :, None]
        return tf.reduce_sum(values * there, axis=1) / tf.maximum(tf.reduce_sum(there, axis=1), 1.0)


@tf.keras.utils.register_keras_serializable("trustml")
class Step(_TokenLayer):
    """One step of a sequence."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, channels)."""
        return inputs[:, self.layer.index]


_KINDS: dict[type, type[_TokenLayer]] = {
    Embedding: Lookup,
    Mask: PaddingMask,
    FeatureTokens: ColumnTokens,
    LearnedPositions: PositionTable,
    SinusoidalPositions: Sinusoids,
    Prepend: FirstToken,
    Attention: Heads,
    MaskedMean: MeanOfSteps,
    Pick: Step,
    Unembedding: TiedProduct,
}


def keras_token_layer(layer: Layer, name: str) -> tf.keras.layers.Layer:
    """Build the Keras layer of a layer of tokens."""
    if isinstance(layer, Reshape):
        return tf.keras.layers.Reshape(layer.shape, name=name)
    return _KINDS[type(layer)](layer, name=name)


def _by_head(values: tf.Tensor, heads: int) -> tf.Tensor:
    """From (n, steps, channels) to (n, heads, steps, channels of a head)."""
    apart = tf.reshape(values, (-1, values.shape[1], heads, values.shape[2] // heads))
    return tf.transpose(apart, (0, 2, 1, 3))


def _turned(layer: Attention, heads: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """Turn pairs of channels of each head."""
    cosines, sines = rotations(layer, tuple(whole.shape[1:]))
    first, second = tf.split(heads, 2, axis=-1)
    return tf.concat([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
