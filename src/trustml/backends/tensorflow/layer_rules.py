"""What one layer's weights owe to each example, from what went in and the gradient of what came out.

A kernel's gradient is a sum over positions of outer products (Goodfellow, arXiv 1510.01799; Rochette et al., arXiv
1912.06015 for convolutions as patches): with one position its norm needs no gradient at all. Where there are more, the
gradients are written out, so that what is clipped is what was measured: norms from Gram matrices (Li et al., arXiv
2110.05679) lose all digits where positions cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from trustml.backends.tensorflow.own_layers import RMSNormalization, WindowConvolution
from trustml.backends.tensorflow.recurrent import GatedRecurrence
from trustml.backends.tensorflow.resizing import TransposedConvolution
from trustml.backends.tensorflow.tokens import ColumnTokens, FirstToken, Lookup, PositionTable
from trustml.models.layers import STANDARDISATION_EPSILON

_TINY = 2.0**-126
"""Smallest normal number of float32."""


class PerExample(NamedTuple):
    """One weight's gradients for each of b examples, written out or not.

    Attributes
    ----------
    squared_norms : tf.Tensor
        Shape (b,).
    weighted_sum : callable
        From a factor for each example, shape (b,), to the sum in the weight's shape.
    """

    squared_norms: tf.Tensor
    weighted_sum: Callable[[tf.Tensor], tf.Tensor]


Backward: TypeAlias = Callable[[tf.Tensor, int], list[PerExample]]
"""From the gradient of a layer's output, (b * copies, ...), to its weights' in the order of ``trainable_weights``."""
Use: TypeAlias = tuple[tf.Tensor, tf.Tensor]
Rule: TypeAlias = Callable[[Any, tf.Tensor], tuple[tf.Tensor, Backward]]
"""From a Keras layer and its input to its output and the way back."""


def rule_for(layer: Any) -> Rule | None:
    """Rule of a Keras layer with weights; None if it has none here."""
    return next((rule for kind, rule in _RULES.items() if type(layer) is kind), None)


def _dense(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        a, g = (part if len(part.shape) == 3 else part[:, None] for part in (inputs, gradient))
        return _linear(layer, a, g, copies)

    return layer(inputs), backward


def _convolution(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """Cross-correlation without padding, the only one that is built here: the kernel times each patch."""
    rows, columns, channels, filters = layer.kernel.shape

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        patches = tf.image.extract_patches(
            inputs, (1, rows, columns, 1), (1, *layer.strides, 1), (1, 1, 1, 1), layer.padding.upper()
        )
        positions = patches.shape[1] * patches.shape[2]
        flat = tf.reshape(patches, (-1, positions, rows * columns * channels))
        return _linear(layer, flat, tf.reshape(gradient, (-1, positions, filters)), copies)

    return layer(inputs), backward


def _normalisation(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """Group or layer normalisation: one factor and one offset a channel."""
    settings = {**layer.get_config(), "scale": False, "center": False}
    normalised = type(layer).from_config(settings)(inputs)

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        return [
            _written_out(_sum_of_positions(part, copies), layer.gamma.shape)
            for part in (gradient * normalised, gradient)
        ]

    return normalised * layer.gamma + layer.beta, backward


def _window_convolution(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """Windows that may be of groups, times filters that may be standardised: written out, and through that, too."""
    windows = layer.windows(inputs)
    groups, size, filters = layer.groups, windows.shape[-1], layer.filters
    positions = windows.shape[1:-2].num_elements()

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        a = tf.reshape(windows, (-1, copies * positions, groups, size))
        g = tf.reshape(gradient, (-1, copies * positions, groups, filters // groups))
        each = tf.reshape(tf.einsum("npgi,npgo->nigo", a, g), (-1, size, filters))
        if layer.standardised:
            each = _through_standardisation(each, tf.reshape(layer.kernel, (size, filters)))
        found = [_written_out(each, layer.kernel.shape)]
        if layer.use_bias:
            found.append(_written_out(_sum_of_positions(gradient, copies), layer.bias.shape))
        return found

    return layer(inputs), backward


def _through_standardisation(each: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Gradients (n, in, out) by standardised filters, to those by the filters (in, out) themselves."""
    spread = matrix - tf.reduce_mean(matrix, axis=0)
    scale = tf.math.rsqrt(tf.reduce_sum(tf.square(spread), axis=0) + STANDARDISATION_EPSILON)
    along = tf.reduce_sum(each * spread, axis=1, keepdims=True)
    inner = each * scale - spread * scale**3 * along
    return inner - tf.reduce_mean(inner, axis=1, keepdims=True)


