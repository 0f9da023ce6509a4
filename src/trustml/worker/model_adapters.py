"""``python -m trustml.worker.model_adapters BACKEND WHAT CWD FOLDER``: a stranger's model, asked through files.

WHAT is ``module:attribute``, found from CWD, or a file or folder of a model. When the model is loaded ``ready.npz`` is
written. ``request-1.npz``, ``request-2.npz`` and so on are then answered one after the other by ``answer-1.npz`` and so
on: ``inputs`` alone by the outputs, ``inputs`` and ``columns`` by input gradients, ``digest`` by the SHA-256 of the
model's arrays, and ``seed``, where it is not negative, by a model of shuffled weights. Where an answer cannot be had it
holds a ``problem`` instead, in one line; where the model cannot be loaded, that is in ``problem.txt``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Deployed, LiveModel, Shuffled
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.frameworks.table import entry_of, names_module
from trustml.models.deployed_files import target_of_file
from trustml.processes import is_offline
from trustml.record.files import encode_arrays, read_arrays, write_atomic
from trustml.worker.__main__ import said_of, write_problem
from trustml.worker.exporting import open_file

_LOOK_SECONDS = 0.02


def main(arguments: list[str]) -> int:
    """Load the model and answer until the parent is gone."""
    backend, what, start, place = arguments
    folder = Path(place)
    try:
        live = load(backend, what, Path(start))
        ready = {"gradients": getattr(live, "gradients", True), "shuffles": getattr(live, "shuffles", True)}
        ready["offline"] = is_offline()
        write_atomic(folder / "ready.npz", encode_arrays({name: np.array(one) for name, one in ready.items()}))
        number = 0
        while True:
            number += 1
            request = folder / f"request-{number}.npz"
            while not request.is_file():
                time.sleep(_LOOK_SECONDS)
            part = folder / "answer.part"
            part.write_bytes(encode_arrays(_answered(live, read_arrays(request))))
            request.unlink()
            part.rename(folder / f"answer-{number}.npz")
    except Exception as error:
        write_problem(folder, error)
        return 1


def load(backend: str, what: str, start: Path) -> LiveModel:
    """Load a model and wrap it; a function without parameters makes one."""
    if not names_module(what) and not what.endswith(".keras"):
        path = start / what
        return _FileModel(open_file(backend, target_of_file(path), path, as_given=True))
    module = importlib.import_module(f"{entry_of(backend).module}.model_adapter")
    if what.endswith(".keras"):
        model = module.load_keras(start / what)
    else:
        sys.path.insert(0, str(start))
        name, _, attribute = what.partition(":")
        model = getattr(importlib.import_module(name), attribute)
        if inspect.isfunction(model) and not inspect.signature(model).parameters:
            model = model()
    live: LiveModel = module.live_model(model)
    return live


class _FileModel:
    """A file for deployment, see :class:`trustml.backends.contract.LiveModel`: inputs as its owner has them."""

    def __init__(self, opened: Deployed) -> None:
        self._opened = opened
        self.gradients: bool = opened.gradients
        self.shuffles = isinstance(opened, Shuffled)

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return what the file answers."""
        found: Floats = self._opened.logits(_single(inputs))
        return found

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of one output of each example."""
        found: Floats = self._opened.input_gradients(_single(inputs), np.asarray(columns, np.int64))
        return found

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Give the file with shuffled weights, where its runtime lets them be reached."""
        if not isinstance(self._opened, Shuffled):
            raise UsageError("the weights of such a file cannot be shuffled")
        with self._opened.randomised(seed) as other:
            yield _FileModel(other)

    def digest(self) -> str:
        """Nothing: the file itself identifies it."""
        return ""

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """None: no library explains files."""
        return {}


def _single(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return inputs.astype(np.float32) if inputs.dtype == np.float64 else inputs


def _answered(live: LiveModel, request: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    try:
        return {"outputs": answer(live, request)}
    except Exception as error:
        traceback.print_exc()
        return {"problem": np.array(said_of(error))}


def answer(live: LiveModel, request: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Answer one request."""
    if "digest" in request:
        return np.frombuffer(bytes.fromhex(live.digest()), np.uint8)
    seed = int(request["seed"])
    if seed >= 0:
        with live.randomised(seed) as randomised:
            return answer(randomised, {**request, "seed": np.array(-1)})
    if "columns" in request:
        return live.input_gradients(request["inputs"], request["columns"])
    return live.outputs(request["inputs"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
