"""A private step over several processes is that of one, with one noise, which the first alone draws."""

from __future__ import annotations

import subprocess
import threading
from datetime import timedelta

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch import ranks
from trustml.backends.torch.device import open_device
from trustml.backends.torch.dp import OpacusTrainer
from trustml.errors import UsageError
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, ReLU
from trustml.models.weights import initial_weights
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.torch
NETWORK = Architecture(layers=(Conv2D(filters=4, kernel=(2, 2)), ReLU(), Flatten(), Dense(units=40), Dense(units=5)))
MODEL = Model(
    architecture=NETWORK,
    input_shape=(5, 5, 1),
    weights=initial_weights(NETWORK, (5, 5, 1), generator=np.random.default_rng(0)),
)
CLIPPING_NORM, NOISE_MULTIPLIER = 0.5, 3.0


class InThread:
    """One of the other processes as a thread, which hears the same words."""

    def __init__(self, folder, rank):
        self._thread = threading.Thread(target=ranks.serve, args=(folder, rank))
        self._thread.start()

    def poll(self) -> None:
        """It has not ended, as far as a thread can tell."""

    def wait(self, timeout: float) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "it was not told that there is no more"


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(rows)
    return generator.normal(size=(rows, 2, 5, 5, 1)).astype(np.float32), generator.integers(0, 5, rows)


def two_steps(devices: int, *, noise_multiplier: float, rows: int = 11) -> dict[str, dict[str, np.ndarray]]:
    """Sums of the first step, its noisy gradient, and weights after two, the second of a batch of one example."""
    settings = PrivateSettings(
        optimizer=SGD(),
        expected_batch_size=8,
        multiplicity=2,
        count_unclipped=True,
        noise_seed=(1, 2, 3, 4),
        grad_sample_mode="hooks",
        devices=devices,
    )
    trainer = OpacusTrainer(MODEL, settings=settings, dropout_seed=0)
    clipped = trainer.accumulate(*batch(rows), clipping_norm=CLIPPING_NORM)
    sums = trainer.clipped_sum()
    found = {"sums": sums, "unclipped": {"all": np.array(clipped.unclipped)}}
    trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=noise_multiplier, learning_rate=0.1)
    found["noisy"] = trainer.gradient()
    trainer.accumulate(*batch(1), clipping_norm=100.0)
    trainer.update(clipping_norm=100.0, noise_multiplier=0.0, learning_rate=0.1)
    return {**found, "weights": trainer.weights()}


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Of the largest entry of each array."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max() / np.abs(one[name]).max()) for name in one)


def check(several: dict[str, dict[str, np.ndarray]], one: dict[str, dict[str, np.ndarray]]) -> None:
    assert largest_difference(one["sums"], several["sums"]) <= 1e-6
    assert one["unclipped"] == several["unclipped"]
    noise = np.concatenate([(8 * several["noisy"][k] - several["sums"][k]).ravel() for k in several["sums"]])
    alone = np.concatenate([(8 * one["noisy"][k] - one["sums"][k]).ravel() for k in one["sums"]])
    # The noise of one process from the same seed, once: of two it would be longer by a factor of 1.41 or of 2.
    assert np.abs(noise - alone).max() <= 1e-5 * np.abs(alone).max()
    assert abs(alone.std() / (NOISE_MULTIPLIER * CLIPPING_NORM) - 1) < 5 / np.sqrt(2 * len(alone))
    # The second step is taken at weights that the noise moved: everybody had them.
    assert largest_difference(one["weights"], several["weights"]) <= 1e-6


@pytest.fixture(scope="module")
def one():
    open_device("cpu", threads=1)
    return two_steps(0, noise_multiplier=NOISE_MULTIPLIER)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_the_step_of_two_is_that_of_one_with_one_noise(one, monkeypatch):
    monkeypatch.setattr(ranks, "_start", InThread)
    check(two_steps(2, noise_multiplier=NOISE_MULTIPLIER), one)


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.long
def test_the_step_of_three_processes_is_that_of_one_and_none_is_left(one, monkeypatch):
    started = []

    def start(folder, rank):
        started.append(real(folder, rank))
        return started[-1]

    real = ranks._start
    monkeypatch.setattr(ranks, "_start", start)
    check(two_steps(3, noise_multiplier=NOISE_MULTIPLIER), one)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started), "they have ended with the trainer"


def test_what_the_others_are_told_holds_no_seed_of_the_noise():
    assert not {"noise_seed", "noise", "noise_multiplier"} & set(ranks._Told.__struct_fields__)


def test_a_process_that_dies_before_it_joins_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "_PATIENCE", timedelta(seconds=5))
    died = subprocess.Popen(["false"])
    with pytest.raises(UsageError, match="process 1 of 2 ended with code 1 before it joined"):
        ranks._join_with([died], tmp_path, 2)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_a_process_that_dies_ends_the_step_with_an_error(monkeypatch):
    started: list[subprocess.Popen] = []
    real = ranks._start

    def start(folder, rank):
        started.append(real(folder, rank))
        return started[-1]

    monkeypatch.setattr(ranks, "_start", start)
    open_device("cpu", threads=1)
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=8, noise_seed=(1, 2, 3, 4), grad_sample_mode="hooks", devices=2
    )
    trainer = OpacusTrainer(MODEL, settings=settings, dropout_seed=0)
    inputs, labels = batch(8)
    trainer.accumulate(inputs[:, :1], labels, clipping_norm=1.0)
    started[0].kill()
    started[0].wait()
    with pytest.raises(RuntimeError):
        trainer.accumulate(inputs[:, :1], labels, clipping_norm=1.0)
