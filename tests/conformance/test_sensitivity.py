"""No example moves the sum by more than the clipping norm, in any backend, whichever way it clips; searched by machine.

``make test-sensitivity`` searches for an hour; what it found is in benchmarks/results/sensitivity.md.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import WHOLE
from tests.conformance.sensitivity import search_sensitivity, try_one
from tests.conformance.trials import CLASSES, Network, Rows, Trial, draw_networks, draw_trial, mutated
from tests.conformance.unguarded import FAULTS
from tests.conformance.zoo_networks import WAYS, ZOO
from tests.conformance.zoo_table import searched
from trustml.launch.environments import find_environment
from trustml.models import residual, sequences, transformers, zoo
from trustml.models.layers import Architecture, Dense
from trustml.models.shapes import layer_shapes
from trustml.plan.switches import switch_variables
from trustml.scenario.spec import Execution

HERE = Path(__file__).resolve().parent
SECONDS = float(os.environ.get("TRUSTML_SENSITIVITY_SECONDS", "4" if WHOLE else "0"))
QUICK = ("torch: one use of a value counted",)
"""Faults that are searched for in short."""
QUICK_WAYS = {"jax": ("book-keeping",), "torch": ("book_keeping",), "tensorflow": ("book_keeping",)}
"""Ways that are searched in short: ours of each backend. Other tests hold each way's sum against a loop."""
TRIED = [fault for fault in FAULTS if WHOLE or fault in QUICK]
MARKS = {backend: getattr(pytest.mark, backend) for backend in WAYS}
EVERY_WAY = [
    pytest.param(
        backend,
        mode,
        id=f"{backend}-{mode}",
        marks=[MARKS[backend], *([] if mode in QUICK_WAYS[backend] else [pytest.mark.long])],
    )
    for backend, modes in WAYS.items()
    for mode in modes
]


def environment_of(backend: str) -> dict[str, str]:
    """Let XLA compile as it does for users. TensorFlow is not told so in short: it is forked from what asks others."""
    threads = 0 if WHOLE else 1  # else tests share the cores
    path = {"PYTHONPATH": f"{HERE.parents[1]}/src:{HERE.parents[1]}"}
    if backend == "tensorflow" and not WHOLE:
        return {**os.environ, **path}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS", *([] if threads else ["OMP_NUM_THREADS"])):
            patch.delenv(name, raising=False)
        return {**os.environ, **switch_variables(Execution(threads=threads)), **path}


def search(folder: Path, backend: str) -> dict[str, dict]:
    """Search each of its ways and for each of its faults, in its environment, compiled as its workers compile."""
    modes = WAYS[backend] if WHOLE else QUICK_WAYS[backend]
    faults = [fault for fault in TRIED if fault.startswith(f"{backend}:")]
    log = folder / "log.txt"
    with log.open("wb") as errors, (folder / "found.json").open("wb") as found:
        process = subprocess.Popen(
            [find_environment(backend).require(), HERE / "sensitivity_case.py"]
            + [backend, ",".join(modes), str(SECONDS), "0", *faults],
            env=environment_of(backend),
            stdin=subprocess.DEVNULL,
            stdout=found,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=len(modes) * SECONDS + 400)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert code == 0, log.read_text()[-2000:]
    lines = (folder / "found.json").read_text().splitlines()
    return dict(zip((*modes, *faults), map(json.loads, lines), strict=True))


@pytest.fixture(scope="module")
def found_of(tmp_path_factory) -> Callable[[str], dict[str, dict]]:
    """What the search of each way of a backend, and of each fault in it, came to."""

    @functools.cache
    def found(backend: str) -> dict[str, dict]:
        return search(tmp_path_factory.mktemp(backend), backend)

    return found


@pytest.mark.timeout(600 + 4 * SECONDS)
@pytest.mark.parametrize(("backend", "mode"), EVERY_WAY)
def test_no_example_moves_the_sum_further_than_the_clipping_norm(found_of, backend, mode):
    found = found_of(backend)[mode]
    print(f"{backend} {mode}: {found['moved']:.7f} of {found['allowed']:.7f} in {found['trials']} trials")
    assert found["trials"] >= 3
    assert found["moved"] <= found["allowed"], (found["network"], found["trial"])


@pytest.mark.timeout(600 + 4 * SECONDS)
@pytest.mark.parametrize(
    ("backend", "fault"),
    [
        pytest.param(backend, fault, marks=[MARKS[backend], *([] if fault in QUICK else [pytest.mark.long])], id=fault)
        for fault in FAULTS
        for backend in [fault.split(":")[0]]
    ],
)
def test_the_search_finds_what_the_guards_keep_out(found_of, backend, fault):
    found = found_of(backend)[fault]
    assert found["moved"] > found["allowed"]


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("backend", "mode"), EVERY_WAY)
def test_no_example_moves_the_sum_of_a_network_of_the_zoo_too_far(backend, mode):
    """Every published network, on small inputs, by each way to clip that takes it."""
    found = list(searched(backend, mode, list(ZOO)))
    assert not [one for one in found if not one.get("refused") and not one.get("passes")]
    assert sum("moved" in one for one in found) >= (1 if mode == "ew" else 8)


