"""Networks exported and asked again, in a backend's environment: ``exported_cases.py BACKEND OUTPUT WHAT NAME...``.

For each network and target the largest difference of logits over the largest logit (at least 1), that of gradients
over the largest gradient, how many predictions differ, of which layers a file has no gradient, and whether the
statement came back; or why there is no such file.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests import WHOLE
from tests.conformance.cases import make_inputs, make_model
from trustml.backends.contract import FileRequest
from trustml.backends.table import load_backend
from trustml.deployment.targets import TARGETS
from trustml.errors import UsageError
from trustml.models.exported import ADDED_VARIABLE

ENDINGS = {"pt2": ".pt2", "onnx": ".onnx", "stablehlo": ".stablehlo", "keras": ".keras", "tflite": ".tflite"}
ENDINGS |= {"onnx-web": ".onnx", "executorch": ".pte", "tfjs": ".tfjs"}
ALL_TARGETS = WHOLE or os.environ.get("TRUSTML_TARGETS") == "all"
STATEMENT = '{"run": "of a test"}'
STALE = "a statement of yesterday"
FAULTY = ("small_cnn", "mlp", "residual")
"""Networks of which files are made with faults, and rounded, in the long form."""


def _first(weights, *endings):
    """The first array of weights with the first of these endings that there is."""
    return next(name for ending in endings for name in weights if name.endswith(ending))


FAULTS = {
    "weights of another job": lambda weights, rng: {n: rng.permuted(w) for n, w in weights.items()},
    "channels in another order": lambda weights, rng: {
        n: w[..., ::-1].copy() if n == _first(weights, ".kernel") else w for n, w in weights.items()
    },
    "a bias is left out": lambda weights, rng: {
        n: np.zeros_like(w) if n.endswith(".bias") else w for n, w in weights.items()
    },
    "another normalisation": lambda weights, rng: {  # that of the inputs, which one of layers would take back
        n: w * 2 if n == _first(weights, ".scale", ".kernel") else w for n, w in weights.items()
    },
}


def planted(weights, fault):
    """Weights of a model with a fault."""
    return FAULTS[fault](weights, np.random.default_rng(0))


def main(backend: str, output: str, what: str, names: list[str]) -> None:
    """Ask for every target of a backend: files of networks as they are, or such with a planted fault or rounded."""
    exporting = importlib.import_module(f"trustml.backends.{backend}.exporting")
    targets = [target for target in exporting.EXPORTERS if added(target)]
    found = {}
    for name, target in itertools.product(names, targets):
        for said, change in _changes(what, target):
            with tempfile.TemporaryDirectory() as folder:
                found[f"{said}{name}.{target}"] = _tried(backend, exporting, name, target, Path(folder), **change)
    if backend == "tensorflow" and what == "networks":
        from tests.deployment.hostile_saved import tried

        with tempfile.TemporaryDirectory() as folder:
            found["hostile"] = tried(Path(folder))
    Path(output).write_text(json.dumps(found))


def _changes(what: str, target: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What is changed of each file, and how its cases begin."""
    if what == "networks":
        yield "", {}
        return
    for fault in (*FAULTS, STALE):
        yield f"fault: {fault}.", {"fault": fault}
    for way in TARGETS[target].quantised:
        yield f"rounded: {way}.", {"quantised": way}


def added(target: str) -> bool:
    """Whether the packages of a target that needs some of its own are there; ExecuTorch's take long to import."""
    name = TARGETS[target].addition
    return not name or (ADDED_VARIABLE.format(name.upper()) in os.environ and (ALL_TARGETS or name != "executorch"))


def _tried(backend, exporting, name, target, folder, *, fault="", quantised=""):
    model = make_model(name)
    wrong = replace(model, weights=planted(model.weights, fault)) if fault in FAULTS else model
    statement = '{"run": "of yesterday"}' if fault == STALE else STATEMENT
    calibration = None
    if quantised == "int8":
        calibration = make_inputs(np.random.default_rng(4).uniform(size=(64, 8, 8, 1)).astype(np.float32), name)
    path = folder / f"model{ENDINGS.get(target, '')}"
    inputs = make_inputs(np.random.default_rng(3).uniform(size=(20, 8, 8, 1)).astype(np.float32), name)
    network = load_backend(backend).network(model)
    try:
        without = exporting.EXPORTERS[target](
            FileRequest(model=wrong, path=path, statement=statement, quantised=quantised, calibration=calibration)
        )
        opened = exporting.OPENERS[target](path)
        logits, own = opened.logits(inputs), network.logits(inputs)
    except UsageError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {str(error)[:400]}"}
    columns = own.argmax(axis=1).astype(np.int64)
    result = {"statement": opened.statement == STATEMENT, "logits": _apart(logits, own, least=1.0)}
    result["without_gradient"] = without or {}
    result["rounded"], result["differ"] = bool(opened.rounded), int((logits.argmax(axis=1) != columns).sum())
    try:
        result["gradients"] = _apart(opened.input_gradients(inputs, columns), network.input_gradients(inputs, columns))
    except NotImplementedError:
        pass
    except Exception as error:
        result["gradient_failed"] = f"{type(error).__name__}: {str(error)[:200]}"
    return result


def _apart(one, other, *, least=1e-9):
    return float(np.abs(one - other).max() / max(least, float(np.abs(other).max())))


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
