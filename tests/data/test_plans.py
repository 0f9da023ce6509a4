"""Splits and batches, by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import binom

from trustml.data.batches import (
    BatchPlan,
    batches_in_turn,
    comes_in_cycles,
    comes_in_turn,
    cyclic_poisson_batches,
    drawn_in_cycles,
    expected_repeats,
    fixed_batches,
    make_plan,
    participation,
    poisson_batches,
    repeats,
    shuffled_batches,
)
from trustml.data.dataset import split_indices
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.launch.drawn_batches import draw_plan
from trustml.plan.mechanism import next_attempt, plan_mechanism
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.regimes import DPSGD


@given(st.lists(st.integers(0, 4), min_size=4, max_size=200), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_is_a_stratified_partition(labels, fraction, seed):
    labels = np.array(labels)
    train, test = split_indices(labels, test_fraction=fraction, seed=seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label in np.unique(labels):
        count, held = (labels == label).sum(), (labels[test] == label).sum()
        if count > 1:
            assert 1 <= held <= count - 1
            assert abs(held - count * fraction) <= 1
    again = split_indices(labels, test_fraction=fraction, seed=seed)
    np.testing.assert_array_equal(train, again[0])


@given(st.integers(1, 100), st.integers(1, 4), st.integers(1, 40))
def test_shuffled_batches_use_every_example_once_an_epoch(examples, epochs, batch_size):
    plan = shuffled_batches(
        np.arange(examples), epochs=epochs, batch_size=batch_size, generator=np.random.default_rng(0)
    )
    per_epoch = -(-examples // batch_size)
    assert len(plan) == epochs * per_epoch
    for epoch in range(epochs):
        batches = [plan[epoch * per_epoch + step] for step in range(per_epoch)]
        assert sorted(np.concatenate(batches)) == list(range(examples))
    assert plan.largest <= batch_size


@given(st.integers(1, 60), st.integers(1, 200), st.integers(1, 30))
def test_batches_in_turn_come_again_after_as_many_steps(examples, steps, batch_size):
    plan = batches_in_turn(examples, steps=steps, batch_size=batch_size, generator=np.random.default_rng(0))
    separation = -(-examples // batch_size)
    assert len(plan) == steps and plan.largest <= batch_size
    assert comes_in_turn(plan, separation=separation)
    if steps > separation > 1:
        assert not comes_in_turn(plan, separation=separation - 1)
        assert not comes_in_turn(plan, separation=separation + 1)
        assert participation(plan, examples).max() == -(-steps // separation)
    shuffled = shuffled_batches(
        np.arange(examples), epochs=3, batch_size=batch_size, generator=np.random.default_rng(0)
    )
    assert separation < 5 or not comes_in_turn(shuffled, separation=separation)


def test_poisson_batches_include_each_example_on_its_own():
    plan = poisson_batches(500, steps=400, sample_rate=0.05, generator=np.random.default_rng(0))
    sizes = np.diff(plan.offsets)
    # Both counts are binomial; six of 10,000 true ones would fall outside these bounds by luck.
    low, high = binom.interval(1 - 1e-6, 500 * 400, 0.05)
    assert low <= sizes.sum() <= high
    participation = np.bincount(plan.indices, minlength=500)
    low, high = binom.interval(1 - 1e-8, 400, 0.05)
    assert low <= participation.min() and participation.max() <= high
    assert sizes.std() > 3, "a fixed size would betray sampling without replacement"
    assert all(len(set(batch)) == len(batch) for batch in plan)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(1, 7), st.integers(0, 30), st.sampled_from([0.1, 0.5, 1.0]))
def test_cyclic_batches_are_of_one_group_after_another(examples, groups, steps, rate):
    plan = cyclic_poisson_batches(
        examples, groups=groups, steps=steps, sample_rate=rate, generator=np.random.default_rng(examples)
    )
    assert len(plan) == steps and comes_in_cycles(plan, separation=groups)
    most = participation(plan, examples).max(initial=0)
    assert most <= -(-steps // groups)
    if rate == 1 and steps > groups:
        assert all(np.array_equal(plan[step], plan[step - groups]) for step in range(groups, steps))


def test_cyclic_batches_of_one_group_are_poisson_batches():
    drawn = {"steps": 30, "sample_rate": 0.2}
    one = cyclic_poisson_batches(100, groups=1, generator=np.random.default_rng(3), **drawn)
    other = poisson_batches(100, generator=np.random.default_rng(3), **drawn)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.offsets, other.offsets)


def test_cyclic_batches_draw_each_example_on_its_own_and_so_put_it_in_a_group():
    rate, groups, steps = 0.3, 4, 400
    plan = cyclic_poisson_batches(500, groups=groups, steps=steps, sample_rate=rate, generator=np.random.default_rng(1))
    visits = participation(plan, 500)
    assert abs(visits.mean() - rate * steps / groups) < 5 * np.sqrt(100 * rate * (1 - rate) / 500)
    assert 0.75 < visits.var() / (100 * rate * (1 - rate)) < 1.3
    members = [
        len(np.unique(np.concatenate([plan[step] for step in range(first, steps, groups)]))) for first in range(4)
    ]
    assert sum(members) == 500 and len(set(members)) > 1, "dice that nobody else moves: groups are not of one size"


def test_what_comes_sooner_or_twice_does_not_come_in_cycles():
    assert comes_in_cycles(make_plan([np.array([0]), np.array([1]), np.array([0])]), separation=2)
    assert not comes_in_cycles(make_plan([np.array([0]), np.array([0])]), separation=2)
    assert not comes_in_cycles(make_plan([np.array([0]), np.array([1]), np.array([1, 0])]), separation=2)
    assert not comes_in_cycles(make_plan([np.array([0, 0])]), separation=1)
    assert comes_in_cycles(make_plan([]), separation=3)


@pytest.mark.parametrize(("groups", "steps", "rate"), [(1, 20, 0.1), (4, 22, 0.4), (3, 30, 1.0), (7, 5, 0.5)])
def test_examples_come_again_in_the_next_cycle_as_often_as_is_expected(groups, steps, rate):
    numbers = {"groups": groups, "steps": steps, "rate": rate}
    mean, spread = expected_repeats(examples=60, **numbers)
    generator = np.random.default_rng(groups)
    plans = [
        cyclic_poisson_batches(60, groups=groups, steps=steps, sample_rate=rate, generator=generator)
        for _ in range(400)
    ]
    found = [repeats(plan, separation=groups) for plan in plans]
    assert abs(np.mean(found) - mean) <= 5 * spread / 20 + 1e-9
    assert np.std(found) == pytest.approx(spread, rel=0.2, abs=1e-6)
    assert all(drawn_in_cycles(plan, separation=groups, examples=60, rate=rate) for plan in plans)


def test_batches_of_more_groups_than_are_charged_are_not_those_that_are():
    """Sizes are the same, and every example comes in cycles of four, too; epsilon is that of half the visits at 0.4."""
    drawn = {"steps": 80, "generator": np.random.default_rng(1)}
    right = cyclic_poisson_batches(1000, groups=4, sample_rate=0.2, **drawn)
    wrong = cyclic_poisson_batches(1000, groups=8, sample_rate=0.4, **drawn)
    assert drawn_in_cycles(right, separation=4, examples=1000, rate=0.2)
    assert comes_in_cycles(wrong, separation=4)
    assert not drawn_in_cycles(wrong, separation=4, examples=1000, rate=0.2)


def test_a_resume_draws_from_the_groups_that_are_charged():
    regime = DPSGD(
        noise_multiplier=1.0, epochs=4, batch_size=50, sampling="cyclic poisson", mechanism=BandedMatrix(bands=8)
    )
    arrays = draw_plan(regime, seed=0, examples=2000, attempt=2, done=10, groups=4)
    plan = BatchPlan(indices=arrays["indices"], offsets=arrays["offsets"])
    assert drawn_in_cycles(plan, separation=4, examples=2000, rate=0.1)
    mechanism = plan_mechanism(regime, field="f", examples=2000, plan=plan)
    charged = replace(mechanism, separation=4, sample_rate=0.1)
    again = next_attempt(charged, [], regime, plan=plan, start_step=10, allow_overrun=True)
    assert again.largest_participation == -(-len(plan) // 4)


def test_poisson_batches_may_be_empty():
    plan = poisson_batches(10, steps=200, sample_rate=0.05, generator=np.random.default_rng(0))
    assert min(len(batch) for batch in plan) == 0 and len(plan) == 200


@given(st.integers(1, 5000), st.integers(1, 10), st.integers(1, 300))
def test_private_steps_cover_the_epochs(examples, epochs, batch_size):
    steps = DPSGD(noise_multiplier=1.0, epochs=epochs, batch_size=batch_size).total_steps(examples)
    assert steps * batch_size >= epochs * examples > (steps - 1) * batch_size
    assert DPSGD(noise_multiplier=1.0, steps=7, batch_size=batch_size).total_steps(examples) == 7


def test_fixed_batches_are_fresh_subsets_of_one_size():
    plan = fixed_batches(50, steps=300, batch_size=10, generator=np.random.default_rng(0))
    assert {len(set(batch)) for batch in plan} == {10}
    low, high = binom.interval(1 - 1e-8, 300, 0.2)
    counts = participation(plan, 50)
    assert low <= counts.min() and counts.max() <= high
    assert participation(plan, 50, first=10, end=25).sum() == 150


def test_secret_streams_never_repeat_and_public_ones_always_do():
    assert secret_generator().integers(2**62) != secret_generator().integers(2**62)
    one, two = (public_generator(3, Stream.BATCHES).integers(2**62) for _ in range(2))
    assert one == two != public_generator(3, Stream.WEIGHTS).integers(2**62)


def test_an_empty_plan():
    assert len(make_plan([])) == 0
