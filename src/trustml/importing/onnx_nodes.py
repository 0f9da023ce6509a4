"""Which calls (:mod:`trustml.importing.program`) the operators of ONNX are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from trustml.importing.program import Call, Constant, Ref
from trustml.importing.refusals import CannotCarryError

Given: TypeAlias = Sequence[Any]
Attributes: TypeAlias = Mapping[str, Any]


class NodeWriter:
    """Writes calls of one node after the other.

    Attributes
    ----------
    calls : list of Call
    shapes : dict of str to tuple of int
        Of every value, with the axis of examples.
    place : str
        Name of the present node.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.place = ""

    def call(self, operator: str, arguments: Mapping[str, Any]) -> Ref:
        """Write a call."""
        name = f"{self.place}#{len(self.calls)}"
        self.calls.append(Call(name=name, operator=operator, arguments=arguments, place=self.place.strip("/")))
        return Ref(name)

    def shape(self, value: Any) -> tuple[int, ...]:
        """Shape of a value, with the axis of examples."""
        return value.array.shape if isinstance(value, Constant) else self.shapes[value.name]


def _numbers(value: Any) -> list[int]:
    """Read whole numbers that a node is given as a constant."""
    if not isinstance(value, Constant):
        raise CannotCarryError("kernel", "sizes that follow from the input")
    return [int(one) for one in value.array.reshape(-1)]


def _pads(attributes: Attributes, places: int) -> Any:
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise CannotCarryError("pad", str(attributes["auto_pad"]))
    found = list(attributes.get("pads") or [0] * 2 * places)
    return [(found[axis], found[axis + places]) for axis in range(places)]


