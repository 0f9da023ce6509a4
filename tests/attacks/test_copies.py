"""Copies make nothing surer: how often models that learned nothing are flagged where examples are there twice."""

from __future__ import annotations

import numpy as np
import pytest

from tests import WHOLE
from trustml.attacks.advantage import split_advantage
from trustml.attacks.membership import QUESTIONS, attack_membership, verdict_of, verdict_of_curves
from trustml.attacks.pooled import pool_targets
from trustml.attacks.roc import auc_estimate, auc_lower_bound, auc_upper_bound, roc_of_scores, tpr_at_fpr
from trustml.attacks.tops import surest
from trustml.data.copies import one_of_each
from trustml.record.curves import RocCounts

TRIALS = 1000 if WHOLE else 100


def alike(seed, *, copies, count=150, gain=0.0):
    """Answers that tell nothing of membership but for `gain`; members are there as often as `copies` says."""
    generator = np.random.default_rng(seed)
    members = np.arange(2 * count) < count
    labels = generator.integers(0, 2, 2 * count)
    margin = generator.normal(size=2 * count) + 1.5 + gain * members
    logits = np.stack([margin, 0 * margin], axis=1)
    logits[labels == 1] = logits[labels == 1, ::-1] + [0, 1]  # of another difficulty
    often = np.where(members, copies(labels), 1)
    return tuple(np.repeat(values, often, axis=0) for values in (logits, labels, members, np.arange(2 * count)))


def flagged(seed, *, copies, gain=0.0, known=True):
    logits, labels, members, groups = alike(seed, copies=copies, gain=gain)
    scores = np.where(labels == 1, logits[:, 1] - logits[:, 0], logits[:, 0] - logits[:, 1])
    roc = roc_of_scores(scores, members, distinct=one_of_each(groups) if known else None)
    return verdict_of_curves({"loss": roc}, error=0.05 / QUESTIONS).flagged


@pytest.mark.parametrize(
    ("copies", "without"),
    [(lambda labels: np.full(len(labels), 20), 0.1), (lambda labels: np.where(labels, 20, 1), 0.5)],
    ids=["every member twenty times", "one class twenty times"],
)
def test_models_that_learned_nothing_are_seldom_flagged_for_copies(copies, without):
    share = np.mean([flagged(seed, copies=copies) for seed in range(TRIALS)])
    assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    # each copy taken for an example of its own: what this is about
    assert np.mean([flagged(seed, copies=copies, known=False) for seed in range(TRIALS // 4)]) > without


def test_models_that_remember_are_flagged_all_the_same():
    for seed in range(3):
        logits, labels, members, groups = alike(seed, copies=lambda labels: np.full(len(labels), 20), gain=1.5)
        verdict = verdict_of(attack_membership(logits, labels, members, attacks=["loss"], groups=groups))
        assert verdict.told == ("loss",)


def test_without_copies_nothing_changes():
    logits, labels, members, groups = alike(0, copies=lambda labels: np.ones(len(labels), int))
    for one, other in zip(
        attack_membership(logits, labels, members),
        attack_membership(logits, labels, members, groups=groups),
        strict=True,
    ):
        assert one.roc == other.roc and one.roc.distinct is None
        assert (one.auc, one.tprs, one.advantage, one.class_aucs) == (
            other.auc, other.tprs, other.advantage, other.class_aucs,
        )  # fmt: skip


def test_copies_on_one_side_are_told_apart_from_the_same_number_on_the_other():
    logits, labels, members, groups = alike(0, copies=lambda labels: np.full(len(labels), 2))
    same = attack_membership(logits, labels, members, groups=np.where(members, groups, groups - 150))
    for one, other in zip(same, attack_membership(logits, labels, members, groups=groups), strict=True):
        assert (one.roc.distinct.members, one.roc.distinct.non_members) == (150, 150)
        assert other.roc.distinct.members == 150


def test_every_interval_holds_that_of_distinct_examples_and_of_all():
    generator = np.random.default_rng(0)
    members = np.repeat([True, False], [4000, 2000])
    groups = np.concatenate([np.repeat(np.arange(200), 20), 200 + np.arange(2000)])
    scores = generator.normal(size=2200)[groups] + 0.4 * members
    once = np.concatenate([np.arange(4000) % 20 == 0, np.ones(2000, bool)])
    roc = roc_of_scores(scores, members, distinct=once)
    for figure in (auc_estimate, lambda roc: tpr_at_fpr(roc, 0.01)):
        both, alone, distinct = figure(roc), figure(roc.curves[0]), figure(roc.distinct)
        assert both.value == alone.value and both.n == 6000
        assert both.low == min(alone.low, distinct.low) and both.high == max(alone.high, distinct.high)
        assert both.high - both.low > 2 * (alone.high - alone.low)
    assert auc_lower_bound(roc, confidence=0.9) == auc_lower_bound(roc.distinct, confidence=0.9)
    assert auc_upper_bound(roc, confidence=0.9) == auc_upper_bound(roc.distinct, confidence=0.9)
    assert surest(roc).p_value == max(surest(one).p_value for one in roc.curves)
    assert RocCounts.of(roc, subject="a", attack="b").roc == roc
    # twenty of four thousand are no more than one of two hundred
    pooled = [
        pool_targets([scores, scores[::-1]], [members, members[::-1]], examples=examples).auc
        for examples in ([groups, groups[::-1]], [np.arange(6000), np.arange(6000)[::-1]])
    ]
    assert pooled[0].high - pooled[0].low > 1.5 * (pooled[1].high - pooled[1].low)


def test_a_threshold_is_chosen_on_other_examples_than_it_is_judged_on():
    values = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        groups = np.concatenate([np.repeat(np.arange(30), 20), 30 + np.arange(300)])
        scores, members = generator.normal(size=330)[groups], groups < 30
        values.append([split_advantage(scores, members, groups=one).value for one in (groups, None)])
    apart, together = np.mean(values, axis=0)
    assert abs(apart) < 3 * np.std(values, axis=0)[0] / np.sqrt(30)
    assert together > 0.05  # the best threshold for an example is the best for its copies


def test_too_few_distinct_examples_give_no_interval():
    scores, members = np.repeat([1.0, 0.0, 2.0], [50, 30, 20]), np.repeat([True, False, False], [50, 30, 20])
    once = np.zeros(100, bool)
    once[[0, 50, 80]] = True
    roc = roc_of_scores(scores, members, distinct=once)
    assert auc_estimate(roc).value == 0.6 and auc_estimate(roc).low is None
    assert (auc_lower_bound(roc, confidence=0.9), auc_upper_bound(roc, confidence=0.9)) == (0.0, 1.0)
