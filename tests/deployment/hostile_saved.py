"""SavedModels that write a file when they are asked, in some disguises; for a process of TensorFlow's environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trustml.backends.tensorflow.exporting import OPENERS
from trustml.errors import UsageError

_TRUSTED_NAME = "__inference__traced_"


def tried(folder: Path) -> dict[str, str]:
    """How each was answered: the refusal, or what it did."""
    found = {}
    for name, disguise in {"plain": _as_it_is, "as a saver": _renamed}.items():
        path, goal = folder / name.replace(" ", "_"), folder / f"written_{name[:2]}"
        _save(path, str(goal))
        disguise(path)
        try:
            OPENERS["savedmodel"](path).logits(np.zeros((2, 4), np.float32))
            found[name] = "answered"
        except UsageError as error:
            found[name] = str(error)
        if list(folder.glob(f"{goal.name}*")):
            found[name] += ", and wrote a file"
    return found


def _save(path: Path, goal: str) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def inner(values):
        written = tf.raw_ops.SaveV2(
            prefix=goal, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant("a stranger's bytes")]
        )
        with tf.control_dependencies([written]):
            return tf.identity(values)

    module = tf.Module()
    signature = [tf.TensorSpec([None, 4], tf.float32, name="inputs")]
    module.serve = tf.function(lambda values: {"logits": inner(values)}, input_signature=signature)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


def _as_it_is(path: Path) -> None:
    pass


def _renamed(path: Path) -> None:
    """Give the function that writes the name of those by which variables are saved."""
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(file.read_bytes())
    for graph in saved.meta_graphs:
        functions = graph.graph_def.library.function
        writing = [one.signature.name for one in functions if any(node.op == "SaveV2" for node in one.node_def)]
        renamed = {old: _TRUSTED_NAME + old for old in writing if not old.startswith(_TRUSTED_NAME)}
        for function in functions:
            function.signature.name = renamed.get(function.signature.name, function.signature.name)
        for node in [*graph.graph_def.node, *(node for one in functions for node in one.node_def)]:
            for value in node.attr.values():
                if value.HasField("func"):
                    value.func.name = renamed.get(value.func.name, value.func.name)
        for old, new in renamed.items():
            if old in graph.object_graph_def.concrete_functions:
                graph.object_graph_def.concrete_functions[new].CopyFrom(graph.object_graph_def.concrete_functions[old])
                del graph.object_graph_def.concrete_functions[old]
    file.write_bytes(saved.SerializeToString())
