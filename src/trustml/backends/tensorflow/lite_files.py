"""What a TensorFlow Lite file may hold, the metadata it carries, and one more signature in it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from trustml.errors import UsageError

_FIX = "run it where you trust it, and audit it as module:attribute"


def refuse_lite_file(content: bytes, path: Path) -> None:
    """Refuse a file with operators that TensorFlow Lite does not have built in: those of TensorFlow may do anything.

    Raises
    ------
    UsageError
    """
    if content[4:8] != b"TFL3":
        raise UsageError(f"{path}: is no TensorFlow Lite file; name another")
    try:
        model = _unpacked(content)
        custom = [code.customCode.decode() for code in model.operatorCodes if code.customCode]
        outside = any(buffer.offset for buffer in model.buffers)
    except Exception as error:  # the reader of flatbuffers runs into damage in any way
        raise UsageError(f"{path}: is a damaged TensorFlow Lite file ({type(error).__name__}); name another") from None
    if custom:
        raise UsageError(f"{path}: calls {custom[0][:80]!r}, which is not built into TensorFlow Lite; {_FIX}")
    if outside:
        raise UsageError(f"{path}: keeps numbers behind its end; {_FIX}")


def with_metadata(content: bytes, name: str, text: str) -> bytes:
    """Give a file with one more entry of metadata."""
    model = _unpacked(content)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = list(text.encode())
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return _packed(model, len(content) + len(text))


def read_metadata(content: bytes, name: str) -> str:
    """Give an entry of metadata; nothing where there is none."""
    model = schema.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == name.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    return ""


def with_signature(content: bytes, other: bytes, name: str) -> bytes:
    """Give a file with what another computes as one more signature.

    Numbers that both have are kept once. So are those that one has as the transpose of the other's, as kernels of a
    network and of its gradient are: the second signature transposes them as it is called.

    Parameters
    ----------
    content, other : bytes
        TensorFlow Lite files; the other with one signature.
    name : str
    """
    model, more = _unpacked(content), _unpacked(other)
    (graph,), (signature,) = more.subgraphs, more.signatureDefs
    for operator in graph.operators:
        operator.opcodeIndex += len(model.operatorCodes)
    model.operatorCodes += more.operatorCodes
    _take_numbers(model, graph, more.buffers)
    signature.signatureKey, signature.subgraphIndex = name, len(model.subgraphs)
    graph.name = name
    model.subgraphs.append(graph)
    model.signatureDefs.append(signature)
    return _packed(model, len(content) + len(other))


def _take_numbers(model: Any, graph: Any, buffers: list[Any]) -> None:
    """Have the tensors of a graph, which name some buffers, name those of a model, with what is new in them."""
    places = {_bytes(buffer): place for place, buffer in enumerate(model.buffers)}
    transposes = _transposes(model)

    def place_of(content: bytes) -> int:
        if content not in places:
            places[content] = len(model.buffers)
            added = schema.BufferT()
            added.data = np.frombuffer(content, np.uint8)
            model.buffers.append(added)
        return places[content]

    before = []
    for number, tensor in enumerate(graph.tensors[:]):
        tensor.name = None  # those that a converter gives can be longer than all else
        content = _bytes(buffers[tensor.buffer])
        kernel, axes = transposes.get((_shape(tensor), content), (None, ()))
        if kernel is None or content in places:
            tensor.buffer = place_of(content) if content else 0  # the first one is empty, by the format
            continue
        order = schema.TensorT()
        order.type, order.shape = schema.TensorType.INT32, [len(axes)]
        order.buffer = place_of(np.array(axes, np.int32).tobytes())
        before.append(_transpose(model, [len(graph.tensors), len(graph.tensors) + 1], number))
        graph.tensors += [copy.copy(kernel), order]
        tensor.buffer = 0
    graph.operators[:0] = before


def _transposes(model: Any) -> dict[tuple[tuple[int, ...], bytes], tuple[Any, tuple[int, ...]]]:
    """By shape and bytes of the transposes of its kernels: each kernel, and the order of axes."""
    found = {}
    for tensor in model.subgraphs[0].tensors:
        content, shape = _bytes(model.buffers[tensor.buffer]), _shape(tensor)
        if content and len(shape) in _AXES and tensor.type == schema.TensorType.FLOAT32:
            axes = _AXES[len(shape)]
            turned = np.frombuffer(content, np.float32).reshape(shape).transpose(axes)
            found[turned.shape, turned.tobytes()] = tensor, axes
    return found


_AXES = {2: (1, 0), 4: (3, 1, 2, 0)}
"""Of kernels of dense layers, and of convolutions: (out, rows, columns, in)."""


def _transpose(model: Any, inputs: list[int], output: int) -> Any:
    """Give an operator that transposes, whose code it adds to a model."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
    operator.builtinOptions = schema.TransposeOptionsT()
    model.operatorCodes.append(code)
    return operator


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(map(int, tensor.shape))


def _bytes(buffer: Any) -> bytes:
    return b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()


def _unpacked(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _packed(model: Any, size: int) -> bytes:
    builder = flatbuffers.Builder(size + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
