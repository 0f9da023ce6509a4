"""How layers with weights, norms and pooling are carried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trustml.importing.axes import Axes, Value, flat, new_axis, size_of, sizes_of
from trustml.importing.draft import Draft
from trustml.importing.program import Constant
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments, axes_of
from trustml.models.layers import (
    GRU,
    LSTM,
    AdaptiveAvgPool,
    AvgPool,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    RMSNorm,
)
from trustml.models.token_layers import Embedding, Pick, Unembedding

SMALLEST_EPSILON = float(np.finfo(np.float32).eps)


def linear(draft: Draft, given: Arguments) -> Value:
    """A Dense; on images a Conv2D of kernel (1, 1); an Unembedding where its weights are those of an Embedding."""
    weight, bias = given.weight("weight"), given.weight("bias")
    assert weight is not None
    return dense(draft, given.value("input"), weight, bias)


def dense(draft: Draft, value: Value, weight: Constant, bias: Constant | None) -> Value:
    """Products of the last axis with a weight (out, in)."""
    value = draft.last_axis(value)
    table = draft.tables.get(weight.origin) if weight.origin and bias is None else None
    places = len(value.held) - 1
    if table is not None and places < 2 and not _is_tied(draft, table):
        layer: Any = Unembedding(of=table, vocabulary=len(weight.array))
        node = draft.add(layer, (value.node,))
    else:
        _take(draft, weight)
        kernel, weights = weight.array.T, {} if bias is None else {"bias": bias.array}
        if places == 2:
            layer = Conv2D(filters=kernel.shape[1], kernel=(1, 1), bias=bias is not None)
            kernel = kernel[None, None]
        else:
            layer = Dense(units=kernel.shape[1], bias=bias is not None)
        node = draft.add(layer, (value.node,), {"kernel": kernel, **weights})
    out = new_axis(len(weight.array))
    return Value(node=node, held=(*value.held[:-1], out), axes=(*value.axes[:-1], out))


def addmm(draft: Draft, given: Arguments) -> Value:
    """``input + mat1 @ mat2``."""
    weight, bias = given.weight("mat2"), given.weight("input")
    if weight is None or given["beta"] != 1 or given["alpha"] != 1:
        raise CannotCarryError("kernel", "alpha or beta")
    return dense(draft, given.value("mat1"), Constant(weight.array.T, weight.origin), bias)


def convolution(draft: Draft, given: Arguments, places: int) -> Value:
    """A Conv2D or Conv1D."""
    value, weight = draft.places_then_channels(given.value("input"), places), given.weight("weight")
    if weight is None:
        raise CannotCarryError("kernel")
    _take(draft, weight)
    bias = given.weight("bias")
    sizes, stride, dilation = weight.array.shape[2:], given.whole("stride", places), given.whole("dilation", places)
    padding = _padding(given, sizes, dilation, places)
    kernel = np.moveaxis(weight.array, (0, 1), (-1, -2))
    layer: Any
    if places == 2:
        layer = Conv2D(
            filters=len(weight.array), kernel=sizes, stride=stride, padding=padding, bias=bias is not None,
            groups=given["groups"], dilation=dilation,
        )  # fmt: skip
    else:
        layer = Conv1D(
            filters=len(weight.array), kernel=sizes[0], stride=stride[0], padding=padding[0], bias=bias is not None,
            groups=given["groups"], dilation=dilation[0],
        )  # fmt: skip
    node, held = draft.changed(layer, [value], {"kernel": kernel} | ({} if bias is None else {"bias": bias.array}))
    return _as_image(value, node, held)


def transposed_convolution(draft: Draft, given: Arguments, places: int) -> Value:
    """A ConvTranspose2D or ConvTranspose1D."""
    value, weight = draft.places_then_channels(given.value("input"), places), given.weight("weight")
    if weight is None:
        raise CannotCarryError("kernel")
    if given["groups"] != 1 or any(one != 1 for one in given.whole("dilation", places)):
        raise CannotCarryError("transposed")
    _take(draft, weight)
    bias, rest = given.weight("bias"), given.whole("output_padding", places)
    padding: Any = tuple((one, one - more) for one, more in zip(given.whole("padding", places), rest, strict=True))
    if min(min(sides) for sides in padding) < 0:
        raise CannotCarryError("transposed", f"output_padding {rest}")
    kernel, sizes, stride = (
        np.moveaxis(weight.array, (0, 1), (-1, -2)),
        weight.array.shape[2:],
        given.whole("stride", places),
    )
    filters, has_bias = weight.array.shape[1], bias is not None
    layer: Any
    if places == 2:
        layer = ConvTranspose2D(filters=filters, kernel=sizes, stride=stride, padding=padding, bias=has_bias)
    else:
        layer = ConvTranspose1D(
            filters=filters, kernel=sizes[0], stride=stride[0], padding=padding[0], bias=has_bias
        )  # fmt: skip
    node, held = draft.changed(layer, [value], {"kernel": kernel} | ({} if bias is None else {"bias": bias.array}))
    return _as_image(value, node, held)


def embedding(draft: Draft, given: Arguments) -> Value:
    """Rows of a table, by the token ids that are the input."""
    weight, value = given.weight("weight"), given.value("indices")
    if weight is None:
        raise CannotCarryError("kernel")
    if value.axes[0] != (draft.examples,) or len(value.axes) != 2:
        raise CannotCarryError("token_ids", f"shape {value.shape}")
    _take(draft, weight)
    vocabulary, width = weight.array.shape
    node = draft.add(Embedding(vocabulary=vocabulary, width=width), (value.node,), {"table": weight.array})
    if weight.origin:
        draft.tables.setdefault(weight.origin, node)
    out = new_axis(width)
    return Value(node=node, held=(*value.held, out), axes=(*value.axes, out))


def batch_norm(draft: Draft, given: Arguments) -> Value:
    """A number for each channel to multiply with, and one to add."""
    value = given.value("input")
    places = len(value.axes) - 2
    if value.axes[0] != (draft.examples,):
        raise CannotCarryError("batch")
    mean, variance = given.weight("running_mean"), given.weight("running_var")
    if mean is None or variance is None or given["training"]:
        raise CannotCarryError("running")
    value = draft.places_then_channels(value, places)
    channels = len(mean.array)
    deviation = np.sqrt(variance.array.astype(np.float64) + given["eps"])
    gain, offset = given.array("weight", channels, 1.0), given.array("bias", channels, 0.0)
    scale = gain / deviation
    found = draft.affine(value, scale, offset - mean.array * scale, norm=float(given["eps"]))
    draft.pieces[found.node].weights |= {"gain": np.asarray(gain), "offset": np.asarray(offset)}
    return found


def group_norm(draft: Draft, given: Arguments) -> Value:
    """A GroupNorm."""
    value = given.value("input")
    value = draft.places_then_channels(value, len(value.axes) - 2)
    channels = value.shape[1]
    weights = {"scale": given.array("weight", channels, 1.0), "bias": given.array("bias", channels, 0.0)}
    return draft.same(GroupNorm(groups=given["num_groups"], epsilon=given["eps"]), value, weights)


def instance_norm(draft: Draft, given: Arguments) -> Value:
    """A GroupNorm of as many groups as there are channels."""
    value = given.value("input")
    if not given["use_input_stats"]:
        return batch_norm(draft, Arguments({**given.found, "training": False}))
    value = draft.places_then_channels(value, len(value.axes) - 2)
    channels = value.shape[1]
    weights = {"scale": given.array("weight", channels, 1.0), "bias": given.array("bias", channels, 0.0)}
    return draft.same(GroupNorm(groups=channels, epsilon=given["eps"]), value, weights)


def layer_norm(draft: Draft, given: Arguments) -> Value:
    """A LayerNorm; over all axes of an example a GroupNorm of one group."""
    value, shape = given.value("input"), tuple(given["normalized_shape"])
    size = int(np.prod(shape))
    weight, bias = given.weight("weight"), given.weight("bias")
    if len(shape) == 1:
        value = draft.last_axis(value)
        weights = {"scale": given.array("weight", size, 1.0), "bias": given.array("bias", size, 0.0)}
        return draft.same(LayerNorm(epsilon=given["eps"]), value, weights)
    if len(shape) != len(value.axes) - 1 or value.axes[0] != (draft.examples,):
        raise CannotCarryError("norm", f"axes {shape}")
    channels = draft.shape(value.node)[-1]
    plain = {"scale": np.ones(channels, np.float32), "bias": np.zeros(channels, np.float32)}
    found = draft.same(GroupNorm(groups=1, epsilon=given["eps"]), value, plain)
    from trustml.importing.elementwise import added, multiplied

    found = found if weight is None else multiplied(draft, found, weight)
    return found if bias is None else added(draft, found, bias)


def rms_norm(draft: Draft, given: Arguments) -> Value:
    """An RMSNorm."""
    value, shape = draft.last_axis(given.value("input")), tuple(given["normalized_shape"])
    if len(shape) != 1:
        raise CannotCarryError("norm", f"axes {shape}")
    epsilon = SMALLEST_EPSILON if given["eps"] is None else given["eps"]
    return draft.same(RMSNorm(epsilon=epsilon), value, {"scale": given.array("weight", shape[0], 1.0)})


def pool(draft: Draft, given: Arguments, places: int, *, mean: bool) -> Value:
    """A MaxPool or an AvgPool; sequences go through as images of one column."""
    value = draft.places_then_channels(given.value("input"), places)
    size = given.whole("kernel_size", places)
    stride = given.whole("stride", places) or size
    padding = [(one, one) if isinstance(one, int) else tuple(one) for one in _sides(given["padding"], places)]
    if mean and given["divisor_override"]:
        raise CannotCarryError("divisor")
    if not mean and any(one != 1 for one in given.whole("dilation", places)):
        raise CannotCarryError("pool_dilation")
    sides: list[Any] = []
    for axis, (window, step, pad) in enumerate(zip(size, stride, padding, strict=True)):
        more = _beyond(size_of(value.held[axis]), window, step, pad, ceil=bool(given["ceil_mode"]))
        sides.append((pad[0], pad[1] + more))
    pads: Any = tuple(sides)
    one_window = all(window >= length for window, length in zip(size, sizes_of(value.held[:-1]), strict=True))
    if mean and one_window and given["ceil_mode"] and not any(map(any, padding)):  # it is cut off at the edge
        return gathered(draft, value, tuple(range(2, places + 2)), keep=True, layer=GlobalAvgPool())
    counted = given["count_include_pad"] and pads == tuple(padding)
    if mean and any(map(any, sides)) and not counted:
        raise CannotCarryError("count_include_pad")
    kind = AvgPool if mean else MaxPool
    if places == 1:
        flat_image = draft.laid_out(value, (value.held[0], (), value.held[1]))
        layer = kind(size=(size[0], 1), stride=(stride[0], 1), padding=(sides[0], (0, 0)))
        node, held = draft.changed(layer, [flat_image])
        return Value(node=node, held=held, axes=(value.axes[0], held[2], held[0]))
    node, held = draft.changed(kind(size=size, stride=stride, padding=pads), [value])
    return _as_image(value, node, held)


def adaptive_pool(draft: Draft, given: Arguments, places: int) -> Value:
    """An AdaptiveAvgPool; to one place a GlobalAvgPool."""
    value, found = given.value("input"), given["output_size"]
    asked = [found] * places if isinstance(found, int | None) else list(found)
    size = tuple(int(old if one is None else one) for one, old in zip(asked, value.shape[2:], strict=True))
    if all(one == 1 for one in size):
        return gathered(draft, value, tuple(range(2, places + 2)), keep=True, layer=GlobalAvgPool())
    value = draft.places_then_channels(value, places)
    if size == value.shape[2:]:
        return value
    node, held = draft.changed(AdaptiveAvgPool(size=size), [value])
    return _as_image(value, node, held)


def adaptive_max_pool(draft: Draft, given: Arguments, places: int) -> Value:
    """A GlobalMaxPool."""
    if any(one != 1 for one in given.whole("output_size", places)):
        raise CannotCarryError("last_axis", f"largest values of {given['output_size']} windows")
    value = given.value("input")
    return gathered(draft, value, tuple(range(2, places + 2)), keep=True, layer=GlobalMaxPool())


def mean(draft: Draft, given: Arguments) -> Value:
    """A GlobalAvgPool."""
    value = given.value("input")
    return gathered(draft, value, axes_of(value, given["dim"]), keep=bool(given["keepdim"]), layer=GlobalAvgPool())


def total(draft: Draft, given: Arguments) -> Value:
    """A GlobalAvgPool, times the number of places."""
    value = given.value("input")
    axes = axes_of(value, given["dim"])
    count = int(np.prod([value.shape[axis] for axis in axes]))
    found = gathered(draft, value, axes, keep=bool(given["keepdim"]), layer=GlobalAvgPool())
    return draft.affine(found, count, 0.0)


def largest(draft: Draft, given: Arguments) -> Value:
    """A GlobalMaxPool."""
    value = given.value("input")
    if "other" in given.found:
        raise CannotCarryError("operator", "the larger of two values")
    return gathered(draft, value, axes_of(value, given["dim"]), keep=bool(given["keepdim"]), layer=GlobalMaxPool())


def gathered(
    draft: Draft, value: Value, axes: tuple[int, ...], *, keep: bool, layer: GlobalAvgPool | GlobalMaxPool
) -> Value:
    """One value for each channel, over all places along some axes of the original."""
    draft.factors_are_whole(value.axes[axis] for axis in axes)
    gone = flat(tuple(value.axes[axis] for axis in axes))
    kept = tuple(factor for factor in flat(value.held) if factor not in gone)
    left = tuple(() if number in axes else axis for number, axis in enumerate(value.axes) if keep or number not in axes)
    if gone:
        channels = value.held[-1] if set(value.held[-1]) == set(kept) else kept
        places = tuple(axis for axis in value.held[:-1] if axis) if channels == value.held[-1] else ()
        value = draft.laid_out(value, (*(places or (_ordered(value, gone),)), channels))
        node = draft.add(layer, (value.node,))
        return Value(node=node, held=(channels,), axes=left)
    return replace(value, axes=left)


def recurrent(draft: Draft, given: Arguments, kind: type[GRU] | type[LSTM]) -> list[Value]:
    """GRUs or LSTMs, one above the other: states of all steps, and the last ones."""
    value, weights = given.value("input"), given["params"]
    first = given["hx"] if kind is GRU else (given["hx"] or [None])[0]
    fresh = all(isinstance(one, Constant) and not one.array.any() for one in ([first] if kind is GRU else given["hx"]))
    layers = given["num_layers"]
    if not fresh or given["bidirectional"] or not given["has_biases"] or len(weights) != 4 * layers:
        raise CannotCarryError("recurrent")
    if len(value.axes) != 3 or value.axes[0 if given["batch_first"] else 1] != (draft.examples,):
        raise CannotCarryError("axes", f"shape {value.shape}")
    steps, last = value.axes[1 if given["batch_first"] else 0], []
    value = draft.laid_out(value, (steps, value.axes[2]))
    for number in range(layers):
        own = [one.array for one in weights[4 * number : 4 * number + 4]]
        parts = dict(zip(("kernel", "recurrent_kernel", "bias", "recurrent_bias"), own, strict=True))
        parts = {part: array.T if array.ndim == 2 else array for part, array in parts.items()}
        units = own[1].shape[1]
        node, out = draft.add(kind(units=units), (value.node,), parts), new_axis(units)
        value = Value(node=node, held=(steps, out), axes=(*value.axes[:2], out))
        last.append(value)
    end = draft.add(Pick(index=-1), (value.node,), name=f"{value.node}.last")
    final = Value(node=end, held=(value.held[1],), axes=((), (draft.examples,), value.held[1]))
    return [value, final] if layers == 1 else [value]  # the last states of each layer have no node here


def _is_tied(draft: Draft, table: str) -> bool:
    return any(isinstance(piece.layer, Unembedding) and piece.layer.of == table for piece in draft.pieces.values())


def _take(draft: Draft, weight: Constant) -> None:
    """Remember that a node has this weight; a second one gets a copy."""
    if weight.origin and weight.origin in draft.taken:
        draft.note("copied", f"{weight.origin} is used more than once, and each use has a copy")
    draft.taken.add(weight.origin)


def _as_image(value: Value, node: str, held: Axes) -> Value:
    return Value(node=node, held=held, axes=(value.axes[0], held[-1], *held[:-1]))


def _padding(given: Arguments, sizes: tuple[int, ...], dilation: tuple[int, ...], places: int) -> Any:
    found = given["padding"]
    if found == "valid":
        return ((0, 0),) * places
    if found == "same":
        whole = [(size - 1) * step for size, step in zip(sizes, dilation, strict=True)]
        return tuple((one // 2, one - one // 2) for one in whole)
    return tuple((one, one) if isinstance(one, int) else tuple(one) for one in _sides(found, places))


def _sides(found: Any, places: int) -> list[Any]:
    if isinstance(found, int):
        return [found] * places
    return list(found or [0]) * places if len(found or [0]) == 1 else list(found)


def _beyond(length: int, window: int, stride: int, padding: tuple[int, int], *, ceil: bool) -> int:
    """Places beyond the edge that the last window reaches over, where the number of windows is rounded up."""
    if not ceil:
        return 0
    whole = length + sum(padding)
    count = -(-(whole - window) // stride) + 1
    if (count - 1) * stride >= length + padding[0]:
        count -= 1  # a window must begin within
    return max(0, (count - 1) * stride + window - whole)


def _ordered(value: Value, factors: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(factor for factor in flat(value.held) if factor in factors)
