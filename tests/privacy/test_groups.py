"""Group privacy: against the bound of one example, closed forms, and integrals of two densities."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy.stats import binom, norm

from trustml.privacy import groups
from trustml.privacy.accounting import epsilon_of, gaussian_epsilon
from trustml.privacy.groups import epsilon_of_group
from trustml.privacy.ledger import Charge, relation_of

DELTA = 1e-5


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """A grid that is looser, and as much of a bound."""
    monkeypatch.setattr(groups, "_POINTS", 150)


def charge(*, noise=4.0, rate=0.05, steps=20, sampling="poisson", secret=True, participation=None):
    most = steps if participation is None else participation
    return Charge(
        attempt=1, first_step=0, end_step=steps, noise_multiplier=noise, clipping_norm=1.0, sample_rate=rate,
        batch_size=round(rate * 1000), examples=1000, sampling=sampling, secret_sampling=secret, participation=most,
        largest_participation=most, plan="p", data="d", relation=relation_of(sampling, secret=secret),
    )  # fmt: skip


def test_a_group_of_one_is_one_example():
    one, group = epsilon_of([charge()], delta=DELTA), epsilon_of_group([charge()], size=1, delta=DELTA)
    assert one.value <= group.value <= 1.001 * one.value and group.relation == one.relation


def delta_of_one_step(epsilon, *, size, noise, rate):
    """Delta of one step by both integrals over a fine grid: the binomial mixture against no one, and the reverse."""
    x = np.linspace(-12 * noise, size + 12 * noise, 200_001)
    numbers = np.arange(size + 1)
    with_them = (binom.pmf(numbers, size, rate)[:, None] * norm.pdf(x, numbers[:, None], noise)).sum(axis=0)
    without = norm.pdf(x, 0, noise)
    pairs = ((with_them, without), (without, with_them))
    return max(np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x) for p, q in pairs)


@pytest.mark.parametrize(("size", "noise", "rate"), [(3, 2.0, 0.2)])
def test_one_step_of_a_group_is_the_integral_over_its_binomial(size, noise, rate):
    found = epsilon_of_group([charge(noise=noise, rate=rate, steps=1)], size=size, delta=DELTA).value
    assert delta_of_one_step(found, size=size, noise=noise, rate=rate) <= DELTA
    assert delta_of_one_step(0.99 * found, size=size, noise=noise, rate=rate) > DELTA


def test_without_amplification_a_group_moves_the_sum_by_its_size():
    in_turn = charge(sampling="in turn", steps=50, participation=5, noise=20.0)
    found = epsilon_of_group([in_turn], size=4, delta=DELTA)
    assert found.value == pytest.approx(gaussian_epsilon(16 * 5 / 20.0**2, delta=DELTA))


def test_larger_groups_lose_more_and_never_more_than_unamplified():
    values = [epsilon_of_group([charge()], size=size, delta=DELTA).value for size in (1, 5)]
    assert values == sorted(values) and values[1] > 5 * values[0]
    assert values[1] <= gaussian_epsilon(25 * 20 / 16, delta=DELTA)


def test_batches_of_fixed_size_add_neighbours_up():
    fixed = charge(sampling="fixed", noise=8.0)
    one, group = epsilon_of([fixed], delta=DELTA), epsilon_of_group([fixed], size=3, delta=DELTA)
    assert group.relation == "replace one" and 3 * one.value < group.value < 10 * one.value
    smaller = group.value / 3
    assert "neighbours added up" in group.accountant
    # the delta of one at that epsilon, times what three steps make of it, is what was asked for at the most
    left = DELTA / sum(math.exp(step * smaller) for step in range(3))
    assert epsilon_of([fixed], delta=left).value <= smaller * 1.0001


def test_tails_of_the_noise_are_paid_for():
    drawn = charge(noise=1.0, rate=0.5, steps=200)
    real = msgspec.structs.replace(drawn, noise_source="jax", coordinates=10_000)
    assert epsilon_of_group([drawn], size=8, delta=DELTA).value > 40
    assert epsilon_of_group([real], size=8, delta=DELTA).value == math.inf
