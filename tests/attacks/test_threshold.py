"""Thresholds on one signal, and the class alone."""

import numpy as np
import pytest

from trustml.attacks.roc import roc_of_scores
from trustml.attacks.signals import signals_from_logits
from trustml.attacks.threshold import (
    confidence_scores,
    entropy_scores,
    gap_scores,
    loss_scores,
    modified_entropy_scores,
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


def test_the_gap_attack_has_the_generalisation_gap_as_its_advantage():
    generator = np.random.default_rng(0)
    labels, members = generator.integers(0, 3, 1000), np.arange(1000) < 400
    predicted = np.where(generator.random(1000) < np.where(members, 0.95, 0.7), labels, (labels + 1) % 3)
    gap = np.mean((predicted == labels)[members]) - np.mean((predicted == labels)[~members])
    signals = signals_from_logits(np.eye(3)[predicted], labels)
    roc = roc_of_scores(gap_scores(signals), members)
    advantages = np.array(roc.true_positives) / roc.members - np.array(roc.false_positives) / roc.non_members
    assert advantages.max() == pytest.approx(gap)
