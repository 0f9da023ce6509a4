"""Opacus over two processes: the sums of one, a single noise, the same weights. Gloo on the processor.

What Opacus 1.6.0 does: every process clips its own examples; the first alone adds noise, before the sums of all are
added up; ``loss_reduction="mean"`` divides by the expected batch size *of one process* and then by their number.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backends.torch.rank import CLIPPING_NORM, EXPECTED, NOISE_MULTIPLIER, PROCESSES

pytestmark = [pytest.mark.torch, pytest.mark.long]  # of Opacus alone, whose version is locked
HERE = Path(__file__).resolve().parent
WAYS = ("sampled", "ghost")
DIVISOR = {"sampled": EXPECTED, "ghost": 1, "mistaken": EXPECTED}
"""Ghost clipping is driven with added-up losses, where Opacus does not divide."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("ranks")
    processes = []
    for rank in range(PROCESSES):
        with (folder / f"{rank}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, HERE / "rank.py", str(rank), folder / "store", folder / f"{rank}.npz"],
                    env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
    try:
        codes = [process.wait(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(folder / f"{rank}.log").read_text()[-2000:] for rank in range(PROCESSES)]
    assert codes == [0] * PROCESSES, logs
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(PROCESSES)]


def noise_of(ranks: list[dict[str, np.ndarray]], way: str) -> np.ndarray:
    """Noise in the sum of clipped gradients."""
    noisy, without = (ranks[0][f"{way}/{noise:g}/gradient"] for noise in (NOISE_MULTIPLIER, 0.0))
    return (noisy - without) * DIVISOR[way]


@pytest.mark.parametrize("way", WAYS)
def test_the_summed_clipped_gradients_of_two_processes_are_those_of_one(ranks, way):
    alone = ranks[0][f"alone/{way}"]
    assert np.abs(alone).max() * DIVISOR[way] > 0.1
    for rank in ranks:
        assert np.abs(rank[f"{way}/0/gradient"] - alone).max() * DIVISOR[way] <= 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_the_released_gradient_has_one_noise(ranks, way):
    """5 standard errors of a standard deviation: wrong once in 1.7 million trials."""
    noise = noise_of(ranks, way)
    assert len(noise) > 10_000
    assert abs(noise.std() / (NOISE_MULTIPLIER * CLIPPING_NORM) - 1) < 5 / np.sqrt(2 * len(noise))
    assert abs(noise.mean()) < 5 * NOISE_MULTIPLIER * CLIPPING_NORM / np.sqrt(len(noise))


def test_noise_of_every_process_would_be_seen(ranks):
    """From equal generators it is the same noise twice, so twice as large; the check above is that sharp."""
    assert noise_of(ranks, "mistaken").std() > 1.9 * NOISE_MULTIPLIER * CLIPPING_NORM


@pytest.mark.parametrize("way", WAYS)
def test_only_the_first_process_draws(ranks, way):
    assert [bool(rank[f"{way}/{NOISE_MULTIPLIER:g}/drew"]) for rank in ranks] == [True, False]


@pytest.mark.parametrize("noise", [0.0, NOISE_MULTIPLIER])
@pytest.mark.parametrize("way", WAYS)
def test_weights_stay_equal_though_they_started_apart_and_one_had_an_empty_batch(ranks, way, noise):
    first, second = (rank[f"{way}/{noise:g}/weights"] for rank in ranks)
    assert np.array_equal(first, second)
