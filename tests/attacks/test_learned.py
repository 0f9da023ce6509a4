"""The learned attack."""

import numpy as np
import pytest

from tests.attacks.overfitted import drawn
from trustml.attacks.learned import attack_features, learned_scores
from trustml.attacks.roc import auc_of_counts, roc_of_scores
from trustml.errors import UsageError


def test_it_learns_from_reference_models_and_is_no_worse_than_the_loss():
    logits, labels, members, references = drawn(gain=4.0, classes=12)
    scores = learned_scores(logits, labels, references.logits, references.members)
    roc = roc_of_scores(scores, members)
    loss = roc_of_scores(attack_features(logits, labels)[:, 11], members)
    assert auc_of_counts(roc.false_positives, roc.true_positives) > 0.6
    assert auc_of_counts(roc.false_positives, roc.true_positives) > (
        auc_of_counts(loss.false_positives, loss.true_positives) - 0.02
    )
    again = learned_scores(logits, labels, references.logits, references.members)
    np.testing.assert_array_equal(scores, again)


def test_features_do_not_depend_on_the_order_of_the_other_classes():
    logits = np.array([[5.0, 1.0, 2.0], [5.0, 2.0, 1.0]])
    first, second = attack_features(logits, np.array([0, 0]))
    assert first.shape == (3 + 5,)
    np.testing.assert_allclose(first, second)
    assert np.isfinite(attack_features(np.array([[900.0, 0.0]]), np.array([1]))).all()


def test_references_without_contrast_teach_nothing():
    logits, labels, _, references = drawn(models=1, examples=50)
    for everybody in (True, False):
        with pytest.raises(UsageError, match="nothing can be learned"):
            learned_scores(logits, labels, references.logits, np.full((1, 50), everybody))
