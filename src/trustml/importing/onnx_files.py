"""ONNX files as programs of calls (:mod:`trustml.importing.program`), where ``onnx`` is installed.

The file is a protocol buffer: reading it runs nothing. Its own reference evaluator, numpy alone, computes what the
original gives, and the shape of every value.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.onnx_nodes import NODES, NodeWriter
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


class _Reader(NodeWriter):
    """Reads a graph's nodes one after the other."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        super().__init__()
        self._onnx, self._graph = onnx, graph
        self.constants: dict[str, Constant] = {
            one.name: Constant(np.array(onnx.numpy_helper.to_array(one)), one.name) for one in graph.initializer
        }
        inputs = [one for one in graph.input if one.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            told = f"{len(inputs)} inputs and {len(graph.output)} outputs"
            raise UsageError(CannotCarryError("outputs", told).line("the model"))
        self.input, self._info = inputs[0].name, inputs[0].type.tensor_type

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
        self.shapes = {name: np.shape(value) for name, value in values.items()} | {self.input: shape}
        follows = {self.input}
        for node in self._graph.node:
            self.place = node.name or node.output[0]
            if node.op_type == "Shape" or not follows.intersection(node.input):
                for name in node.output:  # sizes are those of the inputs that it was read with
                    self.constants.setdefault(name, Constant(np.asarray(values[name])))
                continue
            follows.update(node.output)
            self._node(node)
        return Program(
            calls=tuple(self.calls), input=self.input, input_shape=shape, output=self._graph.output[0].name,
            batch=_BATCH,
        )  # fmt: skip

    def _node(self, node: Any) -> None:
        attributes = {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}
        attributes = {name: one.decode() if isinstance(one, bytes) else one for name, one in attributes.items()}
        given = [self.constants.get(name, Ref(name)) if name else None for name in node.input]
        if node.op_type not in NODES:
            raise UsageError(CannotCarryError("operator", node.op_type).line(f"{self.place!r}"))
        try:
            found = NODES[node.op_type](self, given, attributes)
        except CannotCarryError as error:
            raise UsageError(error.line(f"{self.place!r} ({node.op_type})")) from None
        found = found if isinstance(found, list) else [found]
        for name, value in zip(node.output, found, strict=False):
            self.calls.append(Call(name=name, operator="identity", arguments={"self": value}))
