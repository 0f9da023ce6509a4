"""Thresholds on one signal."""

import numpy as np

from trustml.attacks.roc import auc_of_counts, roc_of_scores
from trustml.attacks.signals import signals_from_logits
from trustml.attacks.threshold import (
    confidence_scores,
    entropy_scores,
    loss_scores,
    modified_entropy_scores,
    within_class,
)


def test_surer_and_right_is_more_of_a_member():
    logits = np.array([[0.0, 3.0], [0.0, 6.0], [6.0, 0.0]])
    signals = signals_from_logits(logits, np.array([1, 1, 1]))
    for scores in (loss_scores(signals), modified_entropy_scores(signals)):
        assert scores[1] > scores[0] > scores[2]
    for scores in (confidence_scores(signals), entropy_scores(signals)):
        assert scores[1] == scores[2] > scores[0]


def test_the_loss_ranks_where_losses_are_equal_in_float32():
    logits = np.array([[0.0, 40.0], [0.0, 41.0], [0.0, 800.0], [0.0, 900.0]])
    assert (np.diff(loss_scores(signals_from_logits(logits, np.ones(4, int)))) > 0).all()


def test_ranks_within_a_class_make_one_threshold_fit_all():
    generator = np.random.default_rng(0)
    labels, members = generator.integers(0, 4, 2000), generator.random(2000) < 0.5
    scores = generator.normal(size=2000) + 1.0 * members + 10.0 * labels
    ranks = within_class(scores, labels)
    assert ranks.min() > 0 and ranks.max() < 1
    for label in range(4):
        own = labels == label
        assert (np.argsort(ranks[own]) == np.argsort(scores[own])).all()

    def area(values):
        roc = roc_of_scores(values, members)
        return auc_of_counts(roc.false_positives, roc.true_positives)

    assert area(scores) < 0.56 and area(ranks) > 0.72
    np.testing.assert_array_equal(within_class(np.zeros(3), np.zeros(3, int)), 0.5)
