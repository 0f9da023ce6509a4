"""Who takes part in each round, and in which batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from trustml.data.clients import draw_cohorts, federated_plan, read_federated_plan, rounds_visited
from trustml.launch.federation import draw_rounds, salt
from trustml.scenario.federated import DPFedAvg, FedAvg, FedSGD
from trustml.scenario.partition import Everyone, FixedCohort, InTurn, PoissonCohort


def members_of(sizes):
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def planned(cohort, *, sizes=(5,) * 40, rounds=30, local_epochs=1, batch_size=2, seed=0):
    return federated_plan(
        members_of(sizes),
        cohort=cohort,
        rounds=rounds,
        local_epochs=local_epochs,
        batch_size=batch_size,
        cohorts=np.random.default_rng(seed),
        batches=lambda number, client: np.random.default_rng([seed, number, client]),
    )


def test_a_fixed_cohort_has_its_size_and_no_client_twice():
    cohorts = draw_cohorts(FixedCohort(clients=7), clients=40, rounds=600, generator=np.random.default_rng(0))
    assert {len(set(cohort)) for cohort in cohorts} == {len(cohort) for cohort in cohorts} == {7}
    counts = np.bincount(np.concatenate(cohorts), minlength=40)
    low, high = binom.interval(1 - 1e-8, 600, 7 / 40)
    assert low <= counts.min() and counts.max() <= high


def test_every_client_joins_a_poisson_cohort_on_its_own():
    cohorts = draw_cohorts(PoissonCohort(clients=8), clients=80, rounds=500, generator=np.random.default_rng(0))
    sizes = np.array([len(set(cohort)) for cohort in cohorts])
    low, high = binom.interval(1 - 1e-6, 80 * 500, 0.1)
    assert low <= sizes.sum() <= high
    assert sizes.std() == pytest.approx(np.sqrt(80 * 0.1 * 0.9), rel=0.2)
    low, high = binom.interval(1 - 1e-8, 500, 0.1)
    counts = np.bincount(np.concatenate(cohorts), minlength=80)
    assert low <= counts.min() and counts.max() <= high


def test_everyone_is_every_client_in_every_round():
    plan = planned(Everyone(), rounds=3)
    assert [plan.participants(number).tolist() for number in range(3)] == [list(range(40))] * 3


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 5))
def test_between_two_turns_of_a_client_lie_as_many_rounds_as_there_are_blocks(clients, size, passes, seed):
    assume(size <= clients)
    blocks = -(-clients // size)
    generator = np.random.default_rng(seed)
    cohorts = draw_cohorts(InTurn(clients=size), clients=clients, rounds=passes * blocks, generator=generator)
    assert max(map(len, cohorts)) <= size and sum(map(len, cohorts)) == passes * clients
    for client in range(clients):
        turns = np.flatnonzero([client in cohort for cohort in cohorts])
        assert len(turns) == passes and set(np.diff(turns)) <= {blocks}


@pytest.mark.parametrize("kind", [FixedCohort, InTurn, PoissonCohort])
def test_dropout_thins_the_visits_and_not_who_was_asked(kind):
    plan = planned(kind(clients=20, dropout=0.3), rounds=200)
    whole = draw_cohorts(kind(clients=20), clients=40, rounds=200, generator=np.random.default_rng(0))
    if kind is not PoissonCohort:
        assert plan.asked.tolist() == [len(cohort) for cohort in whole] == [20] * 200
    low, high = binom.interval(1 - 1e-6, plan.asked.sum(), 0.7)
    assert low <= len(plan.visits) <= high
    assert (np.diff(plan.rounds) <= plan.asked).all() and (np.diff(plan.rounds) < plan.asked).any()


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=12),
    st.integers(1, 3),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 5)),
    st.integers(0, 5),
)
def test_a_visit_goes_through_the_examples_of_its_client_once_a_local_epoch(sizes, rounds, epochs, batch_size, seed):
    plan = planned(
        PoissonCohort(clients=1, dropout=0.1), sizes=sizes, rounds=rounds, local_epochs=epochs,
        batch_size=batch_size, seed=seed,
    )  # fmt: skip
    members = members_of(sizes)
    assert len(plan) == rounds == len(plan.asked)
    for number in range(rounds):
        visits = plan.round(number)
        assert len(visits) == len(plan.participants(number))
        for client, batches in zip(plan.participants(number), visits, strict=True):
            size = batch_size or sizes[client]
            per_epoch = -(-sizes[client] // size)
            assert len(batches) == epochs * per_epoch and max(map(len, batches)) <= size
            for epoch in range(epochs):
                seen = np.concatenate(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
                assert sorted(seen) == members[client].tolist()
    assert plan.steps.sum() == len(plan.batches)


def test_a_plan_travels_as_arrays(tmp_path):
    plan = planned(PoissonCohort(clients=9, dropout=0.2))
    np.savez(tmp_path / "plan.npz", **{name: array.astype(np.int32) for name, array in plan.arrays().items()})
    with np.load(tmp_path / "plan.npz") as arrays:
        again = read_federated_plan(arrays)
    assert plan.arrays().keys() == again.arrays().keys()
    for name, array in plan.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
        assert again.arrays()[name].dtype == np.int64
    for number in range(len(plan)):
        for one, two in zip(plan.round(number), again.round(number), strict=True):
            assert [batch.tolist() for batch in one] == [batch.tolist() for batch in two]


def test_visits_are_counted_by_round():
    plan = planned(FixedCohort(clients=6, dropout=0.2))
    by_hand = np.zeros(40, np.int64)
    for number in range(4, 11):
        by_hand[plan.participants(number)] += 1
    np.testing.assert_array_equal(rounds_visited(plan, 40, first=4, end=11), by_hand)
    assert rounds_visited(plan, 40).sum() == len(plan.visits)


def test_nobody_may_take_part_in_a_round():
    plan = planned(PoissonCohort(clients=1), sizes=(3, 3), rounds=50)
    assert 0 in np.diff(plan.rounds) and len(plan) == 50
    assert plan.round(int(np.argmin(np.diff(plan.rounds)))) == []


def test_examples_that_no_client_holds_are_in_no_batch():
    owners = np.array([0, -1, 1, 0, -1, 2, 1, 0])
    plan = draw_rounds(FedAvg(rounds=2, batch_size=2), owners, clients=3, seed=0)
    for number in range(2):
        seen = [sorted(np.concatenate(batches)) for batches in plan.round(number)]
        assert seen == [[0, 3, 7], [2, 6], [5]]
    whole = draw_rounds(FedSGD(rounds=1), owners, clients=3, seed=0)
    assert [len(batches) for batches in whole.round(0)] == [1, 1, 1]


def test_private_cohorts_are_fresh_and_public_ones_can_be_repeated():
    owners = np.repeat(np.arange(60), 2)

    def cohorts(regime, **changes):
        return draw_rounds(regime, owners, clients=60, **({"seed": 0} | changes)).visits.tolist()

    cohort = PoissonCohort(clients=20)
    secret, seeded = (DPFedAvg(noise_multiplier=1.0, cohort=cohort, sampling_seed=seed) for seed in (None, 5))
    assert cohorts(secret) != cohorts(secret)
    assert cohorts(seeded) == cohorts(seeded) != cohorts(seeded, seed=1)
    assert cohorts(seeded, attempt=2) != cohorts(seeded), "another attempt has cohorts of its own"
    plain = FedAvg(cohort=cohort)
    assert cohorts(plain) == cohorts(plain) != cohorts(seeded)


def test_no_clients_batches_depend_on_who_else_came():
    alone = planned(Everyone(), sizes=(5,) * 3, rounds=2)
    more = planned(Everyone(), sizes=(5,) * 9, rounds=2)
    for number in range(2):
        for one, other in zip(alone.round(number), more.round(number), strict=False):
            assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_another_attempt_has_other_batches_even_where_everyone_comes():
    regime = DPFedAvg(noise_multiplier=1.0, rounds=2, batch_size=2)
    owners = np.arange(12) % 3
    first, second = (draw_rounds(regime, owners, clients=3, seed=0, attempt=attempt) for attempt in (1, 2))
    assert (first.batches.indices != second.batches.indices).any()
    assert (salt(regime, seed=0, attempt=1) != salt(regime, seed=0, attempt=2)).all()
