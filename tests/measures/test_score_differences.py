"""Differences of two models on the same examples, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.measures.accuracy import wilson_interval
from trustml.measures.score_differences import _explained_more, mcnemar, paired_interval

_PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(np.array)


@settings(max_examples=200, deadline=None)
@given(pairs=_PAIRS)
def test_an_interval_holds_the_difference_and_turns_with_the_sides(pairs):
    first, second = pairs[:, 0], pairs[:, 1]
    low, high = paired_interval(first, second)
    value = second.mean() - first.mean()
    assert -1 <= low <= value + 1e-12 and value - 1e-12 <= high <= 1
    assert (-high, -low) == pytest.approx(paired_interval(second, first))
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))


def test_it_is_no_point_where_no_pair_differs():
    same = np.arange(100) < 90
    low, high = paired_interval(same, same)
    assert low < -0.005 and high > 0.005
    assert mcnemar(same, same) == 1.0


def test_independent_sides_are_the_square_and_add_of_two_wilson_intervals():
    first, second = np.repeat([True, True, False, False], 25), np.tile([True, False], 50)  # phi is 0
    low, _ = wilson_interval(50, 100)
    assert paired_interval(first, second) == pytest.approx((-np.sqrt(2) * (0.5 - low), np.sqrt(2) * (0.5 - low)))


def test_pairs_that_hang_together_make_it_narrow():
    first = np.arange(400) < 300
    second = first.copy()
    second[:8] = False  # 8 worse, none better
    low, high = paired_interval(first, second)
    assert high < 0 and high - low < 0.05  # unpaired it were 0.12 wide
    assert mcnemar(first, second) == pytest.approx(2 * 0.5**8)


@pytest.mark.parametrize("right", [0.55, 0.9, 0.98])
def test_it_covers_what_it_says(right):
    """Two models that are right together more often than by chance; a wrong sign of the correlation fails here."""
    random, count, drop = np.random.default_rng(0), 150, 0.03
    hits, expected = 0, _difference(right, drop)
    for _ in range(600):
        shared = random.random(count)
        first, second = shared < right, (shared + 0.05 * random.normal(size=count)) < right - drop
        low, high = paired_interval(first, second)
        hits += low <= expected <= high
    assert hits / 600 >= 0.93
    assert hits / 600 <= 0.995


def _difference(right: float, drop: float) -> float:
    shared = (np.arange(200_000) + 0.5) / 200_000
    noise = np.random.default_rng(1).normal(size=len(shared))
    return float(((shared + 0.05 * noise) < right - drop).mean() - right)


def test_the_difference_of_two_r2():
    random = np.random.default_rng(0)
    true = 1e6 + random.normal(size=200)
    first, second = true + random.normal(size=200), true + 0.1 * random.normal(size=200)
    statistic = _explained_more(true, first, second)
    spread = ((true - true.mean()) ** 2).sum()
    expected = (((first - true) ** 2).sum() - ((second - true) ** 2).sum()) / spread
    assert statistic(np.ones((1, 200)))[0] == pytest.approx(expected)
