"""An :class:`Architecture` as a pure function of weights and inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.contract import Model
from trustml.backends.jax.native import own_outputs
from trustml.backends.jax.recurrent import recurrence
from trustml.backends.jax.resizing import adaptive_pool, transposed_convolution
from trustml.backends.jax.tiling import AnyRows, calls_on_every_core, rows_at_once
from trustml.backends.jax.tokens import prepared_ids, token_layer, weighted_tokens
from trustml.backends.jax.windows import avg_pool, max_pool, patches
from trustml.backends.settings import filled_up
from trustml.data.dataset import Floats, Ints
from trustml.models.layer_types import LAYER_TYPES, TOKENS
from trustml.models.layers import (
    GELU,
    GRU,
    INPUT,
    LSTM,
    STANDARDISATION_EPSILON,
    AdaptiveAvgPool,
    Add,
    Architecture,
    AvgPool,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Multiply,
    NativeModule,
    Node,
    ReLU,
    RMSNorm,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Transpose,
)
from trustml.models.outcome import Outcome
from trustml.models.token_layers import (
    Embedding,
    Unembedding,
)
from trustml.models.weights import Weights

Params: TypeAlias = dict[str, Array]
Values: TypeAlias = dict[str, Array]
"""The input and outputs of nodes, by name."""


def apply(
    architecture: Architecture, params: Params, inputs: Array, key: Array | None = None, first: Array | int = 0
) -> Array:
    """Logits of shape (n, c).

    Parameters
    ----------
    architecture : Architecture
        Static: it decides what is compiled.
    params : dict of str to array
    inputs : array of shape (n, *x)
    key : JAX key, optional
        Draws dropout masks; without it dropout does nothing.
    first : int
        Number of the first row in its batch: masks follow the number of a row, however a batch is cut.
    """
    values = {INPUT: inputs}
    for index, node in enumerate(architecture.nodes):
        node_key = None if key is None else jax.random.fold_in(key, index)
        values[node.name] = node_output(node, params, values, node_key, first)
    return values[architecture.nodes[-1].name]


def node_output(
    node: Node, params: Params, values: Mapping[str, Array], key: Array | None = None, first: Array | int = 0
) -> Array:
    """Output of one node, from the values that it takes."""
    inputs = [values[name] for name in node.inputs]
    if isinstance(node.layer, NativeModule):
        return own_outputs(node.layer, params, inputs[0], None if key is None else jax.random.fold_in(key, first))
    if isinstance(node.layer, Unembedding):
        return inputs[0] @ params[f"{node.layer.of}.table"].T
    if has_weights(node.layer):
        return weighted(node.layer, prepared(node.layer, inputs[0]), params, node.name)
    return unweighted(node.layer, inputs, key, first)


def to_params(weights: Weights) -> Params:
    """Canonical weights to arrays on the device."""
    return {name: jnp.asarray(array) for name, array in weights.items()}


def to_weights(params: Params, names: Sequence[str]) -> Weights:
    """Arrays on the device to canonical weights, in the order of `names` (JAX sorts them)."""
    return {name: np.array(params[name], np.float32) for name in names}


def part_of(params: Params, names: Sequence[str]) -> Params:
    """Arrays of these names."""
    return {name: params[name] for name in names}


def moved(params: Params, direction: Params, learning_rate: Array) -> Params:
    """Take a step along the direction, which may be of some of the parameters alone."""
    return params | {name: params[name] - learning_rate * part for name, part in direction.items()}


def native_model(model: Model) -> tuple[Callable[[Params, Array], Array], Params]:
    """Give a pure function of parameters and inputs (n, *x), and the parameters."""

    def function(params: Params, inputs: Array) -> Array:
        return apply(model.architecture, params, jnp.asarray(inputs))

    return function, to_params(model.weights)


class JaxNetwork:
    """See :class:`trustml.backends.contract.Network`. What is compiled serves all models of one architecture."""

    def __init__(self, model: Model) -> None:
        self._architecture, self._params = model.architecture, to_params(model.weights)

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return _in_few_sizes(functools.partial(_logits, self._architecture, self._params), self._architecture, inputs)

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        program = functools.partial(_gradients, self._architecture, self._params)
        return _in_few_sizes(program, self._architecture, inputs, targets.astype(np.int32))


def _in_few_sizes(program: Callable[..., Array], architecture: Architecture, *rows: AnyRows) -> Floats:
    """Take rows through a compiled program in tiles whose last is filled up to a power of two.

    XLA compiles every number of rows anew: of a ResNet-20 that takes as long as some thousand rows do.
    """
    count, most = len(rows[0]), rows_at_once(architecture, rows[0].shape[1:])
    tiles = []
    for start in range(0, max(1, count), most):
        own = [part[start : start + most] for part in rows]
        room = 1 << max(0, len(own[0]) - 1).bit_length()
        tiles.append([filled_up(part, room) for part in own])
    return np.concatenate(calls_on_every_core(lambda tile: program(*tile), tiles))[:count]


@functools.partial(jax.jit, static_argnums=0)
def _logits(architecture: Architecture, params: Params, inputs: Array) -> Array:
    return apply(architecture, params, inputs)


@functools.partial(jax.jit, static_argnums=0)
def _gradients(architecture: Architecture, params: Params, inputs: Array, targets: Array) -> Array:
    def chosen(inputs: Array) -> Array:
        return jnp.take_along_axis(apply(architecture, params, inputs), targets[:, None], axis=1).sum()

    return jax.grad(chosen)(inputs)


def has_weights(layer: Layer) -> bool:
    """Whether the layer multiplies by weights: then it is :func:`weighted` of :func:`prepared`."""
    return LAYER_TYPES[type(layer)].has_weights


def prepared(layer: Layer, values: Array) -> Array:
    """What the weights of a layer multiply: inputs, patches (n, ..., in) or (n, ..., groups, in), normalised values."""
    match layer:
        case Conv2D():
            found = patches(values, layer.kernel, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
            return found if layer.groups == 1 else _by_group(found, layer.groups, values.shape[-1])
        case Conv1D():
            found = patches(
                values[:, :, None],
                (layer.kernel, 1),
                stride=(layer.stride, 1),
                padding=(layer.padding, (0, 0)),
                dilation=(layer.dilation, 1),
            )[:, :, 0]
            return found if layer.groups == 1 else _by_group(found, layer.groups, values.shape[-1])
        case GroupNorm():
            grouped = values.reshape(values.shape[0], -1, layer.groups, values.shape[-1] // layer.groups)
            return _normalised(grouped, axes=(1, 3), epsilon=layer.epsilon).reshape(values.shape)
        case LayerNorm():
            return _normalised(values, axes=(-1,), epsilon=layer.epsilon)
        case RMSNorm():
            return values * lax.rsqrt(jnp.square(values).mean(axis=-1, keepdims=True) + layer.epsilon)
        case Embedding():
            return prepared_ids(layer, values)
        case _:
            return values


def weighted(layer: Layer, values: Array, params: Params, name: str) -> Array:
    """Multiply what was prepared by the weights of the node of that name."""
    if isinstance(layer, GroupNorm | LayerNorm):
        return values * params[f"{name}.scale"] + params[f"{name}.bias"]
    if isinstance(layer, RMSNorm):
        return values * params[f"{name}.scale"]
    if isinstance(layer, GRU | LSTM):
        return recurrence(layer, values, params, name)
    if isinstance(layer, TOKENS):
        own = ("table", "vectors", "bias", "token")
        weights = {part: params[f"{name}.{part}"] for part in own if f"{name}.{part}" in params}
        return weighted_tokens(layer, values, weights)
    kernel = params[f"{name}.kernel"]
    if isinstance(layer, ConvTranspose2D | ConvTranspose1D):
        values = transposed_convolution(layer, values, kernel)
        return values + params[f"{name}.bias"] if f"{name}.bias" in params else values
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if isinstance(layer, Conv2D) and layer.standardised:
        matrix = standardised(matrix)
    if isinstance(layer, Conv2D | Conv1D) and layer.groups > 1:
        values = _group_product(values, matrix)
    else:
        values = values @ matrix if values.ndim == 2 else _product(values, matrix)
    return values + params[f"{name}.bias"] if f"{name}.bias" in params else values


def standardised(matrix: Array) -> Array:
    """Filters (in, out), each with mean zero and length one."""
    spread = matrix - matrix.mean(axis=0)
    return spread * lax.rsqrt(jnp.square(spread).sum(axis=0) + STANDARDISATION_EPSILON)


def _by_group(values: Array, groups: int, channels: int) -> Array:
    """Patches (n, ..., places * channels) to (n, ..., groups, places * channels / groups)."""
    apart = values.reshape(*values.shape[:-1], -1, groups, channels // groups)
    return apart.swapaxes(-2, -3).reshape(*values.shape[:-1], groups, -1)


def _group_product(values: Array, matrix: Array) -> Array:
    """Patches (n, ..., groups, in) times a matrix (in, out), whose columns are of one group after another."""
    groups = values.shape[-2]
    found = jnp.einsum("...gi,igo->...go", values, matrix.reshape(len(matrix), groups, -1))
    return found.reshape(*values.shape[:-2], -1)


@jax.custom_vjp
def _product(values: Array, matrix: Array) -> Array:
    """Patches (n, rows, columns, in) times a matrix (in, out).

    Its gradient by the matrix is summed over examples last: XLA's product over all positions of all examples at once
    takes twice as long on a CPU.
    """
    return values @ matrix


def _product_forward(values: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return values @ matrix, (values, matrix)


def _product_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    values, matrix = kept
    return gradient @ matrix.T, example_products(values, gradient).sum(axis=0).T


_product.defvjp(_product_forward, _product_backward)


def example_products(values: Array, gradient: Array) -> Array:
    """Gradient of each example by the matrix, transposed: (n, ..., in) and (n, ..., out) to (n, out, in).

    In this order XLA's product is up to three times as fast on a CPU as in the other.
    """
    examples = values.shape[0]
    a, g = (part.reshape(examples, -1, part.shape[-1]) for part in (values, gradient))
    return jnp.einsum("npo,npi->noi", g, a)


def unweighted(layer: Layer, inputs: Sequence[Array], key: Array | None, first: Array | int = 0) -> Array:
    """Apply a layer that has no weights; `key` draws a dropout mask for each row by its number."""
    values = inputs[0]
    match layer:
        case Add():
            return functools.reduce(jnp.add, inputs)
        case Multiply():
            return functools.reduce(jnp.multiply, inputs)
        case Concatenate():
            return jnp.concatenate(inputs, axis=-1)
        case MaxPool():
            return max_pool(values, size=layer.size, stride=layer.stride, padding=layer.padding)
        case AvgPool():
            return avg_pool(values, size=layer.size, stride=layer.stride, padding=layer.padding)
        case GlobalAvgPool():
            return values.mean(axis=tuple(range(1, values.ndim - 1)))
        case GlobalMaxPool():
            return _largest(values)
        case AdaptiveAvgPool():
            return adaptive_pool(layer, values)
        case ReLU():
            return jax.nn.relu(values)
        case LeakyReLU():
            return jax.nn.leaky_relu(values, layer.slope)
        case GELU():
            return jax.nn.gelu(values, approximate=False)
        case SiLU():
            return jax.nn.silu(values)
        case Softplus():
            return jax.nn.softplus(values)
        case Tanh():
            return jnp.tanh(values)
        case Sigmoid():
            return jax.nn.sigmoid(values)
        case Outcome():
            return _outcome(layer, values)
        case Flatten():
            return values.reshape(values.shape[0], -1)
        case Scale():
            return values * layer.value
        case Transpose():
            return values.transpose(0, *(axis + 1 for axis in layer.axes))
        case Dropout():
            if key is None or layer.rate == 0:
                return values
            keys = jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(len(values)))
            kept = jax.vmap(lambda own: jax.random.bernoulli(own, 1 - layer.rate, values.shape[1:]))(keys)
            return jnp.where(kept, values / (1 - layer.rate), 0.0)
        case _:
            return token_layer(layer, inputs)


def _outcome(layer: Outcome, outputs: Array) -> Array:
    if layer.quantity == "probability":
        return jax.nn.softmax(outputs) if layer.exclusive else jax.nn.sigmoid(outputs)
    if layer.exclusive:
        return -jax.nn.log_softmax(outputs)
    return jax.nn.softplus(jnp.concatenate([outputs, -outputs], axis=1))


def _largest(values: Array) -> Array:
    """Largest value of each channel over all places, the first of equal ones.

    Not ``max``, whose gradient asks which values equal the largest: XLA computes them again with other rounding, and
    gradients then differ between what is measured and what is clipped.
    """
    places = values.reshape(values.shape[0], -1, values.shape[-1])
    first = lax.stop_gradient(jnp.argmax(places, axis=1, keepdims=True))
    return jnp.take_along_axis(places, first, axis=1)[:, 0]


def _normalised(values: Array, *, axes: tuple[int, ...], epsilon: float) -> Array:
    mean = values.mean(axis=axes, keepdims=True)
    variance = jnp.square(values - mean).mean(axis=axes, keepdims=True)
    return (values - mean) * lax.rsqrt(variance + epsilon)
