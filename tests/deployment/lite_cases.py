"""Gradients that TensorFlow Lite files carry: ``lite_cases.py tensorflow OUTPUT``."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tests.conformance.cases import make_inputs, make_model
from tests.deployment.exported_cases import FAULTY, STATEMENT, _apart, planted
from trustml.backends.contract import FileRequest
from trustml.backends.tensorflow import exporting
from trustml.backends.tensorflow.exporting import EXPORTERS, OPENERS
from trustml.backends.tensorflow.lite_files import with_signature
from trustml.backends.tensorflow.network import KerasNetwork


def main(backend: str, output: str) -> None:
    """What the file of each network computes, and one with the gradient of other weights; and in whose interpreter."""
    found = {"interpreter": exporting._interpreter_type().__module__, **{name: _tried(name) for name in FAULTY}}
    Path(output).write_text(json.dumps(found))


def _tried(name):
    model = make_model(name)
    other = replace(model, weights=planted(model.weights, "weights of another job"))
    inputs = make_inputs(np.random.default_rng(3).uniform(size=(20, 8, 8, 1)).astype(np.float32), name)
    network = KerasNetwork(model)
    content, logits = _written(model), network.logits(inputs)
    columns = logits.argmax(axis=1).astype(np.int64)
    flat = np.broadcast_to(np.float32([[0.0], [0.5]]).reshape(-1, *[1] * (inputs.ndim - 1)), (2, *inputs.shape[1:]))
    swapped = _opened(_swapped(model, other))
    return {
        "gradients_of_equal_values": _apart(
            _opened(content).input_gradients(flat, columns[:2]), network.input_gradients(flat, columns[:2])
        ),
        "logits_of_swapped": _apart(swapped.logits(inputs), logits, least=1.0),
        "gradients_of_swapped": _apart(
            swapped.input_gradients(inputs, columns), network.input_gradients(inputs, columns)
        ),
        "numbers": _numbers(content),
        "weights": sum(array.nbytes for array in model.weights.values()),
        "size": len(content),
        "size_without": len(_of_answers(model)),
    }


def _swapped(model, other):
    built = exporting._for_graphs(other, exporting._WITHOUT_MASKS)
    gradient = exporting._lite_converter(exporting._gradient(other, built), built).convert()
    return with_signature(_of_answers(model), gradient, exporting.GRADIENT)


def _of_answers(model):
    built = exporting._for_graphs(model, exporting._WITHOUT_MASKS)
    return exporting._lite_converter(exporting._logits(model, built), built).convert()


def _numbers(content):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    return sum(len(one.data) for one in model.buffers if one.data is not None)


def _written(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        EXPORTERS["tflite"](FileRequest(model=model, path=path, statement=STATEMENT))
        return path.read_bytes()


def _opened(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        return OPENERS["tflite"](path)


if __name__ == "__main__":
    main(*sys.argv[1:3])
