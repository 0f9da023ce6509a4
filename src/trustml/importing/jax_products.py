"""Which calls products, convolutions and pooling of JAX are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustml.importing.jax_writer import Made, Operand, PrimitiveWriter, Shape, Write
from trustml.importing.program import Constant, Ref


def with_bias(model: PrimitiveWriter, value: Any, bias: Any) -> Ref | None:
    """Products or a convolution with a weight for each of their outputs."""
    made = next(
        (found for name in ("dot_general", "conv_general_dilated") if (found := model.from_(value, name))), None
    )
    if made is None or "written" not in made.params or not isinstance(bias, Constant) or not bias.origin:
        return None
    operator, arguments, order = made.params["written"]
    shape = model.shape(value)
    sizes = (1,) * (len(shape) - bias.array.ndim) + bias.array.shape
    channels = len(order) - 1 if operator == "linear" else order.index(1)
    if sizes != tuple(size if axis == channels else 1 for axis, size in enumerate(shape)):
        return None
    flat = Constant(bias.array.reshape(-1), bias.origin)
    return model.permuted(model.call(operator, arguments | {"bias": flat}, made.params["to"]), order)


def windows(operator: str) -> Write:
    """Pooling of images or sequences with channels last."""

    def written(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
        size, places = [int(one) for one in params["window_dimensions"]], len(params["window_dimensions"]) - 2
        plain = all(one == 1 for one in (size[0], size[-1], *params["base_dilation"]))
        if not plain or places not in (1, 2):
            return model.call(f"windows of {size}", {"args": list(given)})
        within = slice(1, -1)
        value = model.permuted(given[0], (0, places + 1, *range(1, places + 1)))  # type: ignore[arg-type]
        arguments = {
            "self": value, "kernel_size": size[within], "stride": list(params["window_strides"][within]),
            "padding": [tuple(one) for one in params["padding"][within]], "ceil_mode": False,
            "dilation": list(params["window_dilation"][within]), "count_include_pad": True,
        }  # fmt: skip
        call = model.call(f"{operator}{places}d", arguments, (0,) * (places + 2))
        found = model.permuted(call, (0, *range(2, places + 2), 1))
        if operator == "max_pool":
            return found
        if any(one != 1 for one in params["window_dilation"]):
            return model.call("dilated sums of windows", {"args": list(given)})
        total = model.call("mul", {"self": found, "other": float(math.prod(size))})
        made = Made(primitive="reduce_window_sum", given=given, params={**params, "average": found})
        model.made[total.name] = made
        return total

    return written


def product(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    """``dot_general``: a linear layer, or queries and keys."""
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    first, second = given
    if isinstance(first, Ref) and isinstance(second, Ref):
        return _product_of_two(model, given, (left, right), (left_batch, right_batch))
    if left_batch:
        return model.call("dot_general with a matrix for each place", {"args": list(given)})
    if isinstance(first, Ref) and isinstance(second, Constant):
        return _product_with(model, (first, tuple(left)), (second, tuple(right)), params)
    assert isinstance(first, Constant) and isinstance(second, Ref)
    free = second, tuple(right)
    found = _product_with(model, free, (first, tuple(left)), {})
    own = first.array.ndim - len(left)
    count = len(model.shape(second)) - len(right) + own
    return model.permuted(found, (*range(count - own, count), *range(count - own)))


def _product_with(
    model: PrimitiveWriter, taken: tuple[Ref, Shape], weight: tuple[Constant, Shape], params: Mapping[str, Any]
) -> Ref:
    """Products of some axes of a value with some of a constant: axes of the value that are left, those of the other."""
    (value, along), (constant, own) = taken, weight
    shape = model.shape(value)
    left = [axis for axis in range(len(shape)) if axis not in along]
    free = [axis for axis in range(constant.array.ndim) if axis not in own]
    sizes = [constant.array.shape[axis] for axis in free]
    if not sizes:
        return model.call("dot_general with a vector", {"args": [value, constant]})
    flat = model.permuted(value, (*left, *along))
    kept = [shape[axis] for axis in left]
    if len(along) > 1:
        flat = model.call("flatten", {"self": flat, "start_dim": len(left), "end_dim": len(shape) - 1})
    matrix = constant.array.transpose((*free, *own)).reshape(math.prod(sizes), -1)
    arguments = {"input": flat, "weight": Constant(matrix, constant.origin), "bias": None}
    found = model.call("linear", arguments, (*kept, math.prod(sizes)))
    if len(sizes) > 1:
        return model.call("unflatten", {"self": found, "dim": len(left), "sizes": sizes}, (*kept, *sizes))
    if params:
        written = ("linear", arguments, tuple(range(len(left) + 1)))
        told = {**params, "written": written, "to": model.shape(found)}
        model.made[found.name] = Made(primitive="dot_general", given=(value, constant), params=told)
    return found


def _product_of_two(model: PrimitiveWriter, given: Sequence[Operand], along: Any, batch: Any) -> Ref:
    """A product of matrices, such as queries and keys: of one axis each, for each place of leading axes."""
    probabilities = model.from_(given[1], "div")
    if probabilities is not None and model.from_(probabilities.given[0], "exp") is not None:  # of keys, on the right
        found = _product_of_two(model, given[::-1], along[::-1], batch[::-1])
        axes = range(len(model.shape(given[1])))
        return model.permuted(found, (*axes[:-2], axes[-1], axes[-2]))
    turned: list[Ref] = []
    for number, value in enumerate(given):
        axes = range(len(model.shape(value)))
        free = [axis for axis in axes if axis not in (*along[number], *batch[number])]
        if len(free) != 1 or len(along[number]) != 1:
            return model.call("dot_general of several axes", {"args": list(given)})
        inner = (*free, *along[number]) if number == 0 else (*along[number], *free)
        turned.append(model.permuted(value, (*batch[number], *inner)))  # type: ignore[arg-type]
    shape = (*model.shape(turned[0])[:-1], model.shape(turned[1])[-1])
    return model.call("matmul", dict(zip(("self", "other"), turned, strict=True)), shape)


def convolved(model: PrimitiveWriter, given: Sequence[Operand], params: Mapping[str, Any]) -> Ref:
    """``conv_general_dilated``, whatever its order of axes; with places between those of the input it is transposed."""
    value, kernel = given
    numbers, places = params["dimension_numbers"], len(params["window_strides"])
    if not isinstance(value, Ref) or not isinstance(kernel, Constant) or params["batch_group_count"] != 1:
        return model.call("convolution with weights that follow from the input", {"args": list(given)})
    array = kernel.array.transpose(numbers.rhs_spec)
    lows_and_highs = [tuple(map(int, one)) for one in params["padding"]]
    operator, arguments = "conv", {
        "input": model.permuted(value, numbers.lhs_spec), "weight": Constant(array, kernel.origin), "bias": None,
        "stride": list(params["window_strides"]), "padding": lows_and_highs,
        "dilation": list(params["rhs_dilation"]), "groups": int(params["feature_group_count"]),
    }  # fmt: skip
    if any(one != 1 for one in params["lhs_dilation"]):
        operator, arguments = "conv_transpose", arguments | _transposed(array, kernel.origin, params)
    shape = np.array(model.shape(value))[list(numbers.lhs_spec)]
    order = tuple(int(place) for place in np.argsort(numbers.out_spec))
    name, to = f"{operator}{places}d", (int(shape[0]), len(array), *(0,) * places)
    found = model.permuted(model.call(name, arguments, to), order)
    told = {**params, "written": (name, arguments, order), "to": to}
    model.made[found.name] = Made(primitive="conv_general_dilated", given=given, params=told)
    return found


def _transposed(array: Any, origin: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a transposed convolution: places between those of the input are filled up by zeros."""
    places = array.ndim - 2
    flipped = np.flip(array, tuple(range(2, places + 2))).swapaxes(0, 1)
    sides = list(zip(array.shape[2:], params["padding"], strict=True))
    strided = any(one != 1 for one in params["window_strides"])
    return {
        "weight": Constant(np.ascontiguousarray(flipped), origin), "stride": list(params["lhs_dilation"]),
        "padding": [size - 1 - int(low) for size, (low, _) in sides],
        "output_padding": [int(high) - int(low) for _, (low, high) in sides],
        "groups": 2 if strided else int(params["feature_group_count"]),  # a stride on top is refused as groups are
    }  # fmt: skip
