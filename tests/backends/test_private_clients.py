"""Clients that are private by themselves, in every backend: against a loop in float64, and what their noise hides."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, norm

from tests.backends.private_clients_case import (
    BATCH,
    LOCAL,
    LOCAL_REGIME,
    NOISE,
    NORM,
    RATE,
    ROUNDS,
    SENT,
    examples,
    model,
)  # fmt: skip
from trustml.backends.numpy.federated import mean_gradient
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[2]
CLOSE = 1e-5
"""Of the largest entry: float32 in another order."""
RARE = 1e-7


@pytest.fixture(
    scope="module",
    params=[  # the clients are the core's; tests of each backend's own hold its steps and its noise against the law
        pytest.param("jax", marks=[pytest.mark.jax, pytest.mark.long]),
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("tensorflow", marks=[pytest.mark.tensorflow, pytest.mark.long]),
    ],
)
def found(request, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp(request.param)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment(request.param).require(), "-m", "tests.backends.private_clients_case"]
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
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


def clipped(parts):
    length = np.sqrt(sum((part**2).sum() for part in parts.values()))
    return {name: part * min(1.0, NORM / max(length, 1e-300)) for name, part in parts.items()}


def gradient(weights, rows):
    data = examples()
    return mean_gradient(model().architecture, weights, data.inputs[rows].astype(np.float64), data.labels[rows])


def trained(weights, batches, slope):
    """Take steps of SGD with momentum by the slope of each batch; give the change."""
    here, velocity = dict(weights), {name: np.zeros_like(part) for name, part in weights.items()}
    for batch in batches:
        towards = slope(here, batch)
        velocity = {name: LOCAL.momentum * velocity[name] + towards[name] for name in here}
        here = {name: here[name] - RATE * velocity[name] for name in here}
    return {name: here[name] - weights[name] for name in here}


def private_slope(weights, batch):
    """Sum of clipped gradients over the declared size of a batch, whatever came."""
    total = {name: np.zeros_like(part) for name, part in weights.items()}
    for row in batch:
        for name, part in clipped(gradient(weights, [row])).items():
            total[name] = total[name] + part / BATCH
    return total


def oracle(title):
    def send(weights, batches):
        if title == "silo":
            return trained(weights, batches, private_slope)
        return clipped(trained(weights, [batch for batch in batches if batch], gradient))

    regime = LOCAL_REGIME
    weights = {name: part.astype(np.float64) for name, part in model().weights.items()}
    velocity = {name: np.zeros_like(part) for name, part in weights.items()}
    for visits in ROUNDS:
        updates = [send(weights, batches) for batches in visits]
        for name in velocity:
            mean = sum(update[name] for update in updates) / len(updates)
            velocity[name] = regime.server_momentum * velocity[name] + mean
        weights = {name: part + regime.server_learning_rate * velocity[name] for name, part in weights.items()}
    return weights


@pytest.mark.parametrize("title", ["silo", "local"])
def test_without_noise_rounds_are_those_of_a_loop_in_float64(found, title):
    for name, part in oracle(title).items():
        own = found[f"{title}/{name}"]
        assert np.abs(own - part).max() <= CLOSE * max(1.0, np.abs(part).max()), name


SCALE = {"silo": RATE * NORM / BATCH, "local": NORM}
"""By how much an example, or an update, moves what a client sends in one step, at the most."""


@pytest.mark.parametrize("title", ["silo", "local"])
def test_a_client_with_nothing_sends_noise_of_the_declared_size_drawn_anew_each_time(found, title):
    noise = found[f"{title} of nothing"] / (NOISE * SCALE[title])
    low, high = chi2.interval(1 - RARE, noise.size)
    assert low <= (noise**2).sum() * 1.01 and (noise**2).sum() <= 1.01 * high
    assert np.abs(noise.mean()) <= norm.isf(RARE) / np.sqrt(noise.size)
    others = (noise[1:] * noise[:-1]).sum() / np.sqrt(noise[1:].size)
    assert abs(others) <= norm.isf(RARE), "no client gets the noise of the one before"
    mean = noise.mean(axis=0) * np.sqrt(SENT)
    low, high = chi2.interval(1 - RARE, mean.size)
    assert low <= (mean**2).sum() <= high, "the mean of what many send has their noise, each its own"


@pytest.mark.parametrize("title", ["silo", "local"])
def test_an_outlier_moves_what_is_sent_by_no_more_than_is_charged(found, title):
    moved = np.linalg.norm(found[f"{title} present"] - found[f"{title} absent"])
    most = SCALE[title] * (1 if title == "silo" else 2)
    assert 0.3 * SCALE[title] <= moved <= most * (1 + 1e-5)


@pytest.mark.parametrize("title", ["silo", "local"])
def test_whether_an_outlier_is_there_shows_without_noise_and_with_it_as_far_as_its_law_lets_it(found, title):
    present, absent = found[f"{title} present"], found[f"{title} absent"]
    direction = present - absent
    middle = direction @ (present + absent) / 2
    assert direction @ present > middle > direction @ absent, "without noise the server tells it every time"
    told = found[f"{title} present with noise"] @ direction > middle
    false = found[f"{title} absent with noise"] @ direction > middle
    advantage = told.mean() - false.mean()
    apart = np.linalg.norm(direction) / (NOISE * SCALE[title])
    law = 2 * norm.cdf(apart / 2) - 1
    slack = norm.isf(RARE) * np.sqrt(0.5 / SENT)
    assert law - slack <= advantage <= law + slack and advantage < 0.95
