"""How views, slices, joins and padding are carried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from trustml.importing.axes import Axis, Value, flat, layout_of, matched, new_axis, size_of
from trustml.importing.draft import Draft
from trustml.importing.elementwise import expanded, prepended, together
from trustml.importing.program import Array, Constant
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments, Carried, axis_of
from trustml.models.layers import INPUT, AdaptiveAvgPool, Concatenate, Conv1D, Conv2D, Dense, Sigmoid
from trustml.models.token_layers import Pick


def same(draft: Draft, given: Arguments) -> Carried:
    """Nothing at all: copies, places in memory."""
    return given["self"]


def cast(draft: Draft, given: Arguments) -> Carried:
    """Nothing, where the type holds the same numbers."""
    found, kind = given["self"], str(given["dtype"]).rpartition(".")[2]
    exact = kind in ("None", "float32", "float64") or not isinstance(found, Value) or found.node == INPUT
    if not exact:
        raise CannotCarryError("cast", kind)
    return found


def filled_like(draft: Draft, given: Arguments, number: float) -> Constant:
    """One number, of the shape of a value or a mask."""
    found = given["self"]
    if not hasattr(found, "axes"):
        raise CannotCarryError(getattr(found, "refusal", "operator"))
    shape = found.shape
    return Constant(np.full(shape, number, np.float32))


def glu(draft: Draft, given: Arguments) -> Value:
    """One half of the channels times the sigmoid of the other."""
    first, second = chunk(draft, Arguments({"self": given["self"], "dim": given["dim"], "chunks": 2}))
    return draft.product(*together(draft, first, draft.same(Sigmoid(), second)))


def view(draft: Draft, given: Arguments) -> Carried:
    """Other axes of the same numbers."""
    found, shape = given["self"], given["size"] if "size" in given.found else given["shape"]
    if not hasattr(found, "viewed"):
        raise CannotCarryError(getattr(found, "refusal", "view"))
    return found.viewed(_without_rest(found.shape, shape))


def flatten(draft: Draft, given: Arguments) -> Value:
    """Several axes as one."""
    value = given.value("self")
    first, last = axis_of(value, given["start_dim"]), axis_of(value, given["end_dim"])
    return replace(value, axes=(*value.axes[:first], flat(value.axes[first : last + 1]), *value.axes[last + 1 :]))


def unflatten(draft: Draft, given: Arguments) -> Value:
    """One axis as several."""
    value = given.value("self")
    axis = axis_of(value, given["dim"])
    sizes = _without_rest((value.shape[axis],), given["sizes"])
    return value.viewed((*value.shape[:axis], *sizes, *value.shape[axis + 1 :]))


def permute(draft: Draft, given: Arguments) -> Carried:
    """Axes in another order."""
    found = given["self"]
    if not hasattr(found, "permuted"):
        raise CannotCarryError(getattr(found, "refusal", "view"))
    return found.permuted([axis_of(found, one) for one in given["dims"]])


def transpose(draft: Draft, given: Arguments) -> Value:
    """Two axes exchanged."""
    value = given.value("self")
    order = list(range(len(value.axes)))
    first, second = (0, 1) if given["dim0"] is None else (axis_of(value, given["dim0"]), axis_of(value, given["dim1"]))
    order[first], order[second] = order[second], order[first]
    return value.permuted(order)


def unsqueeze(draft: Draft, given: Arguments) -> Carried:
    """An axis of one place more."""
    found = given["self"]
    if isinstance(found, Constant):
        return Constant(np.expand_dims(found.array, given["dim"]), found.origin)
    if not hasattr(found, "axes"):
        raise CannotCarryError(getattr(found, "refusal", "view"))
    place = given["dim"] % (len(found.axes) + 1)
    return replace(found, axes=(*found.axes[:place], (), *found.axes[place:]))


def squeeze(draft: Draft, given: Arguments) -> Carried:
    """Axes of one place gone."""
    value = given["self"]
    if not hasattr(value, "axes"):
        raise CannotCarryError(getattr(value, "refusal", "view"))
    asked = given["dim"]
    listed = range(len(value.axes)) if asked is None else [asked] if isinstance(asked, int) else asked
    gone = {axis_of(value, one) for one in listed}
    return replace(value, axes=tuple(a for n, a in enumerate(value.axes) if n not in gone or a))


def expand(draft: Draft, given: Arguments) -> Carried:
    """Repeated along axes of one place."""
    found, shape = given["self"], tuple(given["size"])
    if isinstance(found, Value):
        return expanded(draft, found, shape)
    if isinstance(found, Constant):
        return Constant(np.broadcast_to(found.array, [n if n != -1 else found.array.shape[i - len(shape)]
                                                      for i, n in enumerate(shape)]), found.origin)  # fmt: skip
    if not hasattr(found, "repeated"):
        raise CannotCarryError(getattr(found, "refusal", "broadcast"))
    return found.repeated(shape)


def expand_as(draft: Draft, given: Arguments) -> Value:
    """Repeated to the shape of another."""
    return expanded(draft, given.value("self"), given.value("other").shape)


def repeat(draft: Draft, given: Arguments) -> Carried:
    """Repeated along axes of one place."""
    value, counts = given.value("self"), list(given["repeats"])
    value = replace(value, axes=((),) * (len(counts) - len(value.axes)) + value.axes)
    if any(count != 1 and size != 1 for count, size in zip(counts, value.shape, strict=True)):
        raise CannotCarryError("broadcast", f"{value.shape} repeated {counts} times")
    return expanded(draft, value, tuple(size * n for size, n in zip(value.shape, counts, strict=True)))


def select(draft: Draft, given: Arguments) -> Value:
    """One place along an axis."""
    value = given.value("self")
    axis = axis_of(value, given["dim"])
    found = _cut(draft, value, axis, [given["index"] % value.shape[axis]])
    return replace(found, axes=(*found.axes[:axis], *found.axes[axis + 1 :]))


def slices(draft: Draft, given: Arguments) -> Carried:
    """Places along an axis."""
    value = given["self"]
    if not hasattr(value, "axes"):
        raise CannotCarryError(getattr(value, "refusal", "crop"))
    axis = axis_of(value, given["dim"] or 0)
    places = list(range(value.shape[axis]))[slice(given["start"], given["end"], given["step"])]
    if not isinstance(value, Value):
        if len(places) < value.shape[axis]:
            raise CannotCarryError("attention_mask", "a part of a mask")
        return value
    return _cut(draft, value, axis, places)


def split(draft: Draft, given: Arguments) -> list[Value]:
    """Parts of an axis, of a size each or of sizes."""
    value = given.value("self")
    axis = axis_of(value, given["dim"])
    sizes = given["split_sizes"] if given["split_sizes"] is not None else given["split_size"]
    length = value.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - begin) for begin in range(0, length, sizes)]
    ends = np.cumsum(sizes)
    return [_cut(draft, value, axis, list(range(end - n, end))) for end, n in zip(ends, sizes, strict=True)]


def chunk(draft: Draft, given: Arguments) -> list[Value]:
    """So many parts of an axis."""
    value = given.value("self")
    size = -(-value.shape[axis_of(value, given["dim"])] // given["chunks"])
    return split(draft, Arguments({"self": value, "dim": given["dim"], "split_size": size}))


def unbind(draft: Draft, given: Arguments) -> list[Value]:
    """Every place along an axis."""
    value = given.value("self")
    count = value.shape[axis_of(value, given["dim"])]
    return [select(draft, Arguments({**given.found, "index": number})) for number in range(count)]


def concatenate(draft: Draft, given: Arguments) -> Value:
    """Channels side by side; or a token before a sequence."""
    parts, asked = list(given["tensors"]), given["dim"] or 0
    values = [one for one in parts if isinstance(one, Value)]
    if len(values) == 1 and isinstance(parts[-1], Value) and asked in (1, -2):
        value = values[0]
        for part in reversed(parts[:-1]):
            value = prepended(draft, part, value)
        return value
    if len(values) != len(parts) or not values:
        raise CannotCarryError("concatenate", "constants")
    axis = axis_of(values[0], asked)
    if draft.examples in flat(tuple(one.axes[axis] for one in values)):
        raise CannotCarryError("batch")
    joined, rest = new_axis(sum(one.shape[axis] for one in values)), []
    for value in values:
        others = tuple(factor for factor in flat(value.held) if factor not in value.axes[axis])
        own = value.axes[axis]
        whole = value.held[-1] == own
        rest.append(value if whole else draft.laid_out(value, (*((others,) if others else ()), own)))
    first, aligned = rest[0], [rest[0]]
    for value in rest[1:]:
        aligned.append(_beside(draft, first, value, axis))
    node = draft.add(Concatenate(), [one.node for one in aligned])
    axes = tuple(joined if number == axis else one for number, one in enumerate(first.axes))
    return Value(node=node, held=(*first.held[:-1], joined), axes=axes)


def pad(draft: Draft, given: Arguments) -> Value:
    """Zeros around, by a convolution of kernel 1 that the next one takes over if it can."""
    value, sides = given.value("self"), [int(one) for one in given["pad"]]
    if (given["mode"] or "constant") != "constant" or given["value"]:
        raise CannotCarryError("pad", f"mode {given['mode']}, value {given['value']}")
    if not any(sides):
        return value
    if min(sides) < 0:
        raise CannotCarryError("crop", f"padding {sides}")
    pairs = [(sides[number], sides[number + 1]) for number in range(0, len(sides), 2)][::-1]
    places = len(value.axes) - 2
    by_axis = [(0, 0)] * (len(value.axes) - len(pairs)) + pairs
    channel = len(value.axes) - 1 if any(by_axis[1]) else 1
    if places not in (1, 2) or any(by_axis[0]) or any(by_axis[channel]):
        raise CannotCarryError("axes", f"padding {sides} of {value.shape}")
    order = [0, channel, *(axis for axis in range(1, len(value.axes)) if axis != channel)]
    value = draft.places_then_channels(value.permuted(order), places)
    around: Any = tuple(by_axis[axis] for axis in order[2:])
    count = draft.shape(value.node)[-1]
    kernel = {"kernel": np.ones((*(1,) * (places + 1), count), np.float32)}
    layer: Any
    if places == 2:
        layer = Conv2D(filters=count, kernel=(1, 1), padding=around, bias=False, groups=count)
    else:
        layer = Conv1D(filters=count, kernel=1, padding=around[0], bias=False, groups=count)
    node, held = draft.changed(layer, [value], kernel)
    found = Value(node=node, held=held, axes=(value.axes[0], held[-1], *held[:-1]))
    return found.permuted([order.index(axis) for axis in range(len(order))])


def upsample(draft: Draft, given: Arguments) -> Value:
    """Each place repeated."""
    value = given.value("self")
    places = len(value.axes) - 2
    asked, factors = given["output_size"], given["scale_factors"] or given["scales"]
    sizes = value.shape[2:]
    size = (
        tuple(asked) if asked else tuple(int(n * one) for n, one in zip(sizes, _listed(factors, places), strict=True))
    )
    if any(new % old for new, old in zip(size, sizes, strict=True)):
        raise CannotCarryError("upsample", f"{sizes} to {size}")
    value = draft.places_then_channels(value, places)
    node, held = draft.changed(AdaptiveAvgPool(size=size), [value])
    return Value(node=node, held=held, axes=(value.axes[0], held[-1], *held[:-1]))


def _listed(factors: Any, places: int) -> Sequence[float]:
    return [factors] * places if isinstance(factors, int | float) else factors


def _without_rest(old: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Give the size that is written as -1."""
    known = math.prod(one for one in shape if one != -1)
    if known <= 0:
        raise CannotCarryError("view")
    return tuple(math.prod(old) // known if one == -1 else int(one) for one in shape)


def _cut(draft: Draft, value: Value, axis: int, places: list[int]) -> Value:
    """Some places along an axis: all, one step, or channels."""
    length = value.shape[axis]
    if places == list(range(length)):
        return value
    draft.factors_are_whole([value.axes[axis]])
    own = value.axes[axis]
    rest = tuple(factor for factor in flat(value.held) if factor not in own)
    kept = new_axis(len(places))
    axes = tuple(kept if number == axis else one for number, one in enumerate(value.axes))
    if len(places) == 1 and len(value.held) == 2 and value.held[0] == own:
        node = draft.add(Pick(index=places[0]), (value.node,))
        return Value(node=node, held=(value.held[1],), axes=axes)
    channels = value.held[-1]
    if set(own) <= set(channels):  # such as queries, keys and values side by side
        remaining = tuple(factor for factor in channels if factor not in own)
        held = (*value.held[:-1], (*remaining, *kept))
        return Value(node=_selected(draft, value.node, _channels(channels, own, places)), held=held, axes=axes)
    if len(places) == 1 and len(own) and not set(own) & set(channels):
        found = draft.laid_out(value, (own, rest))
        node = draft.add(Pick(index=places[0]), (found.node,))
        return Value(node=node, held=(rest,), axes=axes)
    raise CannotCarryError("crop", f"{len(places)} of {length} places")


def _channels(channels: Axis, own: Axis, places: list[int]) -> Array:
    """Numbers of the channels at some places of a part of their axis: all of the rest, and these places of each."""
    numbers = np.arange(size_of(channels)).reshape([factor.size for factor in channels])
    last = range(len(channels) - len(own), len(channels))
    moved = np.moveaxis(numbers, [channels.index(factor) for factor in own], list(last))
    return moved.reshape(-1, size_of(own))[:, places].reshape(-1)


def _selected(draft: Draft, node: str, chosen: Array) -> str:
    """Give some channels of a node: by fewer weights where it has weights, else by a product with zeros and ones."""
    piece = draft.pieces[node]
    if isinstance(piece.layer, Dense) or (isinstance(piece.layer, Conv2D | Conv1D) and piece.layer.groups == 1):
        weights = {part: array[..., chosen] for part, array in piece.weights.items()}
        sizes = {"units" if isinstance(piece.layer, Dense) else "filters": len(chosen)}
        return draft.add(msgspec.structs.replace(piece.layer, **sizes), piece.inputs, weights, name=node)
    size = draft.shape(node)[-1]
    kernel = np.zeros((size, len(chosen)), np.float32)
    kernel[chosen, np.arange(len(chosen))] = 1
    draft.note("written out", "channels chosen by a kernel of zeros and ones")
    if len(draft.shape(node)) == 3:
        return draft.add(
            Conv2D(filters=len(chosen), kernel=(1, 1), bias=False), (node,), {"kernel": kernel[None, None]}
        )
    return draft.add(Dense(units=len(chosen), bias=False), (node,), {"kernel": kernel})


def _beside(draft: Draft, first: Value, value: Value, axis: int) -> Value:
    """Hold a value as the first one is held, but for the length of one axis."""
    stand_in = replace(first, axes=tuple(() if n == axis else one for n, one in enumerate(first.axes)))
    own = value.axes[axis]
    bare = replace(value, axes=tuple(() if n == axis else one for n, one in enumerate(value.axes)))
    one, other = matched(replace(stand_in, held=first.held[:-1]), replace(bare, held=value.held[:-1]))
    wanted = layout_of(other, one)
    whole = Value(node=value.node, held=(*other.held, own), axes=value.axes)
    return draft.laid_out(whole, (*wanted, own))
