"""The test on the surest examples is exact, and finds what an area under the curve does not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.attacks.roc import auc_estimate, compress, roc_of_scores
from trustml.attacks.tops import surest


@given(members=st.integers(1, 5), others=st.integers(1, 5), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_chance_is_that_of_all_orders(members, others, data):
    scores = np.array(data.draw(st.lists(st.integers(0, 30), min_size=members + others, max_size=members + others)))
    inside = np.repeat([True, False], [members, others])
    found = surest(roc_of_scores(scores, inside))
    assert found.false_positives == 0  # so few non-members allow none
    orders = list(itertools.combinations(range(members + others), members))
    ranks = np.arange(members + others)[::-1]
    as_many = 0
    for chosen in orders:
        truth = np.isin(np.arange(members + others), chosen)
        as_many += surest(roc_of_scores(ranks, truth)).members >= found.members
    assert found.p_value == pytest.approx(as_many / len(orders))


@pytest.mark.parametrize("ties", [pytest.param(False, marks=pytest.mark.long), True])
def test_scores_that_know_nothing_are_seldom_significant(ties):
    generator = np.random.default_rng(0)
    inside = np.repeat([True, False], [300, 1000])
    values = []
    for _ in range(2000):
        scores = generator.integers(0, 40, 1300) if ties else generator.random(1300)
        values.append(surest(roc_of_scores(scores, inside)).p_value)
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(values) <= level) <= level + 3 * np.sqrt(level / 2000)


def test_eighty_of_four_thousand_are_found_where_the_area_says_nothing():
    generator = np.random.default_rng(1)
    scores, inside = generator.random(8000), np.repeat([True, False], 4000)
    scores[:80] += 2
    roc = compress(roc_of_scores(scores, inside))
    assert auc_estimate(roc, confidence=0.99).low < 0.5
    found = surest(roc)
    assert found.members >= 80 and found.p_value < 1e-15


def test_non_members_on_top_are_nothing():
    found = surest(roc_of_scores(np.arange(100.0), np.repeat([True, False], 50)))
    assert found.members == 0 and found.p_value == 1


def test_the_chance_is_exact_where_a_non_member_is_allowed_too():
    scores = np.concatenate([[103.0, 102.0, 101.0], [104.0], np.arange(99.0)])  # one non-member above all three members
    found = surest(roc_of_scores(scores, np.repeat([True, False], [3, 100])))
    assert (found.members, found.false_positives) == (3, 1)
    # of the places of 3 members among 103, those with all three among the first four; times the two thresholds
    assert found.p_value == pytest.approx(2 * math.comb(4, 3) / math.comb(103, 3), rel=1e-9)
