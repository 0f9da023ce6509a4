"""Models of TensorFlow.js: a folder of ``model.json``, the graph with its constants left out, and their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trustml.backends.contract import FileRequest
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.exported import STATEMENT
from trustml.models.node_runtime import NodeModel
from trustml.models.tfjs_files import GRAPH, copied_tfjs

_NUMBERS = "weights.bin"
_STEPS = frozenset({"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond", "While", "StatelessWhile", "If"})
_KINDS = {"f": "float32", "i": "int32", "u": "int32", "b": "bool"}


def write_tfjs(wanted: FileRequest, concrete: tf.types.experimental.ConcreteFunction) -> None:
    """Write a graph model of TensorFlow.js; the statement is among its user-defined metadata.

    Raises
    ------
    UsageError
        If it goes step by step, or holds a constant that TensorFlow.js has no type for.
    """
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=True)
    graph = _with_gradients(frozen.graph.as_graph_def())
    if step := next((node.op for node in graph.node if node.op in _STEPS), ""):
        raise UsageError(f"tfjs: the network goes step by step ({step}), which TensorFlow.js does not run; take tflite")
    weights, numbers = _constants(graph)
    described = {
        "format": "graph-model",
        "generatedBy": f"TensorFlow {tf.__version__}",
        "convertedBy": "trustml",
        "signature": {
            "inputs": {"inputs": {"name": frozen.inputs[0].name}},
            "outputs": {"logits": {"name": frozen.outputs[0].name}},
        },
        "modelTopology": MessageToDict(graph),
        "weightsManifest": [{"paths": [_NUMBERS], "weights": weights}],
        "userDefinedMetadata": {STATEMENT: wanted.statement},
    }
    wanted.path.mkdir()
    (wanted.path / GRAPH).write_text(json.dumps(described), encoding="utf-8")
    (wanted.path / _NUMBERS).write_bytes(numbers)


def _with_gradients(graph: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """Write squares of differences as both: of the one operator TensorFlow.js forgets what was broadcast (4.22)."""
    for node in [one for one in graph.node if one.op == "SquaredDifference"]:
        difference = graph.node.add()
        difference.CopyFrom(node)
        difference.name, difference.op = f"{node.name}/difference", "Sub"
        node.op = "Square"
        del node.input[:]
        node.input.append(difference.name)
    return graph


def _constants(graph: graph_pb2.GraphDef) -> tuple[list[dict[str, Any]], bytes]:
    """Take the numbers of constants out of a graph: what they are, and they."""
    described, parts = [], []
    graph.ClearField("library")  # control flow is lowered, and nothing calls its functions
    for node in graph.node:
        if node.op != "Const":
            continue
        array: npt.NDArray[Any] = tf.make_ndarray(node.attr["value"].tensor)
        kind = _KINDS.get(array.dtype.kind)
        if kind is None or (array.dtype.kind in "iu" and array.size and np.abs(array).max() >= 2**31):
            raise UsageError(f"{node.name}: a constant of {array.dtype} is none of TensorFlow.js; export to another")
        node.attr["value"].tensor.Clear()
        node.attr["value"].tensor.dtype = node.attr["dtype"].type
        described.append({"name": node.name, "shape": list(array.shape), "dtype": kind})
        parts.append(array.astype(kind).tobytes())
    return described, b"".join(parts)


class TfjsModel:
    """See :class:`trustml.backends.contract.Deployed`: what TensorFlow.js computes in node."""

    gradients, rounded = True, False

    def __init__(self, path: Path, *, as_given: bool = False) -> None:
        with copied_tfjs(path) as copied:
            self._model = NodeModel("tfjs", copied, name=path.name)
        self.statement = self._model.statement

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return self._model.ask(inputs)

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x); of some operators, such as Einsum, TensorFlow.js has none."""
        return self._model.ask(inputs, targets)
