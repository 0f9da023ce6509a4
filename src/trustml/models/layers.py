"""Layers and graphs of them as plain data, from which every backend builds the same function.

Arrays are channels-last: images are ``(height, width, channels)``. Padding is always an explicit count of
rows and columns, because the frameworks disagree on what "same" means as soon as a stride is involved.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

import msgspec

from trustml.models.layer_spec import LayerSpec as LayerSpec
from trustml.models.layer_spec import NativeModule as NativeModule
from trustml.models.same_shape_layers import (
    GELU as GELU,
)
from trustml.models.same_shape_layers import (
    BatchNorm as BatchNorm,
)
from trustml.models.same_shape_layers import (
    Dropout as Dropout,
)
from trustml.models.same_shape_layers import (
    GroupNorm as GroupNorm,
)
from trustml.models.same_shape_layers import (
    LayerNorm as LayerNorm,
)
from trustml.models.same_shape_layers import (
    LeakyReLU as LeakyReLU,
)
from trustml.models.same_shape_layers import (
    ReLU as ReLU,
)
from trustml.models.same_shape_layers import (
    RMSNorm as RMSNorm,
)
from trustml.models.same_shape_layers import (
    Sigmoid as Sigmoid,
)
from trustml.models.same_shape_layers import (
    SiLU as SiLU,
)
from trustml.models.same_shape_layers import (
    Softplus as Softplus,
)
from trustml.models.same_shape_layers import (
    Tanh as Tanh,
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
from trustml.ranges import Count, CountOrNone, Sides

Padding: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in rows and columns."""

Initialisation: TypeAlias = Literal["torch", "glorot_uniform", "kaiming", "truncated_normal"]
NO_PADDING: Padding = ((0, 0), (0, 0))
NO_DILATION: Sides = (1, 1)
STANDARDISATION_EPSILON = 1e-4


class Dense(LayerSpec, frozen=True, kw_only=True, tag="Dense"):
    """``y = x @ kernel + bias`` on the last axis of a vector or of a sequence; kernel is (in, units)."""

    units: Count
    bias: bool = True


class Conv2D(LayerSpec, frozen=True, kw_only=True, tag="Conv2D", omit_defaults=True):
    """Cross-correlation; kernel is (height, width, in / groups, filters). Padding is with zeros.

    Parameters
    ----------
    filters : int
    kernel, stride : (int, int)
    padding : ((int, int), (int, int))
    bias : bool
    groups : int
        Parts of the channels, each with its own share of the filters, which see nothing else: a divisor of both. As
        many as there are channels make a depthwise convolution.
    dilation : (int, int)
        Rows and columns from one value of a window to the next.
    standardised : bool
        Use ``(w - mean) / sqrt(sum((w - mean)**2) + 1e-4)`` for the kernel of each filter (weight standardisation, Qiao
        et al., arXiv 1903.10520, scaled by the fan-in as in Brock et al., arXiv 2101.08692).
    """

    filters: Count
    # Factories, as these have always been written out; what came later is written where it is not the default.
    kernel: Sides = msgspec.field(default_factory=lambda: (3, 3))
    stride: Sides = msgspec.field(default_factory=lambda: (1, 1))
    padding: Padding = msgspec.field(default_factory=lambda: NO_PADDING)
    bias: bool = msgspec.field(default_factory=lambda: True)
    groups: Count = 1
    dilation: Sides = NO_DILATION
    standardised: bool = False

    def __post_init__(self) -> None:
        """Make equal layers the same text: a default is left out where it is the same object."""
        if self.dilation == NO_DILATION:
            msgspec.structs.force_setattr(self, "dilation", NO_DILATION)


class Conv1D(LayerSpec, frozen=True, kw_only=True, tag="Conv1D", omit_defaults=True):
    """Cross-correlation along a sequence (steps, channels); kernel is (steps, in / groups, filters).

    Parameters
    ----------
    filters : int
    kernel, stride : int
    padding : (int, int)
        Steps of zeros before and after; ``((kernel - 1) * dilation, 0)`` makes it causal.
    dilation : int
        Steps from one value of a window to the next.
    bias : bool
    groups : int
        As those of :class:`Conv2D`.
    """

    filters: Count
    kernel: Count = msgspec.field(default_factory=lambda: 3)
    stride: Count = msgspec.field(default_factory=lambda: 1)
    padding: tuple[CountOrNone, CountOrNone] = msgspec.field(default_factory=lambda: (0, 0))
    dilation: Count = msgspec.field(default_factory=lambda: 1)
    bias: bool = msgspec.field(default_factory=lambda: True)
    groups: Count = 1


