"""ONNX files as programs of calls (:mod:`trustml.importing.program`), where ``onnx`` is installed.

The file is a protocol buffer: reading it runs nothing. Its own reference evaluator, numpy alone, computes what the
original gives, and the shape of every value.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.program import Array, Call, Constant, Program, Ref, Source
from trustml.importing.refusals import CannotCarryError

LARGEST = 4 * 2**30
_BATCH = 5
Given: TypeAlias = Sequence[Any]
Attributes: TypeAlias = Mapping[str, Any]


def onnx_source(path: Path, example: Array | None) -> Source:
    """Read an ONNX file as a program.

    Raises
    ------
    EnvironmentMissingError
        If ``onnx`` is not installed.
    UsageError
        If the file is none, keeps its weights elsewhere, or calls what is not carried.
    """
    try:
        onnx = importlib.import_module("onnx")
        reference = importlib.import_module("onnx.reference")
    except ImportError:
        raise EnvironmentMissingError(f"{path}: needs onnx to be read; pip install onnx") from None
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("is too large")
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, and of the checker
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(f"{path}: is no ONNX model ({first}); name another file") from None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise UsageError(f"{path}: keeps weights in other files, which are not read; save it as one file")
    reader = _Reader(onnx, model.graph)
    rows = reader.example(example)
    evaluator = reference.ReferenceEvaluator(_all_values(onnx, model))
    names = [one.name for one in evaluator.proto_.graph.output]
    traced = np.concatenate([rows] * -(-_BATCH // len(rows)))[:_BATCH]
    values = dict(zip(names, evaluator.run(None, {reader.input: traced}), strict=True))
    program = reader.program(values, tuple(traced.shape))
    whole = reference.ReferenceEvaluator(model)

    def original(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        (found,) = whole.run(None, {reader.input: inputs.astype(rows.dtype)})
        return np.asarray(found, np.float32)

    return Source(program=program, kind=f"ONNX ({path.name})", original=original, example=rows)


def _all_values(onnx: Any, model: Any) -> Any:
    """Give the model with every value among its outputs."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    known = {one.name for one in copied.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                copied.graph.output.append(onnx.ValueInfoProto(name=name))
                known.add(name)
    return copied


