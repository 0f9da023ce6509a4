"""Membership advantage: the best threshold flatters, a threshold chosen elsewhere does not."""

import numpy as np
import pytest
from scipy.stats import norm

from trustml.attacks.advantage import split_advantage
from trustml.attacks.estimates import NOT_ESTIMABLE
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
    for _ in range(150):
        scores = generator.normal(size=400)
        best.append(largest(roc_of_scores(scores, members)))
        found = split_advantage(scores, members)
        split.append(found.value)
        covered += found.low <= 0 <= found.high
    assert np.mean(best) == pytest.approx((np.pi / 8) ** 0.5 * 0.1, rel=0.15)
    assert abs(np.mean(split)) < 4 * np.std(split) / 150**0.5
    assert covered >= 142


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
