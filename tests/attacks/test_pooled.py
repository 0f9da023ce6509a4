"""Figures over several targets: what is pooled, and intervals that cover with five of them."""

import numpy as np
import pytest
from scipy.stats import norm

from trustml.attacks.estimates import NOT_ESTIMABLE
from trustml.attacks.pooled import pool_targets
from trustml.attacks.roc import auc_of_counts, roc_of_scores
from trustml.errors import UsageError


def test_what_is_pooled():
    generator = np.random.default_rng(0)
    members = [np.arange(300) < 100, np.arange(1000) < 200]
    scores = [generator.normal(size=300) + members[0], generator.normal(size=1000) + 2.0 * members[1]]
    pooled = pool_targets(scores, members)
    areas = []
    for one, who in zip(scores, members, strict=True):
        roc = roc_of_scores(one, who)
        areas.append(auc_of_counts(roc.false_positives, roc.true_positives))
    assert pooled.targets == 2 and pooled.auc.value == pytest.approx(np.mean(areas))
    # 1000 non-members are enough for 1 percent together, though the first target's 200 are not
    outs = np.concatenate([one[~who] for one, who in zip(scores, members, strict=True)])
    ins = np.concatenate([one[who] for one, who in zip(scores, members, strict=True)])
    assert pooled.tprs[0.01].value == np.mean(ins > np.sort(outs)[-11])
    assert pooled.tprs[0.001].value is None and pooled.tprs[0.001].note == NOT_ESTIMABLE


def test_the_jackknife_of_a_mean_is_the_t_interval():
    generator = np.random.default_rng(1)
    members = [np.arange(60) < 30] * 5
    scores = [generator.normal(size=60) + shift * members[0] for shift in (0.5, 1.0, 1.5, 0.8, 1.2)]
    areas = []
    for one in scores:
        roc = roc_of_scores(one, members[0])
        areas.append(auc_of_counts(roc.false_positives, roc.true_positives))
    found = pool_targets(scores, members, fprs=()).auc
    assert found.high - found.value == pytest.approx(2.7764451 * np.std(areas, ddof=1) / 5**0.5, rel=1e-6)


def test_intervals_cover_where_targets_share_their_examples():
    generator = np.random.default_rng(2)
    members = np.arange(100) < 50
    truth = norm.cdf(1 / 2**0.5)
    alone = both = 0
    for _ in range(30):
        shared = generator.normal(size=100) * 0.9
        scores = [shared + generator.normal(size=100) * 0.19**0.5 + members for _ in range(5)]
        one = pool_targets(scores, [members] * 5, fprs=()).auc
        two = pool_targets(scores, [members] * 5, examples=[np.arange(100)] * 5, fprs=()).auc
        alone += one.low <= truth <= one.high
        both += two.low <= truth <= two.high
    # the spread of the targets does not know that they all stand and fall with the same examples
    assert both >= 27 > alone + 4


def test_one_target_has_no_interval_and_bad_input_is_named():
    generator = np.random.default_rng(3)
    members = np.arange(40) < 20
    scores = generator.normal(size=40)
    found = pool_targets([scores], [members], fprs=()).auc
    assert found.value is not None and found.low is None and "one target" in found.note
    with pytest.raises(UsageError, match="0 targets"):
        pool_targets([], [])
    with pytest.raises(UsageError, match="not as many as scores"):
        pool_targets([scores], [members], examples=[np.arange(3)])
    with pytest.raises(UsageError, match="40 of 40"):
        pool_targets([scores], [members | True])


def test_constant_and_perfect_scores():
    members = [np.arange(1200) < 200] * 3
    flat = pool_targets([np.zeros(1200)] * 3, members)
    assert flat.auc.value == 0.5 and flat.tprs[0.01].value == 0.0
    perfect = pool_targets([1.0 * who for who in members], members)
    assert perfect.auc.value == perfect.tprs[0.01].value == 1.0


def test_a_rate_of_zero_in_every_target_still_has_an_interval():
    scores = [np.repeat([1.0, 0.0], [500, 1500])] * 2  # the best 500 are all non-members
    members = [np.arange(2000) >= 1000] * 2
    found = pool_targets(scores, members, fprs=(0.01,)).tprs[0.01]
    assert found.value == found.low == 0.0
    assert 0.0 < found.high < 0.01
