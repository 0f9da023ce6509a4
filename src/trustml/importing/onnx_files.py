"""ONNX files as programs of calls (:mod:`trustml.importing.program`), where ``onnx`` is installed.

The file is a protocol buffer: reading it runs nothing. Its own reference evaluator, numpy alone, computes what the
original gives, and the shape of every value.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.onnx_nodes import NODES, NodeWriter
from trustml.importing.program import Array, Call, Constant, Program, Ref, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.onnx_files import refuse_onnx_file

LARGEST = 4 * 2**30
_MOST_NUMBERS = 2**30
"""Of one value while the graph is computed."""
_KEPT = 1024
"""Numbers of a constant that sizes may follow from."""
_BATCH = 5
_ENDINGS = ("Softmax", "LogSoftmax", "Sigmoid")
Given: TypeAlias = Sequence[Any]
Attributes: TypeAlias = Mapping[str, Any]


def onnx_source(path: Path, example: Array | None) -> Source:
    """Read an ONNX file as a program.

    Raises
    ------
    EnvironmentMissingError
        If ``onnx`` is not installed.
    UsageError
        If the file is none, keeps its weights elsewhere, calls what is not carried, or does not compute.
    """
    onnx, model = _looked_through(path)
    try:
        reader = _Reader(onnx, model)
    except (ValueError, KeyError, TypeError) as error:  # of a weight whose bytes are not those of its shape or type
        raise UsageError(f"{path}: holds a weight that cannot be read ({_first(error)}); save it anew") from None
    rows = reader.example(example)
    traced = np.concatenate([rows] * -(-_BATCH // len(rows)))[:_BATCH]
    _refuse_large(onnx, path, reader, traced)
    whole = _Evaluator(path, model, reader.input)
    ending = _before_ending(model.graph)
    before = None if ending is None else _Evaluator(path, _with_outputs(onnx, model, [ending]), reader.input)
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    everything = _Evaluator(path, _with_outputs(onnx, model, names), reader.input)
    values = dict(zip(names, everything(traced), strict=True))
    program = reader.program(values, tuple(traced.shape))

    def original(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(whole(inputs.astype(rows.dtype))[0], np.float32)

    def logits(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
        return None if before is None else np.asarray(before(inputs.astype(rows.dtype))[0], np.float32)

    return Source(
        program=program, kind=f"ONNX ({path.name})", original=original, logits=logits, example=rows
    )  # fmt: skip


def _looked_through(path: Path) -> tuple[Any, Any]:
    """Give the library and the model, after everything in it that could reach beyond the file was refused."""
    try:
        onnx = importlib.import_module("onnx")
    except ImportError:
        raise EnvironmentMissingError(f"{path}: needs onnx to be read; pip install onnx") from None
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path}: is larger than {LARGEST >> 30} GiB; name another file")
    refuse_onnx_file(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, and of the checker
        raise UsageError(f"{path}: is no ONNX model ({_first(error)}); name another file") from None
    for node in model.graph.node:
        inner = any(one.HasField("g") or one.graphs for one in node.attribute)
        if inner or node.domain not in ("", "ai.onnx"):
            told = f"{node.op_type}{f' of {node.domain}' if node.domain else ''}"[:80]
            raise UsageError(CannotCarryError("operator", told).line(f"{(node.name or node.op_type)[:80]!r}"))
    return onnx, model


class _Evaluator:
    """Computes a graph's outputs by ONNX's own reference, numpy alone."""

    def __init__(self, path: Path, model: Any, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
        except Exception as error:  # of an operator that it does not know
            raise UsageError(f"{path}: onnx does not compute it ({_first(error)}); save it anew") from None

    def __call__(self, inputs: npt.NDArray[Any]) -> list[Any]:
        """Outputs, in order."""
        try:
            with np.errstate(all="ignore"):
                return list(self._evaluator.run(None, {self._name: inputs}))
        except Exception as error:  # whatever numpy makes of a stranger's sizes
            problem = f"does not compute for inputs of shape {inputs.shape} ({_first(error)})"
            raise UsageError(f"{self._path}: {problem}; give other inputs by --example, or save it anew") from None


def _refuse_large(onnx: Any, path: Path, reader: _Reader, inputs: Array) -> None:
    """Refuse a graph with a value that no memory holds, by the sizes that its operators imply."""
    graph, helper = reader.graph, onnx.helper
    kinds = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int64): onnx.TensorProto.INT64}
    given = [helper.make_tensor_value_info(reader.input, kinds[inputs.dtype], inputs.shape)]
    small = [one for one in graph.initializer if np.prod(one.dims) <= _KEPT]
    given += [
        helper.make_tensor_value_info(one.name, one.data_type, list(one.dims))
        for one in graph.initializer
        if np.prod(one.dims) > _KEPT
    ]
    ends = [onnx.ValueInfoProto(name=one.name) for one in graph.output]
    sized = helper.make_model(
        helper.make_graph(graph.node, "sizes", given, ends, small), opset_imports=reader.operator_sets
    )
    try:
        found = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception as error:  # of sizes that do not go together
        problem = f"does not compute for inputs of shape {inputs.shape} ({_first(error)})"
        raise UsageError(f"{path}: {problem}; give other inputs by --example, or save it anew") from None
    for one in [*found.graph.value_info, *found.graph.output]:
        count = math.prod(size.dim_value for size in one.type.tensor_type.shape.dim if size.dim_value > 0)
        if count > _MOST_NUMBERS:
            raise UsageError(f"{path}: {one.name[:80]!r} would have {count:.3g} numbers; save it with smaller ones")


def _before_ending(graph: Any) -> str | None:
    """Name of the value that the softmax or sigmoid at the end takes."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in ("Identity", "Dropout"):
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type in _ENDINGS else None


