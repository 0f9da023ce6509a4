"""Where noise ends is charged: by an upper bound that is checked against the definition, at little cost."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tests import WHOLE
from trustml.privacy.accounting import epsilon_of, gaussian_epsilon
from trustml.privacy.calibration import calibrated_noise_unamplified
from trustml.privacy.ledger import Charge, charge, read_ledger
from trustml.privacy.tails import SHARE, TAILS, epsilon_with_tails, noise_source, spared, total_variation

DELTA = 1e-5


def made(**changes) -> Charge:
    usual = {
        "attempt": 1,
        "first_step": 0,
        "end_step": 100,
        "noise_multiplier": 4.0,
        "clipping_norm": 1.0,
        "sample_rate": 1.0,
        "batch_size": 10,
        "examples": 10,
        "sampling": "all",
        "secret_sampling": False,
        "participation": 100,
        "largest_participation": 100,
        "plan": "p",
        "data": "d",
    }
    return Charge(**{**usual, **changes})


@pytest.mark.parametrize("source", TAILS)
def test_the_mass_covers_what_a_normal_number_has_beyond_the_largest(source):
    tail = TAILS[source]
    beyond = 2 * special.ndtr(-tail.largest)
    assert beyond <= tail.mass * (1 if tail.charged else 2)
    if tail.charged:
        assert tail.largest > 11
        # A model of 10**8 weights over 10**5 steps at epsilon 8: a hundred-thousandth of delta.
        assert (1 + math.exp(8)) * 1e13 * tail.mass < 1e-5 * DELTA


@settings(deadline=None, max_examples=300 if WHOLE else 60)
@given(
    precision=st.floats(1e-4, 300),
    delta=st.floats(1e-12, 1e-2),
    variation=st.floats(1e-40, 1e-2),
)
def test_epsilon_holds_for_noise_that_is_off_by_the_variation(precision, delta, variation):
    def plain(left: float) -> float:
        return gaussian_epsilon(precision, delta=left)

    found = epsilon_with_tails(plain, variation=variation, delta=delta)
    assert found >= plain(delta)
    if math.isfinite(found):
        assert plain(delta - (1 + math.exp(found)) * variation) <= found
        larger = epsilon_with_tails(plain, variation=2 * variation, delta=delta)
        assert larger >= found
    else:
        assert (1 + math.exp(plain(0.75 * delta))) * variation > 0.25 * delta


def test_a_cut_normal_is_covered():
    """Both hockey-stick divergences of two cut, shifted normals, summed up numerically, stay under delta."""
    shift, end = 0.5, 3.0
    grid = np.linspace(-end, end + shift, 2_000_001)
    step = grid[1] - grid[0]
    mass = 1 - 2 * special.ndtr(-end)
    densities = [
        np.where(np.abs(grid - at) <= end, np.exp(-((grid - at) ** 2) / 2) / math.sqrt(2 * math.pi) / mass, 0.0)
        for at in (0.0, shift)
    ]
    variation = 2 * special.ndtr(-end)
    for delta in (0.05, 0.1, 0.3):
        bound = epsilon_with_tails(
            lambda left: gaussian_epsilon(shift**2, delta=left), variation=variation, delta=delta
        )
        for first, second in (densities, densities[::-1]):
            assert np.maximum(first - math.exp(bound) * second, 0).sum() * step <= delta
    # Below the mass that only one of the two reaches no epsilon holds, and none is given.
    assert (densities[0] * (densities[1] == 0)).sum() * step > 1e-3
    assert (
        epsilon_with_tails(lambda left: gaussian_epsilon(shift**2, delta=left), variation=variation, delta=1e-3)
        == math.inf
    )


def test_ledgers_pay_by_steps_and_numbers():
    silent, told = made(), made(noise_source="jax", coordinates=10**6)
    assert total_variation([(told.noise_source, told.steps * told.coordinates)]) == 1e8 * TAILS["jax"].mass
    plain, paid = (epsilon_of([one], delta=DELTA) for one in (silent, told))
    assert paid.value == epsilon_of([silent], delta=DELTA * (1 - SHARE)).value
    assert plain.value < paid.value < plain.value * (1 + 1e-6)
    assert (plain.relation, plain.accountant) == (paid.relation, paid.accountant)
    assert epsilon_of([made(noise_source="torch.normal", coordinates=10**6)], delta=DELTA) == plain
    absurd = made(noise_source="jax", coordinates=10**6, end_step=10**19)
    assert epsilon_of([absurd], delta=DELTA).value == math.inf


def test_a_calibrated_noise_leaves_room_for_the_tails():
    noise = calibrated_noise_unamplified(epsilon=2.0, delta=spared(DELTA), participation=100)
    told = made(noise_multiplier=noise, noise_source="numpy", coordinates=10**6)
    assert 1.99 < epsilon_of([told], delta=DELTA).value <= 2.0


def test_ledgers_of_before_are_read_and_new_ones_come_back(tmp_path):
    path = tmp_path / "ledger.jsonl"
    old = msgspec.to_builtins(made())
    del old["noise_source"], old["coordinates"]
    path.write_bytes(msgspec.json.encode(old) + b"\n")
    assert read_ledger(path) == [made()]
    told = made(first_step=100, end_step=200, noise_source="torch", coordinates=7)
    charge(path, told)
    assert read_ledger(path) == [made(), told]


def test_every_backend_has_a_source():
    for backend in ("jax", "torch", "tensorflow"):
        for users in (False, True):
            assert TAILS[noise_source(backend, federated=users, stock=False)].charged
    for backend in ("torch", "tensorflow"):
        assert not TAILS[noise_source(backend, federated=False, stock=True)].charged