def test_the_zoo_is_searched_whole():
    """Every network that a module of the zoo makes; those that others are made by are there through these."""
    made = {
        name
        for module in (residual, sequences, transformers, zoo)
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_")
    }
    assert made - {"residual_network", "vision_transformer"} == {name.partition(" ")[0] for name in ZOO}
    for network in ZOO.values():
        assert layer_shapes(network.architecture, network.input_shape)[-1][-1] == CLASSES


def test_every_network_that_is_drawn_has_ten_logits():
    networks = draw_networks(np.random.default_rng(0))
    for _ in range(300):
        network = next(networks)
        assert layer_shapes(network.architecture, network.input_shape)[-1] == (10,)
        assert 1 <= network.block <= 64


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_what_is_drawn_and_mutated_can_be_tried(seed):
    generator = np.random.default_rng(seed)
    trial = draw_trial(generator)
    for _ in range(20):
        trial = mutated(trial, generator)
    assert trial.batch >= 0 and trial.clipping_norm > 0 and 0 < trial.alike <= 1


def softmax_sum(clip):
    """Clipped sum of a linear network by hand, clipped by `clip` from an example's squared norm and bound."""

    def clipped_sum(weights, inputs, labels, *, clipping_norm):
        inputs = inputs[:, 0]
        logits = inputs.astype(np.float64) @ weights["0.kernel"] + weights["0.bias"]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        gradient = shares / shares.sum(axis=1, keepdims=True) - np.eye(10)[labels]
        norms = np.linalg.norm(gradient, axis=1) * np.sqrt(1 + np.square(inputs.astype(np.float64)).sum(axis=1))
        scales = clip(norms, clipping_norm, inputs)
        return {
            "0.kernel": inputs.astype(np.float64).T @ (gradient * scales[:, None]),
            "0.bias": scales @ gradient,
        }

    return clipped_sum


LINEAR = Network(architecture=Architecture(layers=(Dense(units=10),)), input_shape=(5,), block=8)


def right(norms, bound, inputs):
    return np.minimum(1, bound / np.maximum(norms, 1e-12))


WRONG = {
    "1 % too long": lambda norms, bound, inputs: 1.01 * right(norms, bound, inputs),
    "only where inputs are large": lambda norms, bound, inputs: (
        right(norms, bound, inputs) * np.where(np.abs(inputs).max(axis=1) > 1e3, 1.5, 1.0)
    ),
    "only where inputs are alike": lambda norms, bound, inputs: (
        right(norms, bound, inputs) * np.where(inputs.std(axis=1) < 1e-3, 1.5, 1.0)
    ),
    "only in large batches": lambda norms, bound, inputs: (
        right(norms, bound, inputs) * (1.2 if len(inputs) > 30 else 1)
    ),
    "the first example": lambda norms, bound, inputs: (
        right(norms, bound, inputs) * np.where(np.arange(len(inputs)) == 0, 1.3, 1.0)
    ),
}


def test_a_right_sum_passes():
    found = search_sensitivity(lambda _: softmax_sum(right), seconds=0.5, seed=0, networks=iter([LINEAR] * 10))
    assert found.worst.passes and found.worst.moved > 0.999999


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_sum_is_found(fault):
    found = search_sensitivity(lambda _: softmax_sum(WRONG[fault]), seconds=10, seed=0, networks=iter([LINEAR] * 10))
    assert not found.worst.passes, found


def test_a_move_is_measured_before_and_after_and_alone():
    rows = Rows(pattern="normal", offset=0.0, spread=1.0)
    trial = Trial(
        seed=1, batch=4, others=rows, added=rows, place=1.0,
        first_layer=1.0, last_layer=1.0, alike=1.0, clipping_norm=0.01,
    )  # fmt: skip
    for place in (0.0, 0.5, 1.0):
        move = try_one(LINEAR, replace(trial, place=place), softmax_sum(right))
        assert abs(move.moved - 1) < 1e-9 and move.passes


@pytest.mark.parametrize("fault", ["no number for an example alone", "an array is left out of larger batches"])
def test_what_is_no_number_and_what_is_missing_counts(fault):
    def clipped_sum(weights, inputs, labels, *, clipping_norm):
        found = softmax_sum(right)(weights, inputs, labels, clipping_norm=clipping_norm)
        if fault.startswith("no number"):
            return {name: part * (np.nan if len(labels) == 1 else 1.0) for name, part in found.items()}
        return {name: part for name, part in found.items() if len(labels) < 31 or name != "0.kernel"}

    rows = Rows(pattern="normal", offset=0.0, spread=1.0)
    trial = Trial(
        seed=1, batch=30, others=rows, added=rows, place=1.0,
        first_layer=1.0, last_layer=1.0, alike=1.0, clipping_norm=0.01,
    )  # fmt: skip
    assert try_one(LINEAR, trial, softmax_sum(right)).passes
    assert not try_one(LINEAR, trial, clipped_sum).passes
