"""How activations, sums and products are carried, of values and of constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from trustml.importing.axes import Axis, Value, flat, layout_of, matched, new_axis, size_of, sizes_of
from trustml.importing.draft import Draft
from trustml.importing.program import Array, Constant
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments, Carried, Carry, limit_of
from trustml.models.layers import (
    GELU,
    INPUT,
    AdaptiveAvgPool,
    Conv2D,
    Dense,
    Layer,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from trustml.models.token_layers import LearnedPositions, Prepend

FEWEST_AXES_OF_AN_IMAGE = 3
_SOFTPLUS_THRESHOLD = 20


def activation(layer: Layer) -> Carry:
    """Carry an activation that is a layer here."""
    return lambda draft, given: draft.same(layer, given.value("self"))


def leaky(draft: Draft, given: Arguments) -> Value:
    """A LeakyReLU."""
    return draft.same(LeakyReLU(slope=given["negative_slope"]), given.value("self"))


def gelu(draft: Draft, given: Arguments) -> Value:
    """A GELU; its approximation by tanh is ``x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``, written out."""
    value = given.value("self")
    if given["approximate"] in (None, "none"):
        return draft.same(GELU(), value)
    draft.note("written out", "GELU by tanh")
    cube = draft.affine(draft.product(draft.product(value, value), value), 0.044715, 0.0)
    inner = draft.same(Tanh(), draft.affine(draft.sum(value, cube), math.sqrt(2 / math.pi), 0.0))
    half = draft.affine(value, 0.5, 0.0)
    return draft.sum(half, draft.product(half, inner))


def softplus(draft: Draft, given: Arguments) -> Value:
    """A Softplus."""
    value, beta, threshold = given.value("self"), float(given["beta"]), given["threshold"]
    if threshold not in (None, _SOFTPLUS_THRESHOLD):
        raise CannotCarryError("softplus", f"threshold {threshold:g}")
    return draft.affine(draft.same(Softplus(), draft.affine(value, beta, 0.0)), 1 / beta, 0.0)


def mish(draft: Draft, given: Arguments) -> Value:
    """``x * tanh(softplus(x))``."""
    value = given.value("self")
    draft.note("written out", "Mish")
    return draft.product(value, draft.same(Tanh(), draft.same(Softplus(), value)))


def clipped(draft: Draft, value: Value, low: float | None, high: float | None) -> Value:
    """``min(max(x, low), high)`` by ReLUs."""
    if low is not None:
        value = draft.affine(draft.same(ReLU(), draft.affine(value, 1.0, -low)), 1.0, low)
    if high is not None:
        value = draft.affine(draft.same(ReLU(), draft.affine(value, -1.0, high)), -1.0, high)
    return value


def relu6(draft: Draft, given: Arguments) -> Value:
    """``min(max(x, 0), 6)``."""
    draft.note("written out", "ReLU6")
    return clipped(draft, given.value("self"), 0.0, 6.0)


def clamp(draft: Draft, given: Arguments) -> Value:
    """``min(max(x, low), high)``."""
    low, high = (given["min"], given["max"]) if "min" in given.found else (given["min_val"], given["max_val"])
    low, high = limit_of(low, low=True), limit_of(high, low=False)
    draft.note("written out", f"limits {low} and {high}")
    return clipped(draft, given.value("self"), low, high)


def hard_sigmoid(draft: Draft, given: Arguments) -> Value:
    """``relu6(x + 3) / 6``."""
    draft.note("written out", "hard sigmoid")
    return _hard_sigmoid(draft, given.value("self"))


def hard_swish(draft: Draft, given: Arguments) -> Value:
    """``x * relu6(x + 3) / 6``."""
    value = given.value("self")
    draft.note("written out", "hard swish")
    return draft.product(value, _hard_sigmoid(draft, value))


def prelu(draft: Draft, given: Arguments) -> Value:
    """``max(x, 0) - slope * max(-x, 0)``."""
    value, slope = given.value("self"), given.weight("weight")
    assert slope is not None
    if slope.array.size > 1:
        value = draft.places_then_channels(value, len(value.axes) - 2)
    draft.note("written out", "PReLU")
    below = draft.same(ReLU(), draft.affine(value, -1.0, 0.0))
    slopes = -slope.array.reshape(-1) if slope.array.size > 1 else -float(slope.array.reshape(-1)[0])
    return draft.sum(draft.same(ReLU(), value), draft.affine(below, slopes, 0.0))


def absolute(draft: Draft, given: Arguments) -> Value:
    """``max(x, 0) + max(-x, 0)``."""
    value = given.value("self")
    below = draft.same(ReLU(), draft.affine(value, -1.0, 0.0))
    return draft.sum(draft.same(ReLU(), value), below)


def dropout(draft: Draft, given: Arguments) -> Value:
    """Nothing: a trained network has none."""
    if given["train"]:
        raise CannotCarryError("operator", "dropout that stays on in evaluation mode")
    draft.note("left out", "Dropout")
    return given.value("input")


def negative(draft: Draft, given: Arguments) -> Value:
    """``-x``."""
    return draft.affine(given.value("self"), -1.0, 0.0)


def power(draft: Draft, given: Arguments) -> Value:
    """A product of a value with itself."""
    value, exponent = given.value("self"), given["exponent"]
    if exponent not in (1, 2, 3, 4):
        raise CannotCarryError("operator", f"power {exponent}")
    found = value
    for _ in range(int(exponent) - 1):
        found = draft.product(found, value)
    return found


def square(draft: Draft, given: Arguments) -> Value:
    """``x * x``."""
    value = given.value("self")
    return draft.product(value, value)


def plus(draft: Draft, given: Arguments) -> Carried:
    """``self + alpha * other``."""
    return _added(draft, given["self"], _times(draft, given["other"], _number(given, "alpha")))


def minus(draft: Draft, given: Arguments) -> Carried:
    """``self - alpha * other``."""
    return _added(draft, given["self"], _times(draft, given["other"], -_number(given, "alpha")))


def minus_from(draft: Draft, given: Arguments) -> Carried:
    """``other - alpha * self``."""
    return _added(draft, given["other"], _times(draft, given["self"], -_number(given, "alpha")))


def times(draft: Draft, given: Arguments) -> Carried:
    """``self * other``."""
    return _times(draft, given["self"], given["other"])


def divided(draft: Draft, given: Arguments) -> Carried:
    """``self / other``, of a constant."""
    other = given["other"]
    if isinstance(other, Value):
        raise CannotCarryError("operator", "a quotient of two values")
    if isinstance(other, Constant):
        return _times(draft, given["self"], Constant(1 / other.array))
    return _times(draft, given["self"], 1 / other)


def added(draft: Draft, value: Value, constant: Constant) -> Value:
    """Add a constant: one a channel, or one a place."""
    array = as_held(value, constant.array)
    if array.size == 1 or _along_channels(array):
        return draft.affine(value, 1.0, array.reshape(-1))
    layout = value.held if len(value.held) == 2 else (_all_but_last(value), value.held[-1])
    table = np.broadcast_to(array, sizes_of(value.held)).reshape(sizes_of(layout))
    found = draft.laid_out(value, layout)
    return draft.laid_out(draft.same(LearnedPositions(), found, {"table": table}), value.held)


def multiplied(draft: Draft, value: Value, constant: Constant) -> Value:
    """Multiply by a constant: one number, or one a channel."""
    array = as_held(value, constant.array)
    if array.size == 1:
        return draft.affine(value, float(array.reshape(-1)[0]), 0.0)
    if not _along_channels(array):
        raise CannotCarryError("factor", f"constants of shape {constant.array.shape}")
    return draft.affine(value, array.reshape(-1), 0.0)


def as_held(value: Value, array: Array) -> Array:
    """Give constants that go with the original's array in the layout of ours, without repeating them."""
    while array.ndim > len(value.axes) and array.shape[0] == 1:
        array = array[0]
    if array.ndim > len(value.axes):
        raise CannotCarryError("broadcast", f"constants of shape {array.shape} to {value.shape}")
    array = array.reshape((1,) * (len(value.axes) - array.ndim) + array.shape)
    if any(n not in (1, size) for n, size in zip(array.shape, value.shape, strict=True)):
        raise CannotCarryError("broadcast", f"constants of shape {array.shape} to {value.shape}")
    sizes, factors = [], flat(value.axes)
    for axis, length in zip(value.axes, array.shape, strict=True):
        sizes += [factor.size if length > 1 else 1 for factor in axis]
    split = array.reshape(sizes)
    for number, factor in enumerate(factors):
        if factor.examples and split.shape[number] > 1:
            if not (split == split.take([0], axis=number)).all():
                raise CannotCarryError("batch")
            split = split.take([0], axis=number)
    own = [number for number, factor in enumerate(factors) if not factor.examples]
    split = split.reshape([split.shape[number] for number in own])
    kept = [factors[number] for number in own]
    split = split.transpose([kept.index(factor) for factor in flat(value.held)])
    lengths = iter(split.shape)
    groups = [[next(lengths) for _ in axis] for axis in value.held]
    whole = [sizes_of((factor,) for factor in axis) if any(n > 1 for n in found) else (1,) * len(found)  # type: ignore[arg-type]
             for axis, found in zip(value.held, groups, strict=True)]  # fmt: skip
    split = np.broadcast_to(split, [n for found in whole for n in found])
    return split.reshape([math.prod(found) for found in whole])


