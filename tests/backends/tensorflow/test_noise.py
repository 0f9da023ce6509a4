"""Noise of the tensorflow environment: numpy's ziggurat in float64 for examples, Philox's words for users."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from tests.backends import ablated_case
from tests.backends import correlated_case as correlated
from tests.backends.normal_law import check_draws, check_tail
from tests.backends.tensorflow import noise_case as case
from trustml.launch.environments import find_environment
from trustml.privacy.tails import TAILS

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Mapping[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("noise")
    done = subprocess.run(
        [find_environment("tensorflow").require(), HERE / "noise_case.py", folder],
        env={**os.environ, "PYTHONPATH": f"{HERE.parents[2] / 'src'}:{HERE.parents[2]}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "noise.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["philox", "ahead"])
def test_the_numbers_are_normal_and_independent(found, name):
    draws = iter(found[name])
    check_draws(lambda: next(draws), draws=case.DRAWS)


def test_both_tails_are_reached_where_those_of_tensorflow_end_at_six(found):
    assert found["outermost"].tolist() == pytest.approx([11.24, -11.24], abs=0.01)
    assert np.abs(found["outermost"]).min() > TAILS["tff"].largest
    assert found["leading"][0] > 8.9
    assert (np.diff(found["leading"]) < 0).all()
    assert np.array_equal(found["mirrored"], -found["leading"])


@pytest.mark.parametrize("bits", case.BITS)
def test_the_law_of_the_tail(found, bits):
    sizes = -np.log(2) - special.log_ndtr(-found[f"tail_{bits}"].astype(np.float64))
    check_tail(lambda words: sizes, bits=bits)


@pytest.mark.parametrize("name", [*correlated.SHORT, "independent"])
def test_the_noise_of_private_steps_is_the_strategys(found, name):
    rows = found[f"steps_{name}"]
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(correlated.SEED))))
    drawn = generator.standard_normal(rows.shape)
    expected = drawn if name == "independent" else correlated.combined(correlated.STRATEGIES[name], drawn)
    np.testing.assert_allclose(rows, expected, atol=2e-5)
    assert "not among the 13" in str(found["steps_beyond"])


@pytest.mark.long  # in short of PyTorch: what is left out is left out by the core
def test_an_ablation_takes_the_private_steps_without_what_it_leaves_out(found):
    ablated_case.check({name.removeprefix("ablated_"): float(v) for name, v in found.items() if "ablated" in name})


def test_examples_get_numbers_of_float64(found):
    """What numpy makes in float32 ends at 8.2: the stream is that of float64, piece by piece, rounded."""
    generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([1, 2, 3, 4])))
    assert np.array_equal(found["ahead"][0], generator.standard_normal(case.SIZE).astype(np.float32))
