"""Attacks that see only the predicted class."""

import numpy as np
import pytest

from trustml.attacks.advantage import largest_advantage
from trustml.attacks.label_only import gap_scores, share_right
from trustml.attacks.roc import roc_of_scores
from trustml.errors import UsageError


def test_the_gap_attack_has_the_generalisation_gap_as_its_advantage():
    generator = np.random.default_rng(0)
    labels, members = generator.integers(0, 3, 1000), np.arange(1000) < 400
    predicted = np.where(generator.random(1000) < np.where(members, 0.95, 0.7), labels, (labels + 1) % 3)
    gap = np.mean((predicted == labels)[members]) - np.mean((predicted == labels)[~members])
    assert largest_advantage(roc_of_scores(gap_scores(predicted, labels), members)) == pytest.approx(gap)


def test_the_share_of_right_copies():
    predicted = np.array([[0, 0, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(share_right(predicted, np.array([0, 0])), [0.75, 0.0])
    np.testing.assert_array_equal(
        share_right(predicted[:, :1], np.array([0, 0])), gap_scores(predicted[:, 0], np.zeros(2, int))
    )


def test_shapes_that_do_not_fit():
    with pytest.raises(UsageError, match="one class each"):
        gap_scores(np.zeros(3, int), np.zeros(2, int))
    with pytest.raises(UsageError, match="copies"):
        share_right(np.zeros((2, 0), int), np.zeros(2, int))
    with pytest.raises(UsageError, match="copies"):
        share_right(np.zeros(2, int), np.zeros(2, int))
