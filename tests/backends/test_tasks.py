"""A step, a clipped sum and a federated round of every task, in every backend, against the oracle in float64."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.backends.task_case import ASKED, COPIES, INPUTS, NORM, RATE, USERS, after_private_rounds, model_of
from tests.models.task_cases import EXAMPLES, TASKS_TRIED, draw_labels
from trustml.backends.numpy.federated import NumpyFederation, mean_gradient
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[2]
CLOSE = 1e-5
"""Of the largest entry: float32 in another order."""


@pytest.fixture(
    scope="module", params=[pytest.param(b, marks=getattr(pytest.mark, b)) for b in ("jax", "torch", "tensorflow")]
)
def found(request, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp(request.param)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment(request.param).require(), "-m", "tests.backends.task_case"]
            + [request.param, folder / "found.npz"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=280)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # TFF's worker among them
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


def gradient(task, rows, inputs=INPUTS):
    model = model_of(task)
    wide = {k: np.asarray(part, np.float64) for k, part in model.weights.items()}
    return mean_gradient(model.architecture, wide, inputs[rows].astype(np.float64), draw_labels(task)[rows], task=task)


def clipped_by_a_loop(task, inputs=(INPUTS,)):
    each = []
    for row in range(EXAMPLES):
        copies = [gradient(task, slice(row, row + 1), one) for one in inputs]
        each.append({k: sum(copy[k] for copy in copies) / len(copies) for k in copies[0]})
    norms = [np.sqrt(sum((part**2).sum() for part in one.values())) for one in each]
    assert max(norms) > NORM, "nothing would be clipped"
    scales = [min(1.0, NORM / max(norm, 1e-300)) for norm in norms]  # nothing follows in one text
    return {k: sum(scale * one[k] for scale, one in zip(scales, each, strict=True)) for k in each[0]}


def clipped_means_of_users(task):
    each = [gradient(task, np.flatnonzero(USERS == user)) for user in range(4)]
    norms = [np.sqrt(sum((part**2).sum() for part in one.values())) for one in each]
    assert max(norms) > NORM, "nothing would be clipped"
    scales = [min(1.0, NORM / max(norm, 1e-300)) for norm in norms]
    return {k: sum(scale * one[k] for scale, one in zip(scales, each, strict=True)) for k in each[0]}


def stepped(task, rows):
    found = gradient(task, rows)
    return {k: part - RATE * found[k] for k, part in model_of(task).weights.items()}


def after_a_round(task):
    """The mean over clients, weighed by their examples."""
    one, other = stepped(task, slice(0, 4)), stepped(task, slice(4, None))
    return {k: (4 * one[k] + (EXAMPLES - 4) * other[k]) / EXAMPLES for k in one}


WANTED = {
    "plain": lambda task: stepped(task, slice(None)),
    "clipped": clipped_by_a_loop,
    "copies": lambda task: clipped_by_a_loop(task, (INPUTS, COPIES)),
    "users": clipped_means_of_users,
    "federated": after_a_round,
}


@functools.cache
def wanted(number, what):
    return WANTED[what](TASKS_TRIED[number])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "what"),
    [
        pytest.param(number, what, id=f"{TASKS_TRIED[number]!r}-{what}")
        for what, numbers in ASKED.items()
        for number in numbers
    ],
)
def test_a_backend_trains_by_the_loss_of_the_task(found, number, what):
    ways = {key.split("/")[1] for key in found if key.startswith(f"{number}/{what}")}
    assert ways
    for way in ways:
        for name, part in wanted(number, what).items():
            error = np.abs(found[f"{number}/{way}/{name}"] - part).max()
            assert error < CLOSE * max(1.0, np.abs(part).max()), (way, name)


@functools.cache
def oracle_of_the_graph():
    return after_private_rounds(lambda model, settings: NumpyFederation(model, settings))


def test_private_rounds_of_a_graph_are_those_of_the_oracle(found):
    """Gradients of the oracle are differences of losses, so that nothing of a layer's own rule is in them."""
    for name, part in oracle_of_the_graph().items():
        error = np.abs(found[f"graph/{name}"] - part).max()
        assert error < CLOSE * max(1.0, np.abs(part).max()), name