def together(draft: Draft, first: Value, second: Value) -> tuple[Value, Value]:
    """Bring two values to one shape and one layout."""
    first, second = _same_length(first, second)
    first, second = _repeated(draft, first, second), _repeated(draft, second, first)
    first, second = matched(first, second)
    wanted = layout_of(second, first)
    if second.held != wanted and len(flat(first.axes)) and first.node == INPUT:
        return draft.laid_out(first, layout_of(first, second)), second
    return first, draft.laid_out(second, wanted)


def expanded(draft: Draft, value: Value, shape: tuple[int, ...]) -> Value:
    """Repeat a value along axes of one place."""
    missing = len(shape) - len(value.axes)
    if missing < 0 or (missing and any(one not in (1, -1) for one in shape[:missing])):
        raise CannotCarryError("broadcast", f"{value.shape} to {shape}")
    value = replace(value, axes=((),) * missing + value.axes)
    wanted = tuple(old if one == -1 else one for one, old in zip(shape, value.shape, strict=True))
    if wanted == value.shape:
        return value
    axes = tuple(axis if axis or size == 1 else new_axis(size) for axis, size in zip(value.axes, wanted, strict=True))
    return _repeat(draft, value, axes)


def prepended(draft: Draft, constant: Constant, value: Value) -> Value:
    """Put a trained token before a sequence."""
    array = constant.array
    if array.ndim != 3 or array.shape[1] != 1 or (array != array[:1]).any() or value.axes[0] != (draft.examples,):
        raise CannotCarryError("concatenate", f"constants of shape {array.shape}")
    steps, channels = value.axes[1:]
    found = draft.laid_out(value, (steps, channels))
    node = draft.add(Prepend(), (found.node,), {"token": array[0, 0]})
    longer = new_axis(size_of(steps) + 1)
    return Value(node=node, held=(longer, channels), axes=(value.axes[0], longer, channels))


