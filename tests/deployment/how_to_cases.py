"""Calls of docs/how_to/deploy.md, made of files of one backend: ``how_to_cases.py BACKEND OUTPUT.json``.

For each call how far its logits, and its gradients where it has some, are from the network's.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.conformance.cases import make_model
from tests.deployment.exported_cases import STATEMENT, added
from trustml.backends.contract import FileRequest
from trustml.backends.table import load_backend
from trustml.deployment.targets import TARGETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "deploy.md"
CODE = re.compile(r"^## (\w+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(backend: str, output: str) -> None:
    """Export every target that the page has a call of, and make it."""
    exporting = importlib.import_module(f"trustml.backends.{backend}.exporting")
    model = make_model("small_cnn")
    images = np.random.default_rng(3).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    network = load_backend(backend).network(model)
    own = network.logits(images)
    own_gradients = network.input_gradients(images, own.argmax(axis=1).astype(np.int64))
    calls, found = dict(CODE.findall(PAGE.read_text())), {}
    for target in exporting.EXPORTERS:
        if target not in calls or not added(target):
            continue
        first = TARGETS[target].layout == "channels first"
        given = (np.moveaxis(images, -1, 1) if first else images).ravel()
        given = given.reshape((5, 1, 8, 8) if first else images.shape)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            path = Path(folder) / TARGETS[target].file
            exporting.EXPORTERS[target](FileRequest(model=model, path=path, statement=STATEMENT))
            names = {"images": given}
            exec(calls[target], names)
            found[target] = float(np.abs(np.asarray(names["logits"]) - own).max() / max(1.0, np.abs(own).max()))
            if "gradients" in names:
                apart = np.abs(names["gradients"] - own_gradients).max() / np.abs(own_gradients).max()
                found[f"{target} gradients"] = float(apart)
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
