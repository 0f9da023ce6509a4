"""ONNX files of strangers: what may be in one, decided before a runtime is given it.

An ONNX graph is made of operators of declared domains; onnxruntime runs those of ONNX itself and its own, and loads no
library that a file names. Weights may lie in other files, whose place the file names: those are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trustml.errors import UsageError

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_FIX = "run it where you trust it, and audit it as module:attribute"


def holds_eight_bits(path: Path) -> bool:
    """Whether a file keeps weights in 8 bits, by its own tensors and not by what it says of itself."""
    import onnx

    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    graph = onnx.load(path, load_external_data=False).graph
    return any(tensor.data_type in kinds and tensor.dims for tensor in graph.initializer)


def read_metadata(path: Path, name: str) -> str:
    """Give an entry of metadata; nothing where there is none."""
    import onnx

    found = onnx.load(path, load_external_data=False).metadata_props
    return next((entry.value for entry in found if entry.key == name), "")


def shuffled_weights(content: bytes, generator: np.random.Generator) -> bytes:
    """Give a file with the values of each array of weights shuffled, floats and 8-bit ones."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    for tensor in model.graph.initializer:
        if tensor.data_type in kinds and tensor.dims:
            values = numpy_helper.to_array(tensor)
            shuffled = values.ravel()[generator.permutation(values.size)].reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return model.SerializeToString()


def refuse_onnx_file(path: Path) -> None:
    """Refuse a file of operators of other domains, or with numbers in other files.

    Raises
    ------
    UsageError
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UsageError(f"{path}: is no readable ONNX file ({error}); name another") from None
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        tensors = [*getattr(graph, "initializer", ())]
        for sparse in getattr(graph, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            if node.domain not in _DOMAINS and node.domain not in {one.domain for one in model.functions}:
                raise UsageError(f"{path}: calls {node.op_type[:80]!r} of {node.domain[:80]!r}; {_FIX}")
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs
                tensors += [attribute.t, *attribute.tensors]
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    tensors += [sparse.values, sparse.indices]
        for tensor in tensors:
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise UsageError(f"{path}: keeps {tensor.name[:80]!r} in another file; {_FIX}")