class _Reader:
    """Reads a graph's nodes one after the other."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph = onnx, graph
        self.constants: dict[str, Constant] = {
            one.name: Constant(np.array(onnx.numpy_helper.to_array(one)), one.name) for one in graph.initializer
        }
        inputs = [one for one in graph.input if one.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            told = f"{len(inputs)} inputs and {len(graph.output)} outputs"
            raise UsageError(CannotCarryError("outputs", told).line("the model"))
        self.input, self._info = inputs[0].name, inputs[0].type.tensor_type
        self._calls: list[Call] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._place = ""

    def example(self, given: Array | None) -> Array:
        """Inputs of the type that the model takes: given ones, or random ones of its shape."""
        sizes = [one.dim_value for one in self._info.shape.dim]
        whole = self._info.elem_type in (self._onnx.TensorProto.INT64, self._onnx.TensorProto.INT32)
        if given is None:
            if not all(sizes[1:]) or whole:
                raise UsageError("example: the model does not say which inputs it takes; give --example or --shape")
            given = np.random.default_rng(0).normal(size=(2, *sizes[1:]))
        return given.astype(np.int64 if whole else np.float32)

    def program(self, values: Mapping[str, Array], shape: tuple[int, ...]) -> Program:
        """Turn all nodes into calls."""
        self._shapes = {name: np.shape(value) for name, value in values.items()} | {self.input: shape}
        follows = {self.input}
        for node in self._graph.node:
            self._place = node.name or node.output[0]
            if node.op_type == "Shape" or not follows.intersection(node.input):
                for name in node.output:  # sizes are those of the inputs that it was read with
                    self.constants.setdefault(name, Constant(np.asarray(values[name])))
                continue
            follows.update(node.output)
            self._node(node)
        return Program(
            calls=tuple(self._calls), input=self.input, input_shape=shape, output=self._graph.output[0].name,
            batch=_BATCH,
        )  # fmt: skip

    def _node(self, node: Any) -> None:
        attributes = {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}
        attributes = {name: one.decode() if isinstance(one, bytes) else one for name, one in attributes.items()}
        given = [self.constants.get(name, Ref(name)) if name else None for name in node.input]
        if node.op_type not in _NODES:
            raise UsageError(CannotCarryError("operator", node.op_type).line(f"{self._place!r}"))
        try:
            found = _NODES[node.op_type](self, given, attributes)
        except CannotCarryError as error:
            raise UsageError(error.line(f"{self._place!r} ({node.op_type})")) from None
        found = found if isinstance(found, list) else [found]
        for name, value in zip(node.output, found, strict=False):
            self._calls.append(Call(name=name, operator="identity", arguments={"self": value}))

    def call(self, operator: str, arguments: Mapping[str, Any]) -> Ref:
        """Write a call."""
        name = f"{self._place}#{len(self._calls)}"
        self._calls.append(Call(name=name, operator=operator, arguments=arguments, place=self._place.strip("/")))
        return Ref(name)

    def shape(self, value: Any) -> tuple[int, ...]:
        """Shape of a value, with the axis of examples."""
        return value.array.shape if isinstance(value, Constant) else self._shapes[value.name]


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


def _convolution(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    places = len(reader.shape(given[0])) - 2
    ones = [1] * places
    arguments = {
        "input": given[0], "weight": given[1], "bias": given[2] if len(given) > 2 else None,
        "stride": attributes.get("strides", ones), "padding": _pads(attributes, places),
        "dilation": attributes.get("dilations", ones), "groups": attributes.get("group", 1),
    }  # fmt: skip
    return reader.call(f"conv{places}d", arguments)


def _gemm(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    weight = given[1]
    if not isinstance(weight, Constant) or attributes.get("transA") or attributes.get("alpha", 1.0) != 1:
        raise CannotCarryError("kernel")
    array = weight.array if attributes.get("transB") else weight.array.T
    bias = given[2] if len(given) > 2 else None
    if bias is not None and (attributes.get("beta", 1.0) != 1 or not isinstance(bias, Constant)):
        raise CannotCarryError("kernel")
    flat = None if bias is None else Constant(np.broadcast_to(bias.array.reshape(-1), array.shape[:1]), bias.origin)
    return reader.call("linear", {"input": given[0], "weight": Constant(array, weight.origin), "bias": flat})


def _product(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    return reader.call("matmul", {"self": given[0], "other": given[1]})


def _batch_norm(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    names = ("input", "weight", "bias", "running_mean", "running_var")
    training = bool(attributes.get("training_mode"))
    arguments = {**dict(zip(names, given, strict=False)), "training": training, "eps": attributes.get("epsilon", 1e-5)}
    return reader.call("batch_norm", arguments)


def _layer_norm(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    shape = reader.shape(given[0])
    arguments = {
        "input": given[0], "weight": given[1], "bias": given[2] if len(given) > 2 else None,
        "normalized_shape": list(shape[attributes.get("axis", -1) % len(shape) :]),
        "eps": attributes.get("epsilon", 1e-5),
    }  # fmt: skip
    return reader.call("layer_norm", arguments)


def _pool(operator: str) -> _Node:
    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        places = len(reader.shape(given[0])) - 2
        size = list(attributes["kernel_shape"])
        arguments = {
            "self": given[0], "kernel_size": size, "stride": list(attributes.get("strides", [1] * places)),
            "padding": _pads(attributes, places), "ceil_mode": bool(attributes.get("ceil_mode")),
            "dilation": list(attributes.get("dilations", [1] * places)),
            "count_include_pad": bool(attributes.get("count_include_pad")),
        }  # fmt: skip
        return reader.call(f"{operator}{places}d", arguments)

    return carried


def _over_places(operator: str) -> _Node:
    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        axes = list(range(2, len(reader.shape(given[0]))))
        return reader.call(operator, {"self": given[0], "dim": axes, "keepdim": True})

    return carried


def _gathered(operator: str) -> _Node:
    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        axes = _numbers(given[1]) if len(given) > 1 else list(attributes.get("axes") or [])
        keep = bool(attributes.get("keepdims", 1))
        return reader.call(operator, {"self": given[0], "dim": axes, "keepdim": keep})

    return carried


def _reshape(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    shape, before = _numbers(given[1]), reader.shape(given[0])
    if not attributes.get("allowzero"):
        shape = [before[place] if size == 0 else size for place, size in enumerate(shape)]
    return reader.call("view", {"self": given[0], "size": shape})


def _expand(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    sizes = np.broadcast_shapes(tuple(_numbers(given[1])), reader.shape(given[0]))
    return reader.call("expand", {"self": given[0], "size": list(sizes)})


def _flatten(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    if attributes.get("axis", 1) != 1:
        raise CannotCarryError("batch")
    return reader.call("flatten", {"self": given[0], "start_dim": 1, "end_dim": -1})


def _transpose(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    count = len(reader.shape(given[0]))
    return reader.call("permute", {"self": given[0], "dims": list(attributes.get("perm") or range(count)[::-1])})


def _squeeze(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    axes = _numbers(given[1]) if len(given) > 1 else list(attributes.get("axes") or [])
    return reader.call("squeeze", {"self": given[0], "dim": axes or None})


def _unsqueeze(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    axes = _numbers(given[1]) if len(given) > 1 else list(attributes["axes"])
    found, count = given[0], len(reader.shape(given[0])) + len(axes)
    for axis in sorted(one % count for one in axes):
        found = reader.call("unsqueeze", {"self": found, "dim": axis})
    return found


def _concatenate(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    return reader.call("cat", {"tensors": list(given), "dim": attributes["axis"]})


def _split(reader: _Reader, given: Given, attributes: Attributes) -> list[Ref]:
    axis = attributes.get("axis", 0)
    length = reader.shape(given[0])[axis]
    count = attributes.get("num_outputs")
    sizes = _numbers(given[1]) if len(given) > 1 and given[1] is not None else list(attributes.get("split") or [])
    if not sizes and count:
        step = -(-length // count)
        sizes = [min(step, length - begin) for begin in range(0, length, step)]
    if not sizes:
        raise CannotCarryError("crop", "parts of a size that is not said")
    parts = reader.call("split", {"self": given[0], "split_sizes": sizes, "dim": axis})
    return [reader.call("getitem", {"list": parts, "index": number}) for number in range(len(sizes))]


def _slice(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    count = len(reader.shape(given[0]))
    starts, ends = _numbers(given[1]), _numbers(given[2])
    axes = _numbers(given[3]) if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = _numbers(given[4]) if len(given) > 4 else [1] * len(starts)
    found = given[0]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        found = reader.call("slice", {"self": found, "dim": axis % count, "start": start, "end": end, "step": step})
    return found


def _gather(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    axis = attributes.get("axis", 0)
    if isinstance(given[0], Constant) and axis == 0:
        return reader.call("embedding", {"weight": given[0], "indices": given[1]})
    if not isinstance(given[1], Constant) or given[1].array.ndim:
        raise CannotCarryError("crop", "several places")
    return reader.call("select", {"self": given[0], "dim": axis, "index": int(given[1].array)})


def _clip(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    ends = []
    for place, name in ((1, "min"), (2, "max")):
        found = given[place] if len(given) > place else None
        if found is not None and not isinstance(found, Constant):
            raise CannotCarryError("kernel", "limits that follow from the input")
        ends.append(attributes.get(name) if found is None else float(found.array.reshape(-1)[0]))
    return reader.call("clamp", {"self": given[0], "min": ends[0], "max": ends[1]})


def _pad(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    sides = _numbers(given[1]) if len(given) > 1 else list(attributes["pads"])
    count = len(sides) // 2
    flat = [side for axis in reversed(range(count)) for side in (sides[axis], sides[axis + count])]
    while len(flat) > 2 and not any(flat[-2:]):
        flat = flat[:-2]
    filling = given[2] if len(given) > 2 else None
    value = float(filling.array.reshape(-1)[0]) if isinstance(filling, Constant) else None
    arguments = {"self": given[0], "pad": flat, "mode": attributes.get("mode", "constant"), "value": value}
    return reader.call("pad", arguments)


def _softmax(operator: str) -> _Node:
    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        return reader.call(operator, {"self": given[0], "dim": attributes.get("axis", -1)})

    return carried


def _each(operator: str, fixed: Mapping[str, Any] | None = None) -> _Node:
    """Carry an operator of one value, with the attributes that it always has."""

    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        return reader.call(operator, {"self": given[0], **(fixed or {})})

    return carried


def _two(operator: str) -> _Node:
    def carried(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
        return reader.call(operator, {"self": given[0], "other": given[1], "alpha": 1})

    return carried


def _chosen(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    return reader.call("where", {"condition": given[0], "self": given[1], "other": given[2]})


def _leaky(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    return reader.call("leaky_relu", {"self": given[0], "negative_slope": attributes.get("alpha", 0.01)})


def _hard_sigmoid(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    if not np.isclose(alpha, 1 / 6) or beta != 0.5:
        raise CannotCarryError("operator", f"HardSigmoid of slope {alpha:g}")
    return reader.call("hardsigmoid", {"self": given[0]})


def _gelu(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    return reader.call("gelu", {"self": given[0], "approximate": attributes.get("approximate", "none")})


def _power(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    if not isinstance(given[1], Constant) or given[1].array.size != 1:
        raise CannotCarryError("operator", "powers that follow from the input")
    return reader.call("pow", {"self": given[0], "exponent": float(given[1].array.reshape(-1)[0])})


def _cast(reader: _Reader, given: Given, attributes: Attributes) -> Ref:
    kinds = {1: "float32", 11: "float64", 6: "int32", 7: "int64"}
    return reader.call("to", {"self": given[0], "dtype": kinds.get(attributes["to"], str(attributes["to"]))})


_Node: TypeAlias = Callable[[_Reader, Given, Attributes], "Ref | list[Ref]"]
_NODES: Mapping[str, _Node] = {
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
