"""Attacks that see only the predicted class."""

import numpy as np
import pytest

from trustml.attacks.label_only import gap_scores
from trustml.attacks.roc import roc_of_scores
from trustml.errors import UsageError


def test_the_gap_attack_has_the_generalisation_gap_as_its_advantage():
    generator = np.random.default_rng(0)
    labels, members = generator.integers(0, 3, 1000), np.arange(1000) < 400
    predicted = np.where(generator.random(1000) < np.where(members, 0.95, 0.7), labels, (labels + 1) % 3)
    gap = np.mean((predicted == labels)[members]) - np.mean((predicted == labels)[~members])
    roc = roc_of_scores(gap_scores(predicted, labels), members)
    shares = np.array(roc.true_positives) / roc.members - np.array(roc.false_positives) / roc.non_members
    assert shares.max() == pytest.approx(gap)


def test_shapes_that_do_not_fit():
    with pytest.raises(UsageError, match="one class each"):
        gap_scores(np.zeros(3, int), np.zeros(2, int))
