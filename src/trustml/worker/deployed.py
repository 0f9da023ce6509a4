"""``python -m trustml.worker.deployed FOLDER``: open a file for deployment afresh, and ask it beside its model.

FOLDER holds what :mod:`trustml.worker.exporting` was given and wrote, and ``questions.npz``: ``explained`` inputs,
``held_out`` inputs, or both, and ``train`` inputs where it is attacked. ``answers.npz`` gets what the file and the
model answer; where the file cannot be opened or does not answer, the reason is in ``problem.txt``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attribution.asking import Doubles
from trustml.attribution.occlusion import SAMPLES, feature_groups, kernel_shap, occluded, without_noise
from trustml.backends.contract import Deployed, Network
from trustml.backends.table import load_backend
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.models.answers import explained_outputs
from trustml.models.token_space import table_of_tokens
from trustml.record.exports import MEMBERS, ExportRequest
from trustml.record.files import encode_arrays, read_arrays, write_atomic
from trustml.worker.__main__ import write_problem
from trustml.worker.exporting import model_of, open_file

_ROWS = 256
_REPEATS = 30
_BATCHES = (1, 64)
MOVED = 1e-6
"""Of each value of an input, by which it is moved as rounding would."""
_DRAWS = 8
QUESTIONS = ("explained", "held_out", "drawn")
"""Inputs that file and model are asked: explained examples, held-out ones, and such as no data have. The file alone
is asked about training examples, where it is attacked: what the model answers there is known."""


def main(arguments: list[str]) -> int:
    """Ask file and model."""
    folder = Path(arguments[0])
    try:
        wanted = msgspec.json.decode((folder / "request.json").read_bytes(), type=ExportRequest)
        questions = read_arrays(folder / "questions.npz")
        write_atomic(folder / "answers.npz", encode_arrays(_answers(wanted, folder, questions)))
    except Exception as error:
        write_problem(folder, error)
        return 1
    return 0


def _answers(
    wanted: ExportRequest, folder: Path, questions: dict[str, npt.NDArray[np.generic]]
) -> dict[str, npt.NDArray[np.generic]]:
    asked = {name: questions[name].astype(np.float32) for name in QUESTIONS if name in questions}
    some = next(iter(asked.values()))
    started = time.perf_counter()
    opened = open_file(wanted.backend, wanted.target, folder / wanted.file)
    opened.logits(some[:1])
    first_call = time.perf_counter() - started
    network = load_backend(wanted.backend).network(model_of(wanted, folder))
    found = {
        "first_call": np.array(first_call),
        "statement": np.frombuffer(opened.statement.encode(), np.uint8),
        "rounded": np.array(opened.rounded),
        **_seconds(opened, network, some),
    }
    for name, inputs in asked.items():
        for who, one in (("file", opened), ("model", network)):
            found[f"{who}.{name}_logits"] = by_rows(one.logits, inputs)
        shapes = [found[f"{who}.{name}_logits"].shape for who in ("file", "model")]
        if shapes[0] != shapes[1]:
            raise UsageError(f"{wanted.file}: answers with shape {shapes[0]} where the model's is {shapes[1]}")
    if MEMBERS in questions:
        found[f"file.{MEMBERS}_logits"] = by_rows(opened.logits, questions[MEMBERS].astype(np.float32))
    if "explained" in asked and not table_of_tokens(wanted.architecture):
        columns = explained_outputs(wanted.task, found["model.explained_logits"], np.zeros(0), target="predicted")
        found |= _explanations(opened, network, asked["explained"], columns)
    return found


def by_rows(ask: Callable[[Floats], Floats], inputs: Floats) -> Floats:
    """Ask for some rows at a time."""
    return np.concatenate([ask(inputs[start : start + _ROWS]) for start in range(0, len(inputs), _ROWS)])


def _explanations(opened: Deployed, network: Network, inputs: Floats, targets: Ints) -> dict[str, Floats]:
    """Explain what the model says by the file and by itself, in the same way."""
    try:
        gradients = opened.input_gradients(inputs, targets)
    except NotImplementedError:
        return _by_forward_passes(opened.logits, "file", inputs, targets) | _by_forward_passes(
            network.logits, "model", inputs, targets
        )
    own = network.input_gradients(inputs, targets)
    return {
        "file.input_gradients": gradients,
        "model.input_gradients": own,
        "model.moved_gradients": _moved_gradients(network, inputs, targets, own),
    }


def _moved_gradients(network: Network, inputs: Floats, targets: Ints, gradients: Floats) -> Floats:
    """Gradients of the model at inputs that are moved as little as rounding does, of some draws those furthest off.

    A gradient jumps at the kinks of rectifiers, and in a network of many of them rounding decides on which side some
    examples are. Equal values move alike and zeros stay: what is the same in two windows is so for file and model.
    """
    drawn = np.random.default_rng(0)
    values, places = np.unique(inputs, return_inverse=True)
    found = np.stack(
        [
            network.input_gradients(moved[places].reshape(inputs.shape).astype(np.float32), targets)
            for moved in values * (1 + drawn.uniform(-MOVED, MOVED, size=(_DRAWS, len(values))))
        ]
    )
    furthest = np.abs(found - gradients).reshape(_DRAWS, len(inputs), -1).max(axis=2).argmax(axis=0)
    return found[furthest, np.arange(len(inputs))]


def _by_forward_passes(ask: Callable[[Floats], Floats], who: str, inputs: Floats, targets: Ints) -> dict[str, Floats]:
    """Occlusion and KernelSHAP of the target's logit, by groups of features that are set to 0; each (n, groups)."""
    rows = np.arange(len(inputs))

    def scores(changed: Floats) -> Doubles:
        return np.stack([by_rows(ask, one)[rows, targets] for one in changed]).astype(np.float64)

    groups, zeros = feature_groups(inputs.shape[1:]), np.zeros_like(inputs)
    drawn = np.random.default_rng(0)  # the same coalitions for file and model
    samples = SAMPLES * (int(groups.max()) + 1)
    shapley = kernel_shap(inputs, zeros, groups, scores, samples=samples, generator=drawn)
    return {
        f"{who}.occlusion": occluded(inputs, zeros, groups, scores).astype(np.float32),
        f"{who}.kernel_shap": without_noise(shapley).astype(np.float32),
    }


def _seconds(opened: Deployed, network: Network, inputs: Floats) -> dict[str, Floats]:
    """Time of one call, file and model in turns; the first of each is not counted."""
    found: dict[str, Floats] = {}
    for batch in _BATCHES:
        rows = np.resize(inputs, (batch, *inputs.shape[1:]))
        times: dict[str, list[float]] = {"file": [], "model": []}
        for _ in range(_REPEATS + 1):
            for who, one in (("file", opened), ("model", network)):
                started = time.perf_counter()
                one.logits(rows)
                times[who].append(time.perf_counter() - started)
        found |= {f"{who}.seconds_{batch}": np.array(taken[1:], np.float32) for who, taken in times.items()}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