def _convolution(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    places = len(writer.shape(given[0])) - 2
    ones = [1] * places
    arguments = {
        "input": given[0], "weight": given[1], "bias": given[2] if len(given) > 2 else None,
        "stride": attributes.get("strides", ones), "padding": _pads(attributes, places),
        "dilation": attributes.get("dilations", ones), "groups": attributes.get("group", 1),
    }  # fmt: skip
    return writer.call(f"conv{places}d", arguments)


def _gemm(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    weight = given[1]
    if not isinstance(weight, Constant) or attributes.get("transA") or attributes.get("alpha", 1.0) != 1:
        raise CannotCarryError("kernel")
    array = weight.array if attributes.get("transB") else weight.array.T
    bias = given[2] if len(given) > 2 else None
    if bias is not None and (attributes.get("beta", 1.0) != 1 or not isinstance(bias, Constant)):
        raise CannotCarryError("kernel")
    flat = None if bias is None else Constant(np.broadcast_to(bias.array.reshape(-1), array.shape[:1]), bias.origin)
    return writer.call("linear", {"input": given[0], "weight": Constant(array, weight.origin), "bias": flat})


def _product(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    return writer.call("matmul", {"self": given[0], "other": given[1]})


def _batch_norm(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    names = ("input", "weight", "bias", "running_mean", "running_var")
    training = bool(attributes.get("training_mode"))
    arguments = {**dict(zip(names, given, strict=False)), "training": training, "eps": attributes.get("epsilon", 1e-5)}
    return writer.call("batch_norm", arguments)


def _layer_norm(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    shape = writer.shape(given[0])
    arguments = {
        "input": given[0], "weight": given[1], "bias": given[2] if len(given) > 2 else None,
        "normalized_shape": list(shape[attributes.get("axis", -1) % len(shape) :]),
        "eps": attributes.get("epsilon", 1e-5),
    }  # fmt: skip
    return writer.call("layer_norm", arguments)


def _pool(operator: str) -> Node:
    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        places = len(writer.shape(given[0])) - 2
        size = list(attributes["kernel_shape"])
        arguments = {
            "self": given[0], "kernel_size": size, "stride": list(attributes.get("strides", [1] * places)),
            "padding": _pads(attributes, places), "ceil_mode": bool(attributes.get("ceil_mode")),
            "dilation": list(attributes.get("dilations", [1] * places)),
            "count_include_pad": bool(attributes.get("count_include_pad")),
        }  # fmt: skip
        return writer.call(f"{operator}{places}d", arguments)

    return carried


def _over_places(operator: str) -> Node:
    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        axes = list(range(2, len(writer.shape(given[0]))))
        return writer.call(operator, {"self": given[0], "dim": axes, "keepdim": True})

    return carried


def _gathered(operator: str) -> Node:
    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        axes = _numbers(given[1]) if len(given) > 1 else list(attributes.get("axes") or [])
        keep = bool(attributes.get("keepdims", 1))
        return writer.call(operator, {"self": given[0], "dim": axes, "keepdim": keep})

    return carried


def _reshape(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    shape, before = _numbers(given[1]), writer.shape(given[0])
    if not attributes.get("allowzero"):
        shape = [before[place] if size == 0 else size for place, size in enumerate(shape)]
    return writer.call("view", {"self": given[0], "size": shape})


def _expand(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    sizes = np.broadcast_shapes(tuple(_numbers(given[1])), writer.shape(given[0]))
    return writer.call("expand", {"self": given[0], "size": list(sizes)})


def _flatten(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    if attributes.get("axis", 1) != 1:
        raise CannotCarryError("batch")
    return writer.call("flatten", {"self": given[0], "start_dim": 1, "end_dim": -1})


def _transpose(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    count = len(writer.shape(given[0]))
    return writer.call("permute", {"self": given[0], "dims": list(attributes.get("perm") or range(count)[::-1])})


def _squeeze(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    axes = _numbers(given[1]) if len(given) > 1 else list(attributes.get("axes") or [])
    return writer.call("squeeze", {"self": given[0], "dim": axes or None})


def _unsqueeze(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    axes = _numbers(given[1]) if len(given) > 1 else list(attributes["axes"])
    found, count = given[0], len(writer.shape(given[0])) + len(axes)
    for axis in sorted(one % count for one in axes):
        found = writer.call("unsqueeze", {"self": found, "dim": axis})
    return found


def _concatenate(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    return writer.call("cat", {"tensors": list(given), "dim": attributes["axis"]})


def _split(writer: NodeWriter, given: Given, attributes: Attributes) -> list[Ref]:
    axis = attributes.get("axis", 0)
    length = writer.shape(given[0])[axis]
    count = attributes.get("num_outputs")
    sizes = _numbers(given[1]) if len(given) > 1 and given[1] is not None else list(attributes.get("split") or [])
    if not sizes and count:
        step = -(-length // count)
        sizes = [min(step, length - begin) for begin in range(0, length, step)]
    if not sizes:
        raise CannotCarryError("crop", "parts of a size that is not said")
    parts = writer.call("split", {"self": given[0], "split_sizes": sizes, "dim": axis})
    return [writer.call("getitem", {"list": parts, "index": number}) for number in range(len(sizes))]


def _slice(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    count = len(writer.shape(given[0]))
    starts, ends = _numbers(given[1]), _numbers(given[2])
    axes = _numbers(given[3]) if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = _numbers(given[4]) if len(given) > 4 else [1] * len(starts)
    found = given[0]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        found = writer.call("slice", {"self": found, "dim": axis % count, "start": start, "end": end, "step": step})
    return found


def _gather(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    axis = attributes.get("axis", 0)
    if isinstance(given[0], Constant) and axis == 0:
        return writer.call("embedding", {"weight": given[0], "indices": given[1]})
    if not isinstance(given[1], Constant) or given[1].array.ndim:
        raise CannotCarryError("crop", "several places")
    return writer.call("select", {"self": given[0], "dim": axis, "index": int(given[1].array)})


def _clip(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    ends = []
    for place, name in ((1, "min"), (2, "max")):
        found = given[place] if len(given) > place else None
        if found is not None and not isinstance(found, Constant):
            raise CannotCarryError("kernel", "limits that follow from the input")
        ends.append(attributes.get(name) if found is None else float(found.array.reshape(-1)[0]))
    return writer.call("clamp", {"self": given[0], "min": ends[0], "max": ends[1]})


def _pad(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    sides = _numbers(given[1]) if len(given) > 1 else list(attributes["pads"])
    count = len(sides) // 2
    flat = [side for axis in reversed(range(count)) for side in (sides[axis], sides[axis + count])]
    while len(flat) > 2 and not any(flat[-2:]):
        flat = flat[:-2]
    filling = given[2] if len(given) > 2 else None
    value = float(filling.array.reshape(-1)[0]) if isinstance(filling, Constant) else None
    arguments = {"self": given[0], "pad": flat, "mode": attributes.get("mode", "constant"), "value": value}
    return writer.call("pad", arguments)


def _softmax(operator: str) -> Node:
    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        return writer.call(operator, {"self": given[0], "dim": attributes.get("axis", -1)})

    return carried


def _each(operator: str, fixed: Mapping[str, Any] | None = None) -> Node:
    """Carry an operator of one value, with the attributes that it always has."""

    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        return writer.call(operator, {"self": given[0], **(fixed or {})})

    return carried


def _two(operator: str) -> Node:
    def carried(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
        return writer.call(operator, {"self": given[0], "other": given[1], "alpha": 1})

    return carried


def _chosen(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    return writer.call("where", {"condition": given[0], "self": given[1], "other": given[2]})


def _leaky(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    return writer.call("leaky_relu", {"self": given[0], "negative_slope": attributes.get("alpha", 0.01)})


def _hard_sigmoid(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    if not np.isclose(alpha, 1 / 6) or beta != 0.5:
        raise CannotCarryError("operator", f"HardSigmoid of slope {alpha:g}")
    return writer.call("hardsigmoid", {"self": given[0]})


def _gelu(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    return writer.call("gelu", {"self": given[0], "approximate": attributes.get("approximate", "none")})


def _power(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    if not isinstance(given[1], Constant) or given[1].array.size != 1:
        raise CannotCarryError("operator", "powers that follow from the input")
    return writer.call("pow", {"self": given[0], "exponent": float(given[1].array.reshape(-1)[0])})


def _cast(writer: NodeWriter, given: Given, attributes: Attributes) -> Ref:
    kinds = {1: "float32", 11: "float64", 6: "int32", 7: "int64"}
    return writer.call("to", {"self": given[0], "dtype": kinds.get(attributes["to"], str(attributes["to"]))})


Node: TypeAlias = Callable[[NodeWriter, Given, Attributes], "Ref | list[Ref]"]
NODES: Mapping[str, Node] = {
    "Conv": _convolution, "Gemm": _gemm, "MatMul": _product, "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm, "MaxPool": _pool("max_pool"), "AveragePool": _pool("avg_pool"),
    "GlobalAveragePool": _over_places("mean"), "GlobalMaxPool": _over_places("amax"),
    "ReduceMean": _gathered("mean"), "ReduceMax": _gathered("amax"), "ReduceSum": _gathered("sum"),
    "Expand": _expand,
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concatenate, "Split": _split, "Slice": _slice, "Gather": _gather, "Pad": _pad,
    "Softmax": _softmax("softmax"), "LogSoftmax": _softmax("log_softmax"), "Relu": _each("relu"),
    "LeakyRelu": _leaky, "Sigmoid": _each("sigmoid"), "Tanh": _each("tanh"), "Gelu": _gelu,
    "Softplus": _each("softplus", {"beta": 1.0}), "HardSigmoid": _hard_sigmoid, "HardSwish": _each("hardswish"),
    "Mish": _each("mish"), "Abs": _each("abs"), "Neg": _each("neg"), "Pow": _power, "Clip": _clip, "Cast": _cast,
    "Equal": _two("eq"), "Not": _each("logical_not"), "Where": _chosen,
    "Add": _two("add"), "Sub": _two("sub"), "Mul": _two("mul"), "Div": _two("div"),
    "Identity": _each("identity"), "Dropout": _each("identity"),
}  # fmt: skip
"""Carried operators of ONNX."""
