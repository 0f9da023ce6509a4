"""Bounds on epsilon against closed forms, exact integrals and other libraries, and by their properties."""

from __future__ import annotations

import math

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests import WHOLE
from trustml.privacy import loss_grid
from trustml.privacy.bound_kinds import GRID, RENYI
from trustml.privacy.bounds import epsilon_bounds
from trustml.privacy.events import NoiseEvent
from trustml.privacy.loss_grid import MOST_POINTS, Steps, plan
from trustml.privacy.loss_sums import epsilon_above, epsilon_below
from trustml.privacy.pairs import Pair, masses
from trustml.privacy.participation import epsilon_by_participation, epsilon_of_counts, epsilon_of_sums
from trustml.privacy.renyi import log_moments, orders, renyi_epsilon

DELTA = 1e-5
MNIST = 256 / 60_000


def poisson(noise: float, rate: float, steps: int) -> list[NoiseEvent]:
    return [NoiseEvent(kind="poisson", noise_multiplier=noise, sample_rate=rate, count=steps)]


def on_a_grid(noise, rate, steps, *, delta, way) -> tuple[float, float]:
    """The grid's own two bounds, without the others."""
    taken = (Steps(pair=Pair(noise=noise, rate=rate, way=way), count=steps),)
    grid = plan(taken, delta=delta)
    assert grid is not None and grid.points <= MOST_POINTS
    return epsilon_below(taken, grid, delta=delta), epsilon_above(taken, grid, delta=delta)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta", "low", "high"),
    [
        # finer and finer grids of dp-accounting come to these, from above and from below
        (8, MNIST, 14_063, 1e-5, 0.20805, 0.20810), (200, 0.01, 10**6, 1e-5, 0.1599, 0.1602),
        (130, MNIST, 14_063, 1e-5, 0.00942, 0.009424), (1.1, MNIST, 14_062, 1e-5, 2.3810, 2.3820),
        (0.7, MNIST, 10_546, 1e-5, 5.630, 5.645),
    ],
)  # fmt: skip
def test_bounds_of_the_issue_are_close(noise, rate, steps, delta, low, high):
    found = epsilon_bounds(poisson(noise, rate, steps), delta=delta)
    assert low <= found.low <= found.high <= high
    assert found.by == GRID


@settings(max_examples=12, deadline=None)
@given(st.floats(0.3, 60.0), st.integers(1, 3000), st.floats(-11.5, -1.5))
def test_the_grid_encloses_the_exact_gaussian(noise, steps, exponent):
    delta = 10**exponent
    exact = dp_accounting.get_epsilon_gaussian(noise / math.sqrt(steps), delta)
    assume(1e-4 < exact < 200)
    low, high = on_a_grid(noise, 1.0, steps, delta=delta, way="remove")
    assert exact * 0.998 - 1e-6 <= low <= exact * (1 + 1e-9) and exact * (1 - 1e-9) <= high <= exact * 1.002 + 1e-6


def exact_delta(noise: float, rate: float, epsilon: float, way: str) -> mpmath.mpf:
    """Of one step, in 40 digits: the chance of a loss above epsilon, less exp(epsilon) times the other world's."""
    with mpmath.workdps(40):
        s, q, e = mpmath.mpf(noise), mpmath.mpf(rate), mpmath.mpf(epsilon)
        odds = (mpmath.exp(e) - 1 + q) / q if way == "remove" else (mpmath.exp(-e) - 1 + q) / q
        if odds <= 0:
            return mpmath.mpf(0)
        at = s**2 * mpmath.log(odds) + mpmath.mpf(1) / 2
        if way == "remove":
            first = (1 - q) * mpmath.ncdf(-at / s) + q * mpmath.ncdf((1 - at) / s)
            return first - mpmath.exp(e) * mpmath.ncdf(-at / s)
        second = (1 - q) * mpmath.ncdf(at / s) + q * mpmath.ncdf((at - 1) / s)
        return mpmath.ncdf(at / s) - mpmath.exp(e) * second


