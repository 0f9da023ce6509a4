"""Membership advantage: the best threshold flatters, a threshold chosen elsewhere does not."""

import numpy as np
import pytest
from scipy.stats import norm

from trustml.attacks.advantage import HALVINGS, split_advantage
from trustml.attacks.estimates import NOT_ESTIMABLE, over_splits
from trustml.attacks.roc import compress, roc_of_scores


def largest(roc):
    """TPR - FPR at the best of all thresholds, picked on the very examples it is judged by."""
    return max(
        0.0, np.max(np.array(roc.true_positives) / roc.members - np.array(roc.false_positives) / roc.non_members)
    )


def test_scores_that_know_nothing():
    generator = np.random.default_rng(0)
    members = np.arange(400) < 200
    best, split, covered = [], [], 0
    for _ in range(60):
        scores = generator.normal(size=400)
        best.append(largest(roc_of_scores(scores, members)))
        found = split_advantage(scores, members)
        split.append(found.value)
        covered += found.low <= 0 <= found.high
    assert np.mean(best) == pytest.approx((np.pi / 8) ** 0.5 * 0.1, rel=0.15)
    assert abs(np.mean(split)) < 4 * np.std(split) / 60**0.5
    assert covered >= 57


def test_a_gaussian_shift():
    generator = np.random.default_rng(1)
    members = np.arange(4000) < 2000
    scores = generator.normal(size=4000) + 1.0 * members
    truth = 2 * norm.cdf(0.5) - 1
    found = split_advantage(scores, members)
    assert found.value == pytest.approx(truth, abs=0.04) and found.low < truth < found.high
    roc = roc_of_scores(scores, members)
    assert largest(compress(roc)) == largest(roc) >= found.value


def test_extremes():
    members = np.arange(40) < 20
    assert split_advantage(members * 1.0, members).value == 1.0
    assert split_advantage(np.zeros(40), members).value == 0.0
    few = split_advantage(np.arange(6.0), np.arange(6) < 3)
    assert (few.value, few.note) == (None, NOT_ESTIMABLE)


def test_the_monte_carlo_error_is_how_far_other_halvings_would_have_led():
    generator = np.random.default_rng(2)
    members = np.arange(300) < 150
    scores = generator.normal(size=300) + 0.4 * members
    found = [split_advantage(scores, members, seed=seed) for seed in range(20)]
    spread = np.std([one.value for one in found], ddof=1)
    assert {one.splits for one in found} == {HALVINGS}
    assert spread == pytest.approx(np.mean([one.error for one in found]), rel=0.5)
    # a single halving strays by as much as this times the root of their number
    assert spread * HALVINGS**0.5 > 0.01


def test_no_copy_is_in_both_halves():
    members = np.arange(80) < 40
    groups = np.where(members, np.arange(80) // 10, 4 + np.arange(80))
    scores = np.where(members, groups * 1.0, np.random.default_rng(0).uniform(0, 3, 80))
    found = split_advantage(scores, members, groups=groups)
    assert found.splits == HALVINGS and found.low < 0 < found.high  # four members
    assert split_advantage(scores, members, groups=np.where(members, groups // 2, groups)).value is None


def test_medians_of_ends_are_wrong_no_more_often_than_they_say_however_splits_hang_together():
    generator = np.random.default_rng(3)
    reach = norm.ppf(1 - 0.1 / 4)  # half of 10 percent, on two sides
    for alike in (0.0, 0.7, 1.0):
        wrong = 0
        for _ in range(500):
            values = alike**0.5 * generator.normal() + (1 - alike) ** 0.5 * generator.normal(size=5)
            found = over_splits(
                values, values - reach, values + reach, confidence=0.9, n=1, interval="clopper-pearson", note=""
            )
            wrong += not found.low <= 0 <= found.high
        assert wrong / 500 <= 0.1
    assert (found.value, found.splits) == (values.mean(), 5)
    assert found.error == pytest.approx(values.std(ddof=1) / 5**0.5)
