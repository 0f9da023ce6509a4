"""Accounting where the unit of privacy is a user, and a step is a round."""

from __future__ import annotations

import math

import dp_accounting
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.errors import PrivacyError
from trustml.privacy.accounting import epsilon_if_poisson, epsilon_of, epsilon_of_releases, epsilon_rdp
from trustml.privacy.events import mechanisms_of
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, Charge, charge, read_ledger, relation_of

DELTA = 1e-4


def rounds_of(rounds: int = 50, **changes) -> Charge:
    sampling = changes.get("sampling", "poisson")
    usual = {
        "attempt": 1, "first_step": 0, "end_step": rounds, "noise_multiplier": 6.0, "clipping_norm": 1.0,
        "sample_rate": 0.1, "batch_size": 100, "examples": 1000, "secret_sampling": True, "participation": rounds,
        "largest_participation": rounds, "plan": "a", "data": "d", "unit": "user",
        "relation": relation_of(sampling, secret=changes.get("secret_sampling", True)),
    }  # fmt: skip
    return Charge(**{**usual, **changes})


def in_turn(rounds: int, separation: int, **changes) -> Charge:
    visits = math.ceil(rounds / separation)
    return rounds_of(rounds, sampling="in turn", participation=visits, largest_participation=visits, **changes)


def gaussian(noise: float, times: float) -> float:
    return dp_accounting.get_epsilon_gaussian(noise / math.sqrt(times), DELTA)


@settings(max_examples=20)
@given(st.integers(1, 500), st.floats(2.0, 50.0))
def test_with_all_clients_it_is_the_gaussian_over_all_rounds(rounds, noise):
    found = epsilon_of([rounds_of(rounds, sampling="all", sample_rate=1.0, noise_multiplier=noise)], delta=DELTA)
    assert found.value == pytest.approx(gaussian(noise, rounds), rel=1e-9)
    assert found.relation == ZERO_OUT


@settings(max_examples=20)
@given(st.integers(1, 500), st.integers(1, 60), st.floats(2.0, 50.0))
def test_in_turn_it_is_the_gaussian_over_the_visits_of_a_client(rounds, separation, noise):
    found = epsilon_of([in_turn(rounds, separation, noise_multiplier=noise)], delta=DELTA)
    assert found.value == pytest.approx(gaussian(noise, math.ceil(rounds / separation)), rel=1e-9)
    assert found.relation == ZERO_OUT


def test_blocks_of_rounds_in_turn_cost_no_more_than_the_whole():
    parts = [
        rounds_of(sampling="in turn", first_step=start, end_step=start + 10, participation=1, largest_participation=3)
        for start in range(0, 50, 10)
    ]
    assert epsilon_of(parts, delta=DELTA).value == pytest.approx(gaussian(6.0, 3), rel=1e-9)
    assert epsilon_of(parts[:2], delta=DELTA).value == pytest.approx(gaussian(6.0, 2), rel=1e-9)


def test_a_fixed_cohort_is_never_amplified_as_a_poisson_one():
    fixed = [rounds_of(sampling="fixed")]
    assert {mechanism.kind for mechanism in mechanisms_of([fixed])} == {"without replacement"}
    found = epsilon_of(fixed, delta=DELTA)
    assert found.relation == REPLACE == fixed[0].relation
    poisson = epsilon_if_poisson([fixed], delta=DELTA)
    assert poisson.relation == ADD_OR_REMOVE
    halved = epsilon_of([rounds_of(noise_multiplier=3.0)], delta=DELTA).value
    assert poisson.value < halved < found.value


@pytest.mark.parametrize(
    ("sampling", "secret", "relation"),
    [
        ("poisson", True, ADD_OR_REMOVE), ("poisson", False, ZERO_OUT), ("fixed", True, REPLACE),
        ("fixed", False, ZERO_OUT), ("all", True, ZERO_OUT), ("in turn", True, ZERO_OUT), ("all", False, ZERO_OUT),
    ],
)  # fmt: skip
def test_the_relation_of_each_way_of_drawing(sampling, secret, relation):
    assert relation_of(sampling, secret=secret) == relation