@settings(max_examples=25 if WHOLE else 10, deadline=None)
@given(st.floats(0.3, 20.0), st.floats(1e-4, 0.99), st.floats(0.02, 0.9), st.sampled_from(["remove", "add"]))
def test_one_step_is_enclosed_and_the_gap_is_small(noise, rate, part, way):
    """Delta is worked out exactly from an epsilon, and the bounds at that delta must enclose the epsilon."""
    reach = math.log1p(rate * math.expm1(min(50.0, 4 / noise))) if way == "remove" else -math.log1p(-rate)
    epsilon = part * reach
    delta = float(exact_delta(noise, rate, epsilon, way))
    assume(1e-11 < delta < 0.5 and epsilon > 1e-6)
    low, high = on_a_grid(noise, rate, 1, delta=delta, way=way)
    assert low <= epsilon * (1 + 1e-9) <= high * (1 + 2e-9)
    if way == "remove":  # the worse one, on which the answer rests
        assert high - low <= 0.002 * epsilon + 1e-7


@pytest.mark.parametrize(
    ("noise", "rate", "epsilon"), [(1.0, 0.05, 0.3), (0.6, 0.01, 1.0), (3.0, 0.3, 0.2), (1.5, 0.9, 1.2)]
)
def test_two_steps_against_the_exact_integral(noise, rate, epsilon):
    """Over the first step's number, integrate the second's exact delta at what is left of epsilon."""
    with mpmath.workdps(25):

        def inner(x):
            loss = mpmath.log(1 - rate + rate * mpmath.exp((2 * x - 1) / (2 * mpmath.mpf(noise) ** 2)))
            density = (1 - rate) * mpmath.npdf(x, 0, noise) + rate * mpmath.npdf(x, 1, noise)
            left = epsilon - loss
            told = exact_delta(noise, rate, left, "remove")
            certain = left <= math.log1p(-rate)  # every loss of the second step is above
            return density * (1 - mpmath.exp(left) if certain else told)

        pieces = [-9 * noise, -3 * noise, 0, 0.5, 1, 1 + 3 * noise, 1 + 9 * noise]
        edge = noise**2 * math.log((math.exp(epsilon - math.log1p(-rate)) - 1 + rate) / rate) + 0.5
        delta = float(mpmath.quad(inner, sorted([*pieces, edge])))
    low, high = on_a_grid(noise, rate, 2, delta=delta, way="remove")
    assert low <= epsilon * (1 + 1e-7) and epsilon * (1 - 1e-7) <= high
    assert high - low <= 0.002 * epsilon


@settings(max_examples=6 if WHOLE else 3, deadline=None)
@given(st.floats(0.35, 10.0), st.floats(1e-3, 0.5), st.integers(2, 3000), st.floats(-8.0, -2.0))
def test_against_the_grids_of_another_library(noise, rate, steps, exponent):
    """Its optimistic estimate is never above our upper bound, its pessimistic one never below our lower bound."""
    delta = 10**exponent
    found = epsilon_bounds(poisson(noise, rate, steps), delta=delta)
    assume(0.01 < found.high < 30)
    assert found.low <= found.high <= found.low * 1.01 + 1e-4
    interval = min(1e-3, found.high / 500)
    for pessimistic in (True, False):
        step = privacy_loss_distribution.from_gaussian_mechanism(
            standard_deviation=noise,
            sampling_prob=rate,
            value_discretization_interval=interval,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
        )
        theirs = step.self_compose(steps).get_epsilon_for_delta(delta)
        slack = 1e-6 * theirs + 1e-8  # its own truncation is not charged
        assert theirs + slack >= found.low if pessimistic else theirs - slack <= found.high


@settings(max_examples=8 if WHOLE else 2, deadline=None)
@given(
    st.floats(0.02, 300.0), st.floats(1e-6, 1.0), st.integers(1, 10**7), st.floats(-15.0, -0.5), st.booleans()
)  # fmt: skip
def test_bounds_are_ordered_and_move_the_right_way_whatever_the_figures(noise, rate, steps, exponent, replace):
    delta = 10**exponent
    here = epsilon_bounds(poisson(noise, rate, steps), delta=delta, replace=replace)
    assert 0 <= here.low <= here.high
    for other, more in [
        (epsilon_bounds(poisson(noise / 1.2, rate, steps), delta=delta, replace=replace), True),
        (epsilon_bounds(poisson(noise, min(1.0, 1.2 * rate), steps), delta=delta, replace=replace), True),
        (epsilon_bounds(poisson(noise, rate, 2 * steps), delta=delta, replace=replace), True),
        (epsilon_bounds(poisson(noise, rate, steps), delta=delta / 3, replace=replace), True),
        (epsilon_bounds(poisson(noise * 1.2, rate, steps), delta=delta, replace=replace), False),
    ]:
        assert here.low <= other.high if more else other.low <= here.high


