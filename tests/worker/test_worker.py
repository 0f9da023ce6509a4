"""The clock, the common lane and the worker's own entry, without a framework."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from trustml.scenario import methods as m
from trustml.worker.clock import Clock
from trustml.worker.common_lane import integrated_gradients
from trustml.worker.explaining import seed_of
from trustml.worker.job_context import Progress
from trustml.worker.private import entropy_words


class Cubic:
    """f(x) = sum of a * x^3 per class: its integrated gradients are a * x^3, known exactly."""

    def __init__(self, factors: np.ndarray) -> None:
        self.factors = factors

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        return (inputs**3) @ self.factors

    def input_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (3 * inputs**2 * self.factors.T[targets]).astype(np.float32)


def test_methods_draw_from_seeds_of_their_own():
    methods = (m.KernelShap(), m.Lime(), m.SmoothGrad(), m.Lime(name="again"))
    assert len({seed_of(method) for method in methods}) == 4
    assert seed_of(m.Lime(n_samples=7)) == seed_of(m.Lime())  # the title decides


@pytest.mark.parametrize("n_steps", [2, 5, 50])
def test_the_common_lane_is_exact_for_a_polynomial(n_steps):
    # Gauss-Legendre with two points is exact up to degree 3; 1e-5 is float32.
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(30, 4)).astype(np.float32)
    targets = generator.integers(0, 3, 30)
    network = Cubic(generator.normal(size=(4, 3)))
    found = integrated_gradients(network, inputs, targets, baseline=np.zeros_like(inputs), n_steps=n_steps)
    expected = inputs**3 * network.factors.T[targets]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_common_lane_starts_at_its_baseline():
    inputs = np.full((2, 3), 2.0, np.float32)
    network = Cubic(np.ones((3, 1)))
    found = integrated_gradients(network, inputs, np.zeros(2, int), baseline=np.ones_like(inputs), n_steps=8)
    np.testing.assert_allclose(found.sum(axis=1), 3 * (8 - 1), rtol=1e-5)


def test_the_clock_waits_for_the_device_before_it_reads():
    pending = [0.0]

    def synchronize() -> None:
        time.sleep(pending[0])
        pending[0] = 0.0

    clock = Clock(synchronize)
    for _ in range(2):
        with clock.step(examples=5):
            pending[0] = 0.05  # work handed to a device that answers later
    with clock.stage("predict"):
        pass
    arrays = clock.arrays()
    assert (arrays["seconds"] >= 0.05).all()
    assert arrays["examples"].tolist() == [5, 5]
    assert "predict" in clock.stages


def test_progress_holds_counts_alone_and_not_too_many(tmp_path):
    progress = Progress(tmp_path / "e")
    for step in range(1000):
        progress.step(step + 1, 1000)
    lines = (tmp_path / "e").read_text().splitlines()
    assert 1 < len(lines) < 50
    assert '"step":1000' in lines[-1]


def test_noise_seeds_are_never_the_same():
    assert len({entropy_words() for _ in range(1000)}) == 1000


def test_the_worker_says_how_to_call_it(tmp_path):
    done = subprocess.run([sys.executable, "-m", "trustml.worker", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "job.json" in done.stderr