@pytest.mark.parametrize("sampling", ["poisson", "fixed"])
def test_published_cohorts_are_not_amplified(sampling):
    known = rounds_of(sampling=sampling, secret_sampling=False, participation=9, largest_participation=9)
    found = epsilon_of([known], delta=DELTA)
    assert found.value == pytest.approx(gaussian(6.0, 9), rel=1e-9) and found.relation == ZERO_OUT


@settings(max_examples=20)
@given(st.integers(1, 300), st.sampled_from(["tree aggregation", "banded matrix factorisation"]))
def test_correlated_noise_is_one_gaussian_of_the_squared_sensitivity(squared, noise):
    entry = in_turn(40, 8, noise=noise, noise_multiplier=20.0)
    entry = rounds_of(
        40, sampling="in turn", noise=noise, noise_multiplier=20.0, participation=squared, largest_participation=squared
    )
    found = epsilon_of([entry], delta=DELTA)
    assert found.value == pytest.approx(gaussian(20.0, squared), rel=1e-9)
    assert found.value <= epsilon_rdp([[entry]], delta=DELTA).value
    again = rounds_of(
        40, sampling="in turn", noise=noise, noise_multiplier=20.0, participation=squared,
        largest_participation=squared, attempt=2, plan="b",
    )  # fmt: skip
    assert epsilon_of([entry, again], delta=DELTA).value == pytest.approx(gaussian(20.0, 2 * squared), rel=1e-9)


def test_two_models_with_correlated_noise_on_the_same_rounds_add_up():
    entry = in_turn(40, 8, noise="tree aggregation", noise_multiplier=20.0)
    both = epsilon_of_releases([[entry], [entry]], delta=DELTA).value
    assert both == pytest.approx(gaussian(20.0, 2 * entry.participation), rel=1e-9)


def test_models_on_the_same_secret_cohorts_are_one_mechanism_with_joint_noise():
    quiet, loud = rounds_of(noise_multiplier=4.0), rounds_of(noise_multiplier=3.0)
    joint = rounds_of(noise_multiplier=(4.0**-2 + 3.0**-2) ** -0.5)
    both = epsilon_of_releases([[quiet], [loud]], delta=DELTA)
    assert both.value == pytest.approx(epsilon_of([joint], delta=DELTA).value, rel=1e-9)
    assert both.relation == ADD_OR_REMOVE
    assert both.value > epsilon_of([loud], delta=DELTA).value


@pytest.mark.parametrize(
    ("field", "value"),
    [("unit", "example"), ("noise", "tree aggregation"), ("sampling", "all"), ("clipping_norm", 2.0), ("data", "e")],
)
def test_a_ledger_refuses_another_unit_or_mechanism(tmp_path, field, value):
    path = tmp_path / "ledger.jsonl"
    charge(path, rounds_of())
    with pytest.raises(PrivacyError, match=f"{field} was .* and is now"):
        charge(path, rounds_of(**{field: value}))
    assert read_ledger(path) == [rounds_of()]


def test_trainings_of_two_kinds_of_noise_on_one_plan_compose():
    """Both are Gaussian mechanisms on the same visits: together they cost more than either."""
    one, other = [in_turn(50, 5)], [in_turn(50, 5, noise="tree aggregation")]
    alone = max(epsilon_of(charges, delta=DELTA).value for charges in (one, other))
    assert epsilon_of_releases([one, other], delta=DELTA).value > alone


@settings(max_examples=6, deadline=None)
@given(st.integers(5, 100), st.integers(1, 100), st.sampled_from(["poisson", "fixed", "all"]))
def test_epsilon_grows_with_rounds(rounds, more, sampling):
    few, many = (
        epsilon_of([rounds_of(count, sampling=sampling)], delta=DELTA).value for count in (rounds, rounds + more)
    )
    assert 0 < few < many


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(1, 50))
def test_epsilon_in_turn_grows_with_every_further_visit(rounds, separation):
    few, same, many = (
        epsilon_of([in_turn(count, separation)], delta=DELTA).value
        for count in (rounds, math.ceil(rounds / separation) * separation, rounds + separation)
    )
    assert few == same < many
