"""What clients that are private by themselves are charged: never less than any of them has done."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trustml.data.clients import FederatedPlan, batches_in_rounds, poisson_rounds, rounds_visited
from trustml.errors import ScenarioError
from trustml.plan.client_mechanism import (
    charged_steps,
    next_client_attempt,
    plan_client_mechanism,
    rounds_within,
)
from trustml.plan.mechanism import make_charge
from trustml.privacy.accounting import epsilon_at_least, epsilon_of, epsilon_unamplified
from trustml.privacy.events import mechanisms_of
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT
from trustml.scenario.federated import LocalDPFedAvg, SiloDPFedAvg
from trustml.scenario.partition import Everyone, FixedCohort, InTurn, PoissonCohort

CLIENTS, EXAMPLES, ROUNDS, STEPS, DELTA = 8, 403, 12, 3, 1e-4
SIZES = (60, 60, 60, 60, 60, 60, 43, 0)
COHORTS = [Everyone(), FixedCohort(clients=3), PoissonCohort(clients=3), InTurn(clients=3), Everyone(dropout=0.4)]
SILO = SiloDPFedAvg(epsilon=2.0, delta=DELTA, rounds=ROUNDS, local_steps=STEPS, batch_size=10)
LOCAL = LocalDPFedAvg(epsilon=4.0, delta=1e-2, rounds=ROUNDS)


@functools.cache
def rounds_for(cohort, seed: int = 0, sizes: tuple[int, ...] = SIZES, steps: int = STEPS) -> FederatedPlan:
    members = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return poisson_rounds(
        members,
        cohort=cohort,
        rounds=ROUNDS,
        local_steps=steps,
        sample_rate=0.2,
        cohorts=np.random.default_rng(seed),
        batches=np.random.default_rng(seed + 1),
    )


def planned(regime, plan):
    return plan_client_mechanism(regime, field="training.0", examples=EXAMPLES, clients=CLIENTS, plan=plan, users="who")


def charges_of(regime, plan, mechanism):
    steps = [charged_steps(regime, plan, number) for number in range(len(plan) + 1)]
    return [
        make_charge(mechanism, first=first, end=end, plan="p", data="d")
        for first, end in itertools.pairwise(steps)
        if end > first
    ]


@pytest.mark.parametrize(
    "cohort",
    [pytest.param(one, marks=() if isinstance(one, PoissonCohort | InTurn) else pytest.mark.long) for one in COHORTS],
    ids=repr,
)
def test_the_epsilon_of_silos_is_that_of_the_client_that_takes_part_most(cohort):
    plan = rounds_for(cohort)
    mechanism = planned(replace(SILO, cohort=cohort), plan)
    most = int(rounds_visited(plan, CLIENTS).max())
    assert mechanism.sample_rate == 10 / (EXAMPLES // CLIENTS) and mechanism.total_steps == most * STEPS
    found = epsilon_of(charges_of(SILO, plan, mechanism), delta=DELTA)
    assert found.relation == ADD_OR_REMOVE and found.value <= 2.0 + 1e-9
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    step = dp_accounting.PoissonSampledDpEvent(
        mechanism.sample_rate, dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    )
    by_events = accountant.compose(step, most * STEPS).get_epsilon(DELTA)
    assert found.value == pytest.approx(by_events, rel=0.01), "the library's own accountant says the same"


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(COHORTS), st.integers(0, 50))
def test_before_every_round_no_client_has_done_more_than_is_charged(cohort, seed):
    plan = rounds_for(cohort, seed)
    for number in range(ROUNDS):
        paid = charged_steps(SILO, plan, number + 1)
        assert paid == STEPS * rounds_visited(plan, CLIENTS, end=number + 1).max(initial=0)
    assert (np.diff(plan.most_visits) >= 0).all() and (np.diff(plan.most_visits) <= 1).all()


def test_what_clients_do_follows_from_nothing_that_they_hold():
    """Another example at a client, or none at all, changes no step, no cohort and no number of the mechanism."""
    one, other = (
        rounds_for(FixedCohort(clients=3)),
        rounds_for(FixedCohort(clients=3), sizes=(61, 0, 0, 0, 0, 0, 342, 0)),
    )
    np.testing.assert_array_equal(one.steps, np.full(len(one.visits), STEPS))
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.visits, other.visits)
    assert planned(SILO, one) == planned(SILO, other)


def test_batches_are_of_the_clients_own_examples_at_the_declared_rate():
    sizes = SIZES
    plan = rounds_for(Everyone())
    owners = np.repeat(np.arange(CLIENTS), sizes)
    held = np.repeat(np.repeat(plan.visits, plan.steps), np.diff(plan.batches.offsets))
    np.testing.assert_array_equal(owners[plan.batches.indices], held)
    counts = batches_in_rounds(plan, np.ones(ROUNDS, bool), examples=sum(sizes))
    assert counts.mean() == pytest.approx(0.2 * ROUNDS * STEPS, rel=0.05)
    first = batches_in_rounds(plan, np.arange(ROUNDS) < 1, examples=sum(sizes))
    assert first.max() <= STEPS and 0 < first.sum() < counts.sum()


@pytest.mark.parametrize("cohort", COHORTS, ids=repr)
def test_local_privacy_is_for_replacing_an_update_over_the_rounds_of_the_worst_client(cohort):
    plan = rounds_for(cohort)
    mechanism = planned(replace(LOCAL, cohort=cohort), plan)
    most = int(rounds_visited(plan, CLIENTS).max())
    assert (mechanism.unit, mechanism.relation, mechanism.secret_sampling) == ("user", REPLACE, False)
    charge = make_charge(mechanism, first=0, end=ROUNDS, plan="p", data="d", block=most)
    found = epsilon_of([charge], delta=LOCAL.delta)
    sensitivity = 2 * most**0.5
    direct = dp_accounting.get_epsilon_gaussian(mechanism.noise_multiplier / sensitivity, LOCAL.delta)
    assert found.relation == REPLACE and found.value == pytest.approx(direct, rel=1e-6)
    assert 4.0 * (1 - 1e-3) <= found.value <= 4.0 + 1e-9
    same = epsilon_unamplified([[charge]], participation=most, delta=LOCAL.delta)
    assert same.value == pytest.approx(found.value, rel=1e-9) and same.relation == REPLACE
    assert epsilon_at_least([charge], delta=LOCAL.delta) == pytest.approx(found.value, rel=1e-6)
    zeroed = epsilon_of([replace(charge, relation=ZERO_OUT)], delta=LOCAL.delta)
    assert zeroed.value < found.value / 1.5 and zeroed.relation == ZERO_OUT
    mixed = mechanisms_of([[charge], [replace(charge, relation=ZERO_OUT, plan="other")]])
    assert sum(one.count / one.noise_multiplier**2 for one in mixed) == pytest.approx(
        5 * most / mechanism.noise_multiplier**2
    )


@pytest.mark.parametrize("regime", [SILO, LOCAL], ids=["silo", "local"])
def test_another_attempt_takes_what_is_left_of_the_target(regime):
    regime = replace(regime, cohort=FixedCohort(clients=3))
    plan = rounds_for(regime.cohort)
    mechanism = planned(regime, plan)
    told = None if regime is SILO or mechanism.secret_sampling else 1
    spent = [make_charge(mechanism, first=0, end=STEPS, plan="a", data="d", block=told)]
    again = next_client_attempt(mechanism, spent, regime, allow_overrun=False)
    whole = next_client_attempt(mechanism, spent, regime, allow_overrun=True)
    assert again.attempt == whole.attempt == 2 and whole.steps == mechanism.total_steps
    assert again.steps < mechanism.total_steps
    rounds = rounds_within(again, regime, plan)
    assert rounds < ROUNDS and charged_steps(regime, plan, rounds) <= again.steps
    assert rounds_within(mechanism, regime, plan) == ROUNDS


def test_another_attempt_of_silos_takes_whole_rounds():
    mechanism = planned(SILO, rounds_for(Everyone()))
    spent = [make_charge(mechanism, first=0, end=end, plan="a", data="d", block=None) for end in range(1, 9)]
    left = [next_client_attempt(mechanism, [one], SILO, allow_overrun=False).steps for one in spent]
    assert all(steps % STEPS == 0 for steps in left) and len(set(left)) > 1


def test_a_target_that_cannot_be_reached_is_refused_by_its_field():
    with pytest.raises(ScenarioError) as caught:
        planned(replace(SILO, epsilon=1e6), rounds_for(Everyone()))
    assert caught.value.field == "training.0.epsilon"


@pytest.mark.parametrize("regime", [SILO, LOCAL], ids=["silo", "local"])
def test_a_training_in_which_nobody_ever_takes_part_is_none(regime):
    nobody = dataclasses.replace(
        rounds_for(Everyone()), visits=np.zeros(0, np.int64), steps=np.zeros(0, np.int64),
        rounds=np.zeros(ROUNDS + 1, np.int64),
    )  # fmt: skip
    with pytest.raises(ScenarioError) as caught:
        planned(regime, nobody)
    assert caught.value.field == "training.0.cohort" and "nobody takes part" in caught.value.problem


@pytest.mark.parametrize("cohort", [Everyone(dropout=0.5), InTurn(clients=3, dropout=0.5)], ids=repr)
def test_no_bound_from_below_adds_up_the_rounds_of_different_clients(cohort):
    regime = replace(LOCAL, epsilon=None, noise_multiplier=4.0, cohort=cohort)
    plan = rounds_for(cohort)
    mechanism = planned(regime, plan)
    done = ROUNDS // 2
    charges = [
        make_charge(
            mechanism, first=number, end=number + 1, plan="p", data="d",
            block=int(rounds_visited(plan, CLIENTS, first=number, end=number + 1).max()),
        )
        for number in range(done)
    ]  # fmt: skip
    most = int(rounds_visited(plan, CLIENTS, end=done).max())
    assert most < sum(charge.participation for charge in charges), "no client is in every round"
    real = dp_accounting.get_epsilon_gaussian(4.0 / 2 / most**0.5, LOCAL.delta)
    low = epsilon_at_least(charges, delta=LOCAL.delta)
    assert low is None or low <= real


def test_who_has_come_most_is_counted_once_for_a_plan():
    plan = rounds_for(Everyone())
    assert plan.most_visits is plan.most_visits