class ConvTranspose2D(LayerSpec, frozen=True, kw_only=True, tag="ConvTranspose2D"):
    """The transpose of a convolution: each value lays its kernel down; kernel is (height, width, filters, in).

    Images of ``n`` rows become ones of ``(n - 1) * stride + kernel - top - bottom``.

    Parameters
    ----------
    filters : int
    kernel, stride : (int, int)
    padding : ((int, int), (int, int))
        Rows and columns that are cut off at each side, where the convolution would have padded.
    bias : bool
    """

    filters: Count
    kernel: Sides = (2, 2)
    stride: Sides = (2, 2)
    padding: Padding = NO_PADDING
    bias: bool = True


class ConvTranspose1D(LayerSpec, frozen=True, kw_only=True, tag="ConvTranspose1D"):
    """The transpose of a convolution along a sequence; kernel is (steps, filters, in). See :class:`ConvTranspose2D`.

    Parameters
    ----------
    filters : int
    kernel, stride : int
    padding : (int, int)
    bias : bool
    """

    filters: Count
    kernel: Count = 2
    stride: Count = 2
    padding: tuple[CountOrNone, CountOrNone] = (0, 0)
    bias: bool = True


class GRU(LayerSpec, frozen=True, kw_only=True, tag="GRU"):
    """Gated recurrent units over a sequence (steps, channels): the state after every step, (steps, units).

    With states from zero on, ``a = x @ kernel + bias`` and ``b = state @ recurrent_kernel + recurrent_bias``, each in
    three parts: reset ``r = sigmoid(a0 + b0)``, update ``z = sigmoid(a1 + b1)``, new ``n = tanh(a2 + r * b2)``, and the
    next state is ``(1 - z) * n + z * state`` (Cho et al., arXiv 1406.1078v1). So PyTorch has it, and Keras by
    ``reset_after=True``, where the first two parts come the other way round. Kernels are (channels, 3 * units) and
    (units, 3 * units).
    """

    units: Count


class LSTM(LayerSpec, frozen=True, kw_only=True, tag="LSTM"):
    """Long short-term memory over a sequence (steps, channels): the state after every step, (steps, units).

    With states and cells from zero on, ``x @ kernel + bias + state @ recurrent_kernel + recurrent_bias`` has four
    parts: ``i``, ``f`` by the sigmoid, ``g`` by tanh, ``o`` by the sigmoid. The next cell is ``f * cell + i * g``, and
    the next state ``o * tanh(cell)`` (Hochreiter and Schmidhuber, 1997; Gers et al., 2000). Kernels are
    (channels, 4 * units) and (units, 4 * units).
    """

    units: Count


class MaxPool(LayerSpec, frozen=True, kw_only=True, tag="MaxPool"):
    """Largest value of each window. Padding is with minus infinity, so it never wins."""

    size: Sides = (2, 2)
    stride: Sides = (2, 2)
    padding: Padding = NO_PADDING


class AvgPool(LayerSpec, frozen=True, kw_only=True, tag="AvgPool"):
    """Mean of each window. Padding is with zeros, and the zeros count."""

    size: Sides = (2, 2)
    stride: Sides = (2, 2)
    padding: Padding = NO_PADDING


class GlobalAvgPool(LayerSpec, frozen=True, kw_only=True, tag="GlobalAvgPool"):
    """Mean of each channel over all places: images and sequences become vectors."""


class GlobalMaxPool(LayerSpec, frozen=True, kw_only=True, tag="GlobalMaxPool"):
    """Largest value of each channel over all places: images and sequences become vectors."""


class AdaptiveAvgPool(LayerSpec, frozen=True, kw_only=True, tag="AdaptiveAvgPool"):
    """Means of as many windows as are asked for, along each axis of places, whatever their number.

    Of ``n`` places, window ``i`` of ``size`` reaches from ``floor(i * n / size)`` to ``ceil((i + 1) * n / size)``, as
    PyTorch has it; windows overlap where ``size`` does not divide ``n``.

    Parameters
    ----------
    size : tuple of int
        (rows, columns) for images, (steps,) for sequences.
    """

    size: tuple[Count, ...]


