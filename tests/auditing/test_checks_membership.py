"""Membership findings: a model that remembers is flagged, one that does not is not, and nothing more is claimed."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.attacks.catalogue import References
from trustml.auditing.checks_membership import check_membership, without_references
from trustml.errors import DataError
from trustml.privacy.statement import at_most


def answers(count, *, surer, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    logits = generator.normal(size=(count, 3))
    logits[np.arange(count), labels] += 1 + surer
    return logits, labels


def checked(surer, *, seed=0, alike=True, references=None, count=150):
    train, holdout = answers(count, surer=surer, seed=2 * seed), answers(count, surer=0, seed=2 * seed + 1)
    return check_membership(*train, *holdout, references=references, confidence=0.99, alike=alike, subject="model")


def test_a_model_that_is_surer_of_its_training_examples_is_a_risk():
    found = checked(1.5)
    loss = next(finding for finding in found.findings if finding.id == "membership.loss")
    (auc, *others) = loss.measured
    assert loss.severity == "risk"
    assert 0.5 < auc.low < auc.value < auc.high
    assert 0.6 < auc.value < 0.95
    assert "no lower bound of epsilon follows" in loss.how
    assert {one.measure for one in others} == {
        "membership_tpr_at_1_percent_fpr",
        "membership_tpr_at_0_1_percent_fpr",
        "membership_advantage",
        "members_exposed",
    }
    assert others[0].value is None and "not estimable" in others[0].note  # 150 non-members are too few
    assert not any(one.measure.startswith("audited_epsilon") for one in loss.measured)
    assert {curve.attack for curve in found.curves} == {finding.id.split(".")[1] for finding in found.findings}


def test_models_that_remember_nothing_are_seldom_flagged():
    flagged = sum(any(one.severity == "risk" for one in checked(0, seed=seed).findings) for seed in range(1, 31))
    assert flagged <= 2
    assert "it could be as high as" in checked(0, seed=1).findings[0].title


def test_exchanged_sets_are_a_risk():
    train, holdout = answers(150, surer=0, seed=0), answers(150, surer=1.5, seed=1)
    found = check_membership(*train, *holdout, references=None, confidence=0.99, alike=True, subject="model")
    loss = next(one for one in found.findings if one.id == "membership.loss")
    assert loss.severity == "risk" and loss.measured[0].high < 0.5
    assert (
        "the sets differ, perhaps exchanged" in loss.title
        and f"at most {at_most(loss.measured[0].high, 3)}:" in loss.title
    )
    assert "finds no membership" not in loss.title


def test_eighty_of_four_thousand_members_that_are_exposed_are_a_risk():
    (train, labels), holdout = answers(4000, surer=0, seed=0), answers(4000, surer=0, seed=1)
    train[np.arange(80), labels[:80]] += 12
    found = check_membership(train, labels, *holdout, references=None, confidence=0.99, alike=True, subject="model")
    loss = next(one for one in found.findings if one.id == "membership.loss")
    assert loss.measured[0].low < 0.5 < loss.measured[0].high
    assert loss.severity == "risk" and "a few members are exposed" in loss.title
    exposed = next(one for one in loss.measured if one.measure == "members_exposed")
    assert exposed.value >= 80 and exposed.n == 4000 and "exact" in exposed.note


def test_what_only_attacks_on_labels_find_is_noted():
    logits, labels = answers(400, surer=1.5, seed=0)
    others, true = answers(400, surer=1.5, seed=1)
    permuted = np.random.default_rng(2).permutation(true)
    found = check_membership(
        logits, labels, others, permuted, references=None, confidence=0.99, alike=False, subject="model"
    )
    by = {one.id: one for one in found.findings}
    assert by["membership.loss"].severity == "risk" and by["membership.entropy"].severity == "pass"
    assert "data.labels" in by["membership.loss"].how
    assert by["membership.labels"].severity == "note" and "labels" in by["membership.labels"].title
    assert "membership.labels" not in {one.id for one in checked(1.5).findings}


def test_reference_models_bring_their_attacks():
    generator = np.random.default_rng(5)
    members = generator.random((8, 200)) < 0.5
    logits = generator.normal(size=(8, 200, 3)).astype(np.float32)
    found = checked(0.5, references=References(logits=logits, members=members), count=100)
    names = {finding.id for finding in found.findings}
    assert {"membership.lira-online", "membership.lira-offline", "membership.rmia-1"} <= names


def test_sets_that_differ_by_themselves_are_said_to():
    assert "data.shift" in checked(1.5, alike=False).findings[0].how
    assert "data.shift" not in checked(1.5).findings[0].how


def test_too_few_examples_are_an_error_and_missing_references_a_finding():
    with pytest.raises(DataError, match="too few"):
        checked(1.0, count=5)
    assert without_references(16).severity == "not checked"
    assert "retrain=" in without_references(16).would_change
