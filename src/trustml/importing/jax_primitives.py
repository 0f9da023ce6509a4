"""Which calls (:mod:`trustml.importing.program`) the primitives of a traced JAX function are.

What JAX writes out (softmax, GELU, softplus, a mean) is known again by what it was made from. A primitive that is not
in the table becomes a call of its name, which is refused where the output needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustml.importing.jax_products import convolved, product, windows, with_bias
from trustml.importing.jax_writer import Made, Operand, PrimitiveWriter, Shape, Write, number_of
from trustml.importing.program import Constant, Ref


def _is(value: Any, number: float) -> bool:
    return number_of(value) == number


def _keeps(model: PrimitiveWriter, value: Any, given: Sequence[Operand]) -> bool:
    """Whether the other operands repeat a value along no axis."""
    return isinstance(value, Ref) and model.shape(value) == np.broadcast_shapes(*map(model.shape, given))


def _with_numbers(model: PrimitiveWriter, given: Sequence[Operand]) -> tuple[Any, Any]:
    """Both operands; a constant that is one number throughout, and makes the other no larger, as that number."""
    first, second = given
    found: list[Any] = [first, second]
    for place, (one, other) in enumerate(((first, second), (second, first))):
        number = number_of(one)
        if number is not None and np.broadcast_shapes(model.shape(one), model.shape(other)) == model.shape(other):
            found[place] = number
    return found[0], found[1]


def _added(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    first, second = given if isinstance(given[0], Ref) else reversed(given)
    if _is(second, 0.0) and _keeps(model, first, given):
        return first  # type: ignore[return-value]
    found = _softplus(model, first, second) or _softplus(model, second, first) or with_bias(model, first, second)
    if found is not None:
        return found
    one, other = _with_numbers(model, (first, second))
    return model.call("add", {"self": one, "other": other, "alpha": 1})


def _softplus(model: PrimitiveWriter, first: Any, second: Any) -> Ref | None:
    """``max(x, 0) + log1p(exp(-abs(x)))``."""
    value = second
    for primitive in ("log1p", "exp", "neg", "abs"):
        made = model.from_(value, primitive)
        if made is None:
            return None
        value = made.given[0]
    larger = model.from_(first, "max")
    if larger is None or not any(_is(one, 0.0) for one in larger.given) or value not in larger.given:
        return None
    found = model.call("softplus", {"self": value, "beta": 1.0, "threshold": None})
    model.made[found.name] = Made(primitive="softplus", given=(value,), params={})
    return found


def _subtracted(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    first, second = given
    if _is(second, 0.0) and _keeps(model, first, given):
        return first  # type: ignore[return-value]
    logarithm = model.from_(model.through(second), "log")
    if logarithm is not None and (found := _normalised(model, first, logarithm.given[0])) is not None:
        return model.call("log_softmax", {"self": found[0], "dim": found[1]})
    one, other = _with_numbers(model, (first, second))
    if not isinstance(first, Ref):
        return model.call("rsub", {"self": second, "other": one, "alpha": 1})
    return model.call("sub", {"self": first, "other": other, "alpha": 1})


def _normalised(model: PrimitiveWriter, shifted: Any, total: Any) -> tuple[Ref, int] | None:
    """Give scores and their axis, where a total is that of the exponentials of the scores, shifted or not."""
    summed = model.from_(model.through(total), "reduce_sum")
    exponentials = model.from_(summed.given[0], "exp") if summed is not None else None
    if summed is None or exponentials is None or exponentials.given[0] != shifted or len(summed.params["axes"]) != 1:
        return None
    axis, shape = int(summed.params["axes"][0]), model.shape(shifted)
    sums = np.arange(math.prod(shape) // max(1, shape[axis])).reshape([*shape[:axis], 1, *shape[axis + 1 :]])
    if not shape[axis] or not np.array_equal(_repeat(model.shown(total), shape), np.broadcast_to(sums, shape)):
        return None  # sums of one axis beside another one
    less = model.from_(shifted, "sub")  # one number is taken off all scores, which changes no probability
    if less is not None and _keeps(model, less.given[0], less.given):
        taken = model.shape(less.given[1])
        if taken == () or taken[axis] == 1:
            shifted = less.given[0]
    return shifted, axis


def _repeat(places: Any, shape: Shape) -> Any:
    """Places in a shape that they can be repeated to; as they are otherwise."""
    repeatable = places.ndim == len(shape) and all(n in (1, size) for n, size in zip(places.shape, shape, strict=True))
    return np.broadcast_to(places, shape) if repeatable else places


def _multiplied(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    for first, second in (given, list(reversed(given))):
        if _is(first, 1.0) and _keeps(model, second, given):
            return second  # type: ignore[return-value]
        gate = model.from_(second, "logistic")
        if gate is not None and gate.given[0] == first:
            return model.call("silu", {"self": first})
        if (value := _gelu(model, first, second)) is not None:
            return model.call("gelu", {"self": value, "approximate": "none"})
    one, other = _with_numbers(model, given if isinstance(given[0], Ref) else list(reversed(given)))
    return model.call("mul", {"self": one, "other": other})


def _gelu(model: PrimitiveWriter, first: Any, second: Any) -> Ref | None:
    """``(x / 2) * erfc(-x * sqrt(1 / 2))``."""
    half, tail = model.from_(first, "mul"), model.from_(second, "erfc")
    inner = model.from_(tail.given[0], "mul") if tail is not None else None
    if half is None or inner is None or not any(_is(one, 0.5) for one in half.given):
        return None
    value = next((one for one in half.given if isinstance(one, Ref)), None)
    turned = next((made for one in inner.given if (made := model.from_(one, "neg")) is not None), None)
    if value is None or turned is None or turned.given[0] != value:
        return None
    factors = [number for one in inner.given if (number := number_of(one)) is not None]
    return value if any(math.isclose(one, math.sqrt(0.5), rel_tol=1e-6) for one in factors) else None


def _divided(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    first, second = given
    scores = model.from_(first, "exp")
    if scores is not None and (found := _normalised(model, scores.given[0], second)) is not None:
        return model.call("softmax", {"self": found[0], "dim": found[1]})
    number = number_of(second) if _keeps(model, first, given) else None
    summed, windows = model.from_(first, "reduce_sum"), model.from_(first, "reduce_window_sum")
    if summed is not None and number == math.prod(model.shape(summed.given[0])[axis] for axis in summed.params["axes"]):
        axes = [int(axis) for axis in summed.params["axes"]]
        return model.call("mean", {"self": summed.given[0], "dim": axes, "keepdim": False})
    if windows is not None and "average" in windows.params:
        if number == math.prod(windows.params["window_dimensions"]):
            return windows.params["average"]
    one, other = _with_numbers(model, given)
    return model.call("div", {"self": one, "other": other})


def _limited(*, low: bool) -> Write:
    def written(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
        numbers = [number_of(one) for one in given]
        value = next((one for one in given if isinstance(one, Ref)), None)
        number = next((one for one in numbers if one is not None), None)
        if number is None or number == (math.inf if low else -math.inf) or not _keeps(model, value, given):
            return model.call("maximum" if low else "minimum", {"args": list(given)})
        assert value is not None
        if number == (-math.inf if low else math.inf):
            return value
        if low and number == 0:
            return model.call("relu", {"self": value})
        return model.call("clamp", {"self": value, "min": number if low else None, "max": None if low else number})

    return written


def _chosen(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    """``select_n(where, otherwise, value)``."""
    if len(given) != 3:
        return model.call("select_n", {"args": list(given)})
    where, otherwise, value = given
    differs, rounded = model.from_(where, "ne"), model.from_(otherwise, "softplus")
    if differs is not None and rounded is not None and {*differs.given, *rounded.given} == {value}:
        return otherwise  # type: ignore[return-value]  # of what is no number: softplus gives none either
    for name in ("ge", "gt"):
        above = model.from_(where, name)
        if above is None or above.given[0] != value or not _is(above.given[1], 0.0):
            continue
        below = model.from_(otherwise, "mul")
        if _is(otherwise, 0.0):
            return model.call("relu", {"self": value})
        if below is not None and value in below.given:
            slope = next((number for one in below.given if (number := number_of(one)) is not None), None)
            if slope is not None:
                return model.call("leaky_relu", {"self": value, "negative_slope": slope})
    shape = np.broadcast_shapes(*map(model.shape, given))
    parts = [
        value if one is None or shape == () else one for value, one in zip(given, map(number_of, given), strict=True)
    ]
    return model.call("where", {"condition": where, "self": parts[2], "other": parts[1]})


def _looked_up(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    """Rows of a table for ids."""
    table, ids, told = given[0], model.through(given[1]), params["dimension_numbers"]
    if not isinstance(table, Constant) or table.array.ndim != 2 or not isinstance(ids, Ref):
        return model.call("gather", {"args": list(given)})
    shape = model.shape(ids)
    places = np.arange(math.prod(shape)).reshape(*shape, 1)
    whole = tuple(params["slice_sizes"]) == (1, table.array.shape[1]) and told.offset_dims == (len(shape),)
    rows = told.collapsed_slice_dims == told.start_index_map == (0,) and not told.operand_batching_dims
    if not whole or not rows or not np.array_equal(model.shown(given[1]), places):
        return model.call("gather", {"args": list(given)})
    return model.call("embedding", {"weight": table, "indices": _from_the_front(model, ids, len(table.array))})


def _from_the_front(model: PrimitiveWriter, ids: Ref, count: int) -> Ref:
    """Give ids of which JAX counts those below 0 from the end of a table: ``where(i < 0, i + count, i)``."""
    made = model.from_(ids, "select_n")
    if made is None or len(made.given) != 3:
        return ids
    where, otherwise, value = made.given
    less, added = model.from_(where, "lt"), model.from_(value, "add")
    if less is None or added is None or not isinstance(otherwise, Ref):
        return ids
    below = less.given[0] == otherwise and _is_whole(less.given[1], 0)
    ends = [one for one in added.given if one != otherwise]
    return otherwise if below and len(ends) == 1 and _is_whole(ends[0], count) else ids


def _is_whole(value: Any, number: int) -> bool:
    return isinstance(value, Constant) and value.array.dtype.kind in "iu" and bool((value.array == number).all())


def _unary(operator: str) -> Write:
    return lambda model, given, params: model.call(operator, {"self": given[0]})


def _same(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("identity", {"self": given[0]})


def _power(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("pow", {"self": given[0], "exponent": params["y"]})


def _cast(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("to", {"self": given[0], "dtype": str(np.dtype(params["new_dtype"]))})


def _compared(operator: str) -> Write:
    def written(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
        first, second = given if isinstance(given[0], Ref) else reversed(given)
        if first == second:
            return model.call(f"{operator} of a value and itself", {"args": list(given)})
        if isinstance(second, Constant) and second.array.dtype.kind == "f":  # such as what is infinite: no token ids
            return model.call(f"{operator} of values", {"args": list(given)})
        one = number_of(second) if isinstance(second, Constant) and second.array.dtype.kind in "iu" else None
        return model.call(operator, {"self": first, "other": second if one is None else int(one)})

    return written


def _reshaped(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("view", {"self": given[0], "size": list(map(int, params["new_sizes"]))})


def _repeated(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    shape, own = tuple(map(int, params["shape"])), set(map(int, params["broadcast_dimensions"]))
    value: Any = given[0]
    sizes = model.shape(value)
    for axis in sorted(set(range(len(shape))) - own):
        sizes = (*sizes[:axis], 1, *sizes[axis:])
        value = model.call("unsqueeze", {"self": value, "dim": axis}, sizes)
    return value if sizes == shape else model.call("expand", {"self": value, "size": list(shape)})


def _permuted(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("permute", {"self": given[0], "dims": list(map(int, params["permutation"]))})


def _squeezed(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("squeeze", {"self": given[0], "dim": list(map(int, params["dimensions"]))})


def _cut(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    value: Any = given[0]
    steps = params["strides"] or (1,) * len(params["start_indices"])
    shape = model.shape(value)
    parts = zip(params["start_indices"], params["limit_indices"], steps, shape, strict=True)
    for axis, (start, end, step, size) in enumerate(parts):
        if (start, end, step) != (0, size, 1):
            value = model.call("slice", {"self": value, "dim": axis, "start": start, "end": end, "step": step})
    return value if value != given[0] else model.call("identity", {"self": value})


def _joined(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    return model.call("cat", {"tensors": list(given), "dim": int(params["dimension"])})


def _padded(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    value, filling, config = given[0], number_of(given[1]), params["padding_config"]
    if any(inner for _, _, inner in config) or filling is None:
        return model.call("pad with places between", {"args": list(given)})
    sides = [int(side) for low, high, _ in reversed(config) for side in (low, high)]
    return model.call("pad", {"self": value, "pad": sides, "mode": "constant", "value": filling})


def _gathered(operator: str) -> Write:
    def written(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
        axes = [int(axis) for axis in params["axes"]]
        return model.call(operator, {"self": given[0], "dim": axes, "keepdim": False})

    return written


PRIMITIVES: Mapping[str, Write] = {
    "add": _added,
    "add_any": _added,
    "sub": _subtracted,
    "mul": _multiplied,
    "div": _divided,
    "max": _limited(low=True),
    "min": _limited(low=False),
    "neg": _unary("neg"),
    "abs": _unary("abs"),
    "logistic": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "square": _unary("square"),
    "integer_pow": _power,
    "not": _unary("logical_not"),
    "eq": _compared("eq"),
    "ne": _compared("ne"),
    "select_n": _chosen,
    "gather": _looked_up,
    **dict.fromkeys(("stop_gradient", "copy", "copy_p"), _same),
    "convert_element_type": _cast,
    "reshape": _reshaped,
    "broadcast_in_dim": _repeated,
    "transpose": _permuted,
    "squeeze": _squeezed,
    "slice": _cut,
    "concatenate": _joined,
    "pad": _padded,
    "reduce_sum": _gathered("sum"),
    "reduce_max": _gathered("amax"),
    "reduce_window_max": windows("max_pool"),
    "reduce_window_sum": windows("avg_pool"),
    "dot_general": product,
    "conv_general_dilated": convolved,
}
"""By the names of JAX; values have the layout that they have there."""


def write(
    model: PrimitiveWriter, primitive: str, given: Sequence[Operand], params: Mapping[str, Any], shape: Shape
) -> Ref:
    """Write a primitive that follows from the input, and give what its calls give."""
    if primitive in PRIMITIVES:
        found = PRIMITIVES[primitive](model, given, params)
    else:
        found = model.call(primitive, {"args": list(given)})
    if found in given:
        return found
    model.shapes[found.name] = shape
    model.made.setdefault(found.name, Made(primitive=primitive, given=tuple(given), params=params))
    return found