def _number(given: Arguments, name: str) -> float:
    found = given[name]
    return 1.0 if found is None else float(found)


def _hard_sigmoid(draft: Draft, value: Value) -> Value:
    return draft.affine(clipped(draft, draft.affine(value, 1.0, 3.0), 0.0, 6.0), 1 / 6, 0.0)


def _added(draft: Draft, first: Carried, second: Carried) -> Carried:
    if not isinstance(first, Value):
        first, second = second, first
    for one, other in ((first, second), (second, first)):
        if hasattr(one, "plus"):
            return one.plus(other)
    if not isinstance(first, Value):
        raise CannotCarryError("operator", f"a sum of {type(first).__name__} and {type(second).__name__}")
    if isinstance(second, int | float):
        return draft.affine(first, 1.0, float(second))
    if isinstance(second, Constant):
        return added(draft, first, second)
    if not isinstance(second, Value):
        raise CannotCarryError("operator", f"a sum with {type(second).__name__}")
    first, second = together(draft, first, second)
    return draft.sum(first, second)


def _times(draft: Draft, first: Carried, second: Carried) -> Carried:
    if not isinstance(first, Value):
        first, second = second, first
    for one, other in ((first, second), (second, first)):
        if hasattr(one, "times"):
            return one.times(other)
    if not isinstance(first, Value):
        if isinstance(first, Constant) and isinstance(second, Constant | int | float):
            return Constant(first.array * (second.array if isinstance(second, Constant) else second))
        if isinstance(second, Constant):
            return Constant(second.array * first)
        return first * second
    if isinstance(second, int | float):
        return draft.affine(first, float(second), 0.0)
    if isinstance(second, Constant):
        return multiplied(draft, first, second)
    first, second = together(draft, first, second)
    return draft.product(first, second)


