"""Copies are found, exact and near ones, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.data.copies import groups_of, near_duplicates, one_of_each


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "inputs", [normal(300, 6), normal(300, 4, 4, 1), np.arange(300)[:, None] * 7], ids=lambda one: str(one.shape)
)
def test_distinct_examples_are_distinct(inputs):
    np.testing.assert_array_equal(groups_of(inputs), np.arange(300))


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-5])
@pytest.mark.parametrize("copies", [2, 20])
def test_copies_have_the_number_of_the_first_of_them(noise, copies):
    which = np.random.default_rng(1).permutation(np.repeat(np.arange(80), copies))
    inputs = normal(80, 5)[which] + noise * normal(len(which), 5, seed=2)
    found = groups_of(inputs)
    _, first = np.unique(which, return_index=True)
    expected = np.empty(80, int)
    expected[which[np.sort(first)]] = np.arange(80)
    np.testing.assert_array_equal(found, expected[which])


def test_some_rows_may_have_many_copies_and_others_none():
    which = np.concatenate([np.repeat(np.arange(20), 30), np.repeat(np.arange(20, 60), 4), np.arange(60, 300)])
    inputs = normal(300, 6)[which] + 1e-5 * normal(len(which), 6, seed=3)
    assert len(np.unique(groups_of(inputs))) == 300


def test_whole_numbers_are_compared_exactly_and_zero_has_no_sign():
    np.testing.assert_array_equal(groups_of(np.array([[1, 2], [1, 3], [1, 2]])), [0, 1, 0])
    np.testing.assert_array_equal(groups_of(np.array([[0.0, 1.0], [-0.0, 1.0], [5.0, 2.0]])), [0, 0, 1])


def test_all_rows_may_be_copies_of_one():
    assert set(groups_of(np.ones((50, 3)))) == {0}
    assert len(set(groups_of(normal(1, 3).repeat(50, axis=0)))) == 1


def test_a_chain_of_small_steps_is_cut():
    spread = 100 * normal(500, 3)
    one = spread[:1] + np.linspace(0, 50, 400)[:, None] * np.ones(3, np.float32)
    found = groups_of(np.concatenate([spread, one]))
    assert len(set(found[500:])) > 10  # by single linkage one group
    for number in set(found[500:]):
        own = one[found[500:] == number]
        assert len(own) < 2 or np.ptp(own[:, 0]) < 5


def test_one_of_each_group_is_chosen_not_always_the_first():
    groups = np.repeat(np.arange(200), 3)
    chosen = one_of_each(groups)
    np.testing.assert_array_equal(groups[chosen], np.arange(200))
    places = np.flatnonzero(chosen) % 3
    assert (np.bincount(places, minlength=3) > 40).all()
    assert one_of_each(np.arange(9)).all()


def test_a_holdout_near_a_training_set_of_near_copies_is_found():
    base = normal(100, 6)
    train = np.repeat(base, 5, axis=0) + 1e-5 * normal(500, 6, seed=1)
    assert near_duplicates(train, base[:40] + 1e-5 * normal(40, 6, seed=2)) == 40
    assert near_duplicates(train, normal(40, 6, seed=3)) == 0