def _root_mean_square(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """One factor a channel."""
    normalised = layer.normalised(inputs)

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        return [_written_out(_sum_of_positions(gradient * normalised, copies), layer.gamma.shape)]

    return normalised * layer.gamma, backward


def _transposed(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """The kernel of the convolution from what comes back to what went in."""

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        laid = layer.laid_down(gradient)
        positions, size, channels = copies * laid.shape[1], laid.shape[2], inputs.shape[-1]
        each = tf.matmul(
            tf.reshape(laid, (-1, positions, size)), tf.reshape(inputs, (-1, positions, channels)), transpose_a=True
        )
        found = [_written_out(each, layer.kernel.shape)]
        if layer.use_bias:
            found.append(_written_out(_sum_of_positions(gradient, copies), layer.bias.shape))
        return found

    return layer(inputs), backward


def _lookup(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """A table that tokens are looked up in: the rows that each example takes, each once, with their sums."""
    ids = layer.ids(inputs)

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        own = tf.reshape(ids, (-1, copies * ids.shape[1]))
        places = tf.range(own.shape[1])
        first = tf.reduce_min(tf.where(own[:, :, None] == own[:, None, :], places, own.shape[1]), axis=2)
        at_first = tf.one_hot(first, own.shape[1])
        rows = tf.reshape(gradient, (-1, own.shape[1], gradient.shape[2]))
        each = tf.matmul(at_first, rows, transpose_a=True)

        def weighted_sum(weights: tf.Tensor) -> tf.Tensor:
            scaled = tf.reshape(each * weights[:, None, None], (-1, each.shape[2]))
            return tf.math.unsorted_segment_sum(scaled, tf.reshape(own, (-1,)), layer.table.shape[0])

        return [PerExample(_squared(each), weighted_sum)]

    return layer(inputs), backward


def _recurrent(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """Both kernels and both biases, over all steps."""

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        kernels, biases = [], []
        for a, g in layer.step_gradients(inputs, gradient):
            a, g = (tf.reshape(part, (-1, copies * part.shape[1], part.shape[2])) for part in (a, g))
            kernels.append(tf.matmul(a, g, transpose_a=True))
            biases.append(tf.reduce_sum(g, axis=1))
        parts = zip((*kernels, *biases), layer.trainable_weights, strict=True)
        return [_written_out(rows, weight.shape) for rows, weight in parts]

    return layer(inputs), backward


def tied_rows(layer: Any, ids: tf.Tensor, back: tf.Tensor, use: Use, copies: int) -> PerExample:
    """Gradients of a table that is looked up in and multiplied by: the sum of both uses, written out.

    Parameters
    ----------
    layer : Lookup
    ids, back : tf.Tensor
        What it takes, and the gradient of what it gives.
    use : (tf.Tensor, tf.Tensor)
        What is multiplied by its table, and the gradient of the products.
    copies : int
    """
    looked_up = tf.one_hot(layer.ids(ids), layer.table.shape[0]), back
    use = tuple(one if len(one.shape) == 3 else one[:, None] for one in use)  # of one step alone
    (a, b), (c, d) = (
        [tf.reshape(one, (-1, copies * one.shape[1], one.shape[2])) for one in pair] for pair in (looked_up, use)
    )
    each = tf.matmul(a, b, transpose_a=True) + tf.matmul(d, c, transpose_a=True)
    return _written_out(each, layer.table.shape)


def _column_tokens(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """A vector for each column, an offset for each feature."""

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        vectors = inputs[:, :, None] * tf.gather(gradient, layer.of, axis=1)
        parts = ((vectors, layer.vectors), (gradient, layer.bias))
        return [_written_out(_sum_of_copies(part, copies), weight.shape) for part, weight in parts]

    return layer(inputs), backward


def _position_table(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """What is added to each step."""
    return layer(inputs), lambda gradient, copies: [_written_out(_sum_of_copies(gradient, copies), layer.table.shape)]


def _first_token(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, Backward]:
    """What comes before the first step."""

    def backward(gradient: tf.Tensor, copies: int) -> list[PerExample]:
        return [_written_out(_sum_of_copies(gradient[:, 0], copies), layer.token.shape)]

    return layer(inputs), backward


_RULES: dict[type, Rule] = {
    tf.keras.layers.Dense: _dense,
    tf.keras.layers.Conv2D: _convolution,
    tf.keras.layers.GroupNormalization: _normalisation,
    tf.keras.layers.LayerNormalization: _normalisation,
    RMSNormalization: _root_mean_square,
    WindowConvolution: _window_convolution,
    TransposedConvolution: _transposed,
    GatedRecurrence: _recurrent,
    Lookup: _lookup,
    ColumnTokens: _column_tokens,
    PositionTable: _position_table,
    FirstToken: _first_token,
}


def _linear(layer: Any, inputs: tf.Tensor, gradient: tf.Tensor, copies: int) -> list[PerExample]:
    """Kernel and bias from inputs (b * copies, p, i) and gradients (b * copies, p, o); copies are more positions."""
    positions, size, units = copies * inputs.shape[1], inputs.shape[2], gradient.shape[2]
    inputs = tf.reshape(inputs, (-1, positions, size))
    gradient = tf.reshape(gradient, (-1, positions, units))
    found = [_kernel(inputs, gradient, layer.kernel.shape)]
    if layer.use_bias:
        found.append(_written_out(tf.reduce_sum(gradient, axis=1), layer.bias.shape))
    return found


def _kernel(inputs: tf.Tensor, gradient: tf.Tensor, shape: tf.TensorShape) -> PerExample:
    if inputs.shape[1] > 1:
        return _written_out(tf.matmul(inputs, gradient, transpose_a=True), shape)
    a, g = inputs[:, 0], gradient[:, 0]

    def weighted_sum(weights: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.matmul(a, g * weights[:, None], transpose_a=True), shape)

    # Squares may underflow where their product does not: what can be lost is added.
    a_square, g_square = (_squared(rows) + rows.shape[1] * _TINY for rows in (a, g))
    return PerExample(a_square * g_square, weighted_sum)


def _written_out(rows: tf.Tensor, shape: tf.TensorShape) -> PerExample:
    """Gradients that are there, one a row of the first axis."""
    flat = tf.reshape(rows, (-1, shape.num_elements()))
    return PerExample(_squared(rows), lambda weights: tf.reshape(tf.matmul(weights[None], flat), shape))


def _sum_of_positions(values: tf.Tensor, copies: int) -> tf.Tensor:
    channels = values.shape[-1]
    positions = copies * (values.shape[1:].num_elements() // channels)
    return tf.reduce_sum(tf.reshape(values, (-1, positions, channels)), axis=1)


def _sum_of_copies(values: tf.Tensor, copies: int) -> tf.Tensor:
    return tf.reduce_sum(tf.reshape(values, (-1, copies, *values.shape[1:])), axis=1)


def _squared(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values), axis=list(range(1, len(values.shape))))