def _with_outputs(onnx: Any, model: Any, names: Sequence[str]) -> Any:
    """Give the model with other outputs."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.output[:]
    copied.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copied


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


class _Reader(NodeWriter):
    """Reads a graph's nodes one after the other."""

    def __init__(self, onnx: Any, model: Any) -> None:
        super().__init__()
        graph = model.graph
        self._onnx, self.graph, self.operator_sets = onnx, graph, model.opset_import
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
        said, sizes = self._info.HasField("shape"), [one.dim_value for one in self._info.shape.dim]
        if said and len(sizes) < 2:
            raise UsageError(CannotCarryError("axes", f"an input of {len(sizes)} axes").line("the model"))
        whole = self._info.elem_type in (self._onnx.TensorProto.INT64, self._onnx.TensorProto.INT32)
        if given is None:
            if not said or not all(sizes[1:]) or whole:
                raise UsageError("example: the model does not say which inputs it takes; give --example or --shape")
            given = np.random.default_rng(0).normal(size=(2, *sizes[1:]))
        fits = given.ndim == len(sizes) and all(n in (0, m) for n, m in zip(sizes[1:], given.shape[1:], strict=True))
        if given.ndim < 2 or not len(given) or (said and not fits):
            taken = ", ".join(str(size or "any") for size in sizes[1:]) if said else "..."
            raise UsageError(f"example: has shape {given.shape}; the model takes (n, {taken})")
        return given.astype(np.int64 if whole else np.float32)

    def program(self, values: Mapping[str, Array], shape: tuple[int, ...]) -> Program:
        """Turn all nodes into calls."""
        self.shapes = {name: np.shape(value) for name, value in values.items()} | {self.input: shape}
        follows = {self.input}
        for node in self.graph.node:
            self.place = node.name or node.output[0]
            if node.op_type == "Shape" or not follows.intersection(node.input):
                for name in node.output:  # sizes are those of the inputs that it was read with
                    self.constants.setdefault(name, Constant(np.asarray(values[name])))
                continue
            follows.update(node.output)
            self._node(node)
        return Program(
            calls=tuple(self.calls), input=self.input, input_shape=shape, output=self.graph.output[0].name,
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
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            told = CannotCarryError("arguments", f"{type(error).__name__}: {_first(error)}")
            raise UsageError(told.line(f"{self.place!r} ({node.op_type})")) from None
        found = found if isinstance(found, list) else [found]
        for name, value in zip(node.output, found, strict=False):
            self.calls.append(Call(name=name, operator="identity", arguments={"self": value}))