@settings(max_examples=10 if WHOLE else 4, deadline=None)
@given(st.floats(0.4, 20.0), st.floats(1e-3, 0.6), st.integers(1, 2000), st.floats(-9.0, -2.0))
def test_what_is_proved_at_once_encloses_the_grid(noise, rate, steps, exponent):
    """Closed forms and Renyi DP know nothing of the grid: none may contradict it."""
    delta = 10**exponent
    both = [on_a_grid(noise, rate, steps, delta=delta, way=way) for way in ("remove", "add")]
    low, high = max(one[0] for one in both), max(one[1] for one in both)
    stated = {"noise": noise, "rate": rate, "steps": steps, "delta": delta}
    slip = 1e-9
    assert max(epsilon_of_counts(**stated), epsilon_of_sums(**stated)) <= high + slip
    assert low <= epsilon_by_participation(**stated) + slip
    assert low <= renyi_epsilon(poisson(noise, rate, steps), delta=delta) + slip


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 0.3), st.floats(1e-3, 0.3), st.integers(2, 1000), st.floats(-30.0, -6.0))
@example(0.03125, 0.25, 101, -14.0)  # SciPy's quantile finds no bracket for this tail
@example(0.02, 0.1, 50, -20.0)
def test_participation_is_above_what_tests_tell_apart_at_any_delta(noise, rate, steps, exponent):
    """Where a chance is next to 1 its digits are in what is left above: below 1e-16 nothing was left of them."""
    stated = {"noise": noise, "rate": rate, "steps": steps, "delta": 10**exponent}
    high = epsilon_by_participation(**stated)
    assert max(epsilon_of_counts(**stated), epsilon_of_sums(**stated)) <= high * (1 + 1e-9)


@settings(max_examples=6, deadline=None)
@given(st.floats(0.5, 20.0), st.floats(1e-3, 0.5), st.integers(1, 5000))
def test_renyi_is_that_of_another_library_at_finer_orders(noise, rate, steps):
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    accountant = dp_accounting.rdp.RdpAccountant(orders=[2, 3, 5, 9, 17, 33, 65, 129])
    theirs = accountant.compose(event, steps).get_epsilon(DELTA)
    ours = renyi_epsilon(poisson(noise, rate, steps), delta=DELTA)
    assert ours <= theirs * 1.001 + 1e-9


@pytest.mark.parametrize(
    ("noise", "rate", "place"),
    [
        pytest.param(noise, rate, place, marks=() if number == row else pytest.mark.long)
        for row, (noise, rate) in enumerate([(1.1, 0.01), (4.0, 0.3), (0.3, 0.05)])
        for number, place in enumerate([40, 120, 180])
    ],
)
def test_moments_are_the_exact_integrals_and_never_below_them(noise, rate, place):
    order = float(orders()[place])
    with mpmath.workdps(30):

        def integrand(x):
            ratio = 1 - rate + rate * mpmath.exp((2 * x - 1) / (2 * mpmath.mpf(noise) ** 2))
            return ratio**order * mpmath.npdf(x, 0, noise)

        edges = [mpmath.mpf(-14 * noise) + part * (order + 28 * noise) / 24 for part in range(25)]
        exact = mpmath.log(mpmath.quad(integrand, edges))
        found = log_moments(noise, rate)[place]
        assert exact * (1 - mpmath.mpf(10) ** -20) <= found <= exact * (1 + 1e-9) + 1e-13


def test_mixed_mechanisms_compose():
    plain = NoiseEvent(kind="gaussian", noise_multiplier=4.0, count=3)
    parts = [*poisson(1.5, 0.05, 200), *poisson(2.5, 0.1, 100), plain]
    found = epsilon_bounds(parts, delta=DELTA)
    accountant = dp_accounting.pld.PLDAccountant()
    for m in parts:
        gaussian = dp_accounting.GaussianDpEvent(m.noise_multiplier)
        event = dp_accounting.PoissonSampledDpEvent(m.sample_rate, gaussian) if m.kind == "poisson" else gaussian
        accountant.compose(event, m.count)
    assert found.low <= found.high <= found.low * 1.001
    assert found.high == pytest.approx(accountant.get_epsilon(DELTA), rel=0.002)


def test_what_is_merged_is_what_is_composed():
    halves = [*poisson(1.5, 0.05, 100), *poisson(1.5, 0.05, 100)]
    assert epsilon_bounds(halves, delta=DELTA) == epsilon_bounds(poisson(1.5, 0.05, 200), delta=DELTA)


