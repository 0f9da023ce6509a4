"""A private step on several devices is that of one, with one noise. The devices are simulated on the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trustml.backends.jax.sharding import device_mesh
from trustml.errors import UsageError

pytestmark = pytest.mark.jax
HERE = Path(__file__).resolve().parent
TWO = pytest.param(2, marks=pytest.mark.long)
CASES = [
    ("uneven", 4),
    *(
        pytest.param(*one, marks=pytest.mark.long)
        for one in (("uneven", 2), ("uneven per layer", 4), ("fewer than devices", 4))
    ),
]
DEVIATION = 0.7


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, np.ndarray]:
    file = tmp_path_factory.mktemp("sharded") / "found.npz"
    root = HERE.parents[2]
    done = subprocess.run(
        [sys.executable, HERE / "sharded.py", file],
        env={**os.environ, "PYTHONPATH": str(root / "src"), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(file))


def part(found: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}


def largest_difference(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@pytest.mark.parametrize(("case", "devices"), CASES)
def test_the_clipped_sums_of_several_devices_are_those_of_one(found, case, devices):
    one, several = (part(found, f"{case}/{count}/sum/") for count in (1, devices))
    assert max(np.abs(array).max() for array in one.values()) > 0.05
    assert largest_difference(one, several) <= 1e-5
    assert found[f"{case}/1/unclipped"] == found[f"{case}/{devices}/unclipped"]


@pytest.mark.parametrize("devices", [TWO, 4])
def test_one_key_gives_one_noise_whatever_the_number_of_devices(found, devices):
    def noise(count: int) -> dict[str, np.ndarray]:
        sums, noisy = (part(found, f"uneven/{count}/{kind}/") for kind in ("sum", "noisy"))
        return {name: noisy[name] - sums[name] for name in sums}

    assert largest_difference(noise(1), noise(devices)) <= 1e-6
    values = np.concatenate([array.ravel() for array in noise(devices).values()])
    # One noise, not one a device: 5 standard errors of a standard deviation, wrong once in 1.7 million trials.
    assert len(values) > 10_000
    assert abs(values.std() / DEVIATION - 1) < 5 / np.sqrt(2 * len(values))


def test_the_trainer_deals_out_over_the_devices_it_is_told_with_one_noise(found):
    one, two = (part(found, f"trained/{count}/sum/") for count in (1, 2))
    assert any(not np.array_equal(one[name], two[name]) for name in one), "it added up in another order"
    for name in one:
        assert np.abs(one[name] - two[name]).max() <= 1e-6 * np.abs(one[name]).max()
    alone, noise = (part(found, f"trained/{count}/noise/") for count in (1, 2))
    assert largest_difference(alone, noise) <= 1e-4 * max(np.abs(array).max() for array in alone.values())
    values = np.concatenate([array.ravel() for array in noise.values()])
    assert abs(values.std() / (3.0 * 0.5) - 1) < 5 / np.sqrt(2 * len(values))


@pytest.mark.parametrize("devices", [TWO, 4])
def test_every_device_holds_the_same_noisy_sum(found, devices):
    copies = found[f"uneven/{devices}/copies"]
    assert len(copies) == devices
    assert all(np.array_equal(copies[0], other) for other in copies[1:])


@pytest.mark.long
def test_jax_itself_would_add_gradients_up_over_devices(found):
    """Why `check_vma` is off; when this fails, JAX no longer does and it can go back on."""
    right = found["uneven/1/sum/3.kernel"]
    assert np.abs(found["by jax"] - right).max() > 0.1 * np.abs(right).max()


def test_one_device_needs_no_mesh_and_more_than_there_are_is_an_error():
    assert device_mesh(1) is None
    with pytest.raises(UsageError, match="99, but JAX sees"):
        device_mesh(99)