def _along_channels(array: Array) -> bool:
    return all(size == 1 for size in array.shape[:-1])


def _all_but_last(value: Value) -> Axis:
    return flat(value.held[:-1])


def _same_length(first: Value, second: Value) -> tuple[Value, Value]:
    """Axes of one place before the one that has fewer."""
    most = max(len(first.axes), len(second.axes))
    padded = [replace(one, axes=((),) * (most - len(one.axes)) + one.axes) for one in (first, second)]
    return padded[0], padded[1]


def _repeated(draft: Draft, value: Value, like: Value) -> Value:
    axes = tuple(axis or new_axis(size) for axis, size in zip(value.axes, like.shape, strict=True))
    return value if axes == value.axes else _repeat(draft, value, axes)


def _repeat(draft: Draft, value: Value, axes: tuple[Axis, ...]) -> Value:
    """Repeat along new axes: rows, columns or steps by windows of one place, channels by a kernel of ones."""
    if axes[0] != (draft.examples,) or len(axes) not in (2, 3, 4):
        raise CannotCarryError("broadcast", f"{value.shape} to {sizes_of(axes)}")
    last = 1 if len(axes) == FEWEST_AXES_OF_AN_IMAGE + 1 else len(axes) - 1
    places = [number for number in range(1, len(axes)) if number != last]
    if len(axes) == FEWEST_AXES_OF_AN_IMAGE and not value.axes[2] and value.axes[1]:
        last, places = 1, [2]  # a number for each channel before steps
    found = draft.laid_out(value, (*(value.axes[number] for number in places), value.axes[last]))
    if any(axes[number] != value.axes[number] for number in places):
        size = tuple(size_of(axes[number]) for number in places)
        node = draft.add(AdaptiveAvgPool(size=size), (found.node,), name=f"{found.node}.repeat")
        found = replace(found, node=node)
    if axes[last] != value.axes[last]:
        count, draft_kernel = size_of(axes[last]), np.ones((1, size_of(axes[last])), np.float32)
        if len(places) == 2:
            layer: Layer = Conv2D(filters=count, kernel=(1, 1), bias=False)
            draft_kernel = draft_kernel[None, None]
        else:
            layer = Dense(units=count, bias=False)
        node = draft.add(layer, (found.node,), {"kernel": draft_kernel}, name=f"{found.node}.channels")
        found = replace(found, node=node)
        draft.note("written out", "repeated along channels by a kernel of ones")
    return Value(node=found.node, held=(*(axes[number] for number in places), axes[last]), axes=axes)


ACTIVATIONS: dict[str, Callable[[Draft, Arguments], Carried]] = {
    "relu": activation(ReLU()),
    "silu": activation(SiLU()),
    "tanh": activation(Tanh()),
    "sigmoid": activation(Sigmoid()),
    "leaky_relu": leaky,
    "gelu": gelu,
    "softplus": softplus,
    "mish": mish,
    "relu6": relu6,
    "hardtanh": clamp,
    "clamp": clamp,
    "clamp_min": clamp,
    "hardsigmoid": hard_sigmoid,
    "hardswish": hard_swish,
    "prelu": prelu,
    "abs": absolute,
    "dropout": dropout,
    "feature_dropout": dropout,
    "neg": negative,
    "pow": power,
    "square": square,
    "add": plus,
    "sub": minus,
    "rsub": minus_from,
    "mul": times,
    "div": divided,
}