def test_below_the_smallest_delta_only_renyi_and_closed_forms_count():
    found = epsilon_bounds(poisson(0.7, 0.01, 11_250), delta=1e-15)
    assert found.by == RENYI and 0 < found.low < found.high < math.inf


@pytest.mark.parametrize("noise", [0.03, 0.05, 0.1])
def test_little_noise_is_bounded_on_a_bounded_grid(noise):
    """These took minutes and gigabytes: a grid of fixed interval has as many points as epsilon is large."""
    found = epsilon_bounds(poisson(noise, 0.004, 10_000), delta=DELTA)
    assert found.high <= found.low * 1.02
    for way in ("remove", "add"):
        grid = plan((Steps(pair=Pair(noise=noise, rate=0.004, way=way), count=10_000),), delta=DELTA)
        assert grid is None or grid.points <= MOST_POINTS


def test_replacing_one_is_bounded_too():
    found = epsilon_bounds(poisson(1.0, 0.1, 1000), delta=DELTA, replace=True)
    step = privacy_loss_distribution.from_gaussian_mechanism(
        1.0, sampling_prob=0.1, value_discretization_interval=1e-3,
        neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE,
    )  # fmt: skip
    assert found.low <= step.self_compose(1000).get_epsilon_for_delta(DELTA) <= found.high * 1.001


@settings(max_examples=60, deadline=None)
@given(st.floats(-38.0, 38.0), st.floats(1e-4, 3.0))
def test_masses_are_as_exact_as_they_are_charged(start, width):
    edges = np.array([start, start + width, start + 2 * width])
    found = masses(((1.0, 0.0),), edges, noise=1.0)
    with mpmath.workdps(60):
        for value, low, high in zip(found.values, edges[:-1], edges[1:], strict=True):
            upper = low > 0
            first, second = (-high, -low) if upper else (low, high)
            exact = mpmath.ncdf(mpmath.mpf(float(second))) - mpmath.ncdf(mpmath.mpf(float(first)))
            if exact > 1e-285:
                assert abs(value / exact - 1) <= found.error


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 100.0), st.floats(1e-6, 1.0), st.sampled_from(["remove", "add", "replace"]))
def test_a_loss_is_found_again_at_its_place(noise, rate, way):
    pair = Pair(noise=noise, rate=rate, way=way)
    losses = pair.loss(np.linspace(*pair.reach(1e-12), 501))
    assert np.all(np.diff(losses) >= -1e-13)
    places = pair.place(losses)
    finite = np.isfinite(places)
    assert finite.any() or way == "add"  # with little noise all its losses are at the limit
    assert np.allclose(pair.loss(places[finite]), losses[finite], rtol=1e-11, atol=1e-14)


@pytest.mark.long
def test_another_library_is_loose_at_a_fixed_interval_and_has_no_bound_at_a_small_delta():
    """The finding: 1e-4 is too coarse for a small epsilon, and what is cut off makes a small delta infinite."""
    event = dp_accounting.PoissonSampledDpEvent(MNIST, dp_accounting.GaussianDpEvent(130.0))
    theirs = dp_accounting.pld.PLDAccountant().compose(event, 14_063).get_epsilon(DELTA)
    assert theirs > 1.2 * epsilon_bounds(poisson(130.0, MNIST, 14_063), delta=DELTA).high
    event = dp_accounting.PoissonSampledDpEvent(0.004, dp_accounting.GaussianDpEvent(0.7))
    assert math.isinf(dp_accounting.pld.PLDAccountant().compose(event, 11_250).get_epsilon(1e-16))
    assert epsilon_bounds(poisson(0.7, 0.004, 11_250), delta=1e-16).high < 20


@pytest.mark.parametrize("way", ["add", "remove", "replace"])
@pytest.mark.parametrize(("noise", "rate", "count", "delta"), [(0.7, 0.01, 900, 1e-6), (3.0, 0.2, 40, 1e-5)])
def test_a_grid_is_planned_by_the_tilts_that_all_tilts_together_would_choose(
    noise, rate, count, delta, way, monkeypatch
):
    steps = [Steps(pair=Pair(noise=noise, rate=rate, way=way), count=count)]
    found = plan(steps, delta=delta)

    def least_of_all(values, low, high):
        every = [values(at) for at in range(low, high)]
        return low + int(np.argmin(every)), float(min(every))

    monkeypatch.setattr(loss_grid, "_least", least_of_all)
    monkeypatch.setattr(loss_grid, "_first", lambda holds, low, high: next(at for at in range(low, high) if holds(at)))
    assert plan(steps, delta=delta) == found is not None