class Scale(LayerSpec, frozen=True, kw_only=True, tag="Scale"):
    """Multiply by a public constant.

    Parameters
    ----------
    value : float
        Of the scenario, never of the data: it is not trained, and costs no privacy.
    """

    value: float


class Transpose(LayerSpec, frozen=True, kw_only=True, tag="Transpose"):
    """Axes of each example in another order.

    Parameters
    ----------
    axes : tuple of int
        Which axis each one of the output was; images have axes 0 (rows), 1 (columns) and 2 (channels).
    """

    axes: tuple[CountOrNone, ...]


class Add(LayerSpec, frozen=True, kw_only=True, tag="Add"):
    """Sum of two or more inputs of one shape."""


class Multiply(LayerSpec, frozen=True, kw_only=True, tag="Multiply"):
    """Product, element by element, of two or more inputs of one shape."""


class Concatenate(LayerSpec, frozen=True, kw_only=True, tag="Concatenate"):
    """Two or more inputs side by side along the last axis, the channels or features."""


class Flatten(LayerSpec, frozen=True, kw_only=True, tag="Flatten"):
    """One vector per example, in the order height, width, channels."""


Layer: TypeAlias = (
    Dense
    | Conv2D
    | Conv1D
    | ConvTranspose2D
    | ConvTranspose1D
    | GRU
    | LSTM
    | MaxPool
    | AvgPool
    | AdaptiveAvgPool
    | GlobalAvgPool
    | GlobalMaxPool
    | ReLU
    | LeakyReLU
    | GELU
    | SiLU
    | Softplus
    | Tanh
    | Sigmoid
    | Flatten
    | Scale
    | Transpose
    | Add
    | Multiply
    | Concatenate
    | GroupNorm
    | LayerNorm
    | RMSNorm
    | Dropout
    | BatchNorm
    | Embedding
    | Mask
    | FeatureTokens
    | LearnedPositions
    | SinusoidalPositions
    | Prepend
    | Attention
    | MaskedMean
    | Pick
    | Reshape
    | Unembedding
    | NativeModule
)

INPUT = "input"
"""Name of what goes into a network."""


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="Node"):
    """A layer with a name, which says whose outputs it takes.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``-`` and dots between them, such as ``stage2.0.conv1``. Weights are named by it.
    layer : Layer
    inputs : tuple of str
        Names of earlier nodes, or ``"input"``; the node before by default.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...] = ()


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feed-forward network as data: a chain of layers, or a graph of named nodes.

    A bare layer is the node named by its place in the list, and takes the output of the one before it. As nodes take
    the outputs of earlier ones, the list is in an order in which they can be computed.

    Parameters
    ----------
    layers : tuple of Layer or Node
        From input to output. The last one must give one logit per class.
    initialisation : {"torch", "glorot_uniform", "kaiming", "truncated_normal"}
        Law of the starting weights, which the core draws and every backend gets. ``"torch"`` is PyTorch's
        default, uniform within 1/sqrt(fan_in) for kernels and biases; ``"glorot_uniform"`` is Keras's
        default, with zero biases (Glorot and Bengio, AISTATS 2010); ``"kaiming"`` is normal with deviation
        sqrt(2/fan_in), with zero biases (He et al., ICCV 2015); ``"truncated_normal"`` is normal with deviation 0.02,
        cut off at twice that, with zero biases (Devlin et al., arXiv 1810.04805).
    """

    layers: tuple[Layer | Node, ...]
    initialisation: Initialisation = "torch"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All layers as nodes, each with the names of its inputs."""
        return _nodes(self.layers)


@functools.lru_cache(maxsize=256)
def _nodes(layers: tuple[Layer | Node, ...]) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for index, layer in enumerate(layers):
        node = layer if isinstance(layer, Node) else Node(name=str(index), layer=layer)
        before = nodes[-1].name if nodes else INPUT
        nodes.append(node if node.inputs else msgspec.structs.replace(node, inputs=(before,)))
    return tuple(nodes)
