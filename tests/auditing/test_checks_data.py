"""Data that cannot carry an audit is found before the model is asked."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.auditing.blind import SPLITS, blind_auc, blind_label_auc
from trustml.auditing.checks_data import check_data
from trustml.auditing.checks_membership import check_membership
from trustml.auditing.examples import Given
from trustml.errors import DataError
from trustml.report.audit.words import interval_text


def examples(count, *, seed, shift=0.0, classes=3):
    generator = np.random.default_rng(seed)
    inputs = (generator.normal(size=(count, 6)) + shift).astype(np.float32)
    return Given(inputs=inputs, labels=generator.integers(0, classes, count))


def found(train, holdout):
    checked = check_data(train, holdout, confidence=0.99, seed=0)
    return checked, {finding.id: finding for finding in checked.findings}


def test_clean_data_passes():
    checked, findings = found(examples(150, seed=0), examples(150, seed=1))
    assert {name: finding.severity for name, finding in findings.items()} == {
        "data.overlap": "pass",
        "data.shift": "pass",
        "data.labels": "pass",
    }
    assert checked.alike and len(checked.holdout) == 150


def test_overlap_is_counted_and_taken_out_of_the_holdout():
    train, holdout = examples(150, seed=0), examples(100, seed=1)
    mixed = Given(
        inputs=np.concatenate([holdout.inputs, train.inputs[:25]]).astype(np.float64), labels=np.zeros(125, int)
    )
    checked, findings = found(train, Given(inputs=mixed.inputs, labels=np.arange(125) % 3))
    assert findings["data.overlap"].severity == "risk"
    assert findings["data.overlap"].title.startswith("25 of 125 hold-out examples are in the training set")
    assert findings["data.overlap"].measured[0].value == 0.2
    np.testing.assert_array_equal(checked.holdout.inputs, holdout.inputs)


def test_a_holdout_that_is_the_training_set_is_an_error():
    train = examples(150, seed=0)
    with pytest.raises(DataError, match="all of its 150 examples are in train; give examples that"):
        found(train, train)
    with pytest.raises(DataError, match="all of its 50 examples"):
        found(train, Given(inputs=train.inputs[:50], labels=train.labels[:50]))


def labelled(count, *, seed):
    one = examples(count, seed=seed)
    return Given(inputs=one.inputs, labels=(one.inputs[:, 0] > 0).astype(np.int64))


def test_permuted_labels_are_found_without_the_model():
    train, holdout = labelled(300, seed=0), labelled(300, seed=1)
    assert found(train, holdout)[1]["data.labels"].severity == "pass"
    permuted = Given(inputs=holdout.inputs, labels=np.random.default_rng(2).permutation(holdout.labels))
    checked, findings = found(train, permuted)
    assert findings["data.shift"].severity == "pass"  # inputs alone show nothing
    assert findings["data.labels"].severity == "note" and "hold-out go less well" in findings["data.labels"].title
    assert not checked.alike
    checked, findings = found(permuted, train)
    assert "training set go less well" in findings["data.labels"].title and not checked.alike


def test_labels_of_one_source_are_seldom_said_to_differ():
    told = sum(
        found(labelled(120, seed=2 * seed), labelled(120, seed=2 * seed + 1))[1]["data.labels"].severity == "note"
        for seed in range(6)
    )
    assert told <= 1


def test_minus_zero_is_zero():
    train, holdout = examples(120, seed=0), examples(120, seed=1)
    train.inputs[0], holdout.inputs[0] = 0.0, -0.0
    assert found(train, holdout)[1]["data.overlap"].title.startswith("1 of 120")


@pytest.mark.parametrize("noise", [1e-7, 1e-6, 1e-4])
def test_near_duplicates_are_noted_and_stay(noise):
    train, holdout = examples(150, seed=0), examples(100, seed=1)
    holdout.inputs[:5] = train.inputs[:5] + noise * np.random.default_rng(2).normal(size=(5, 6))
    checked, findings = found(train, holdout)
    assert findings["data.near-duplicates"].measured[0].value * 100 == 5
    assert len(checked.holdout) == 100


def test_an_exact_copy_does_not_silence_the_search_for_near_ones():
    train, holdout = examples(150, seed=0), examples(100, seed=1)
    holdout.inputs[0], holdout.inputs[1:4] = train.inputs[0], train.inputs[1:4] + 1e-6
    findings = found(train, holdout)[1]
    assert findings["data.overlap"].title.startswith("1 of 100")
    assert findings["data.near-duplicates"].title.startswith("3 of 99")


def test_one_column_of_large_numbers_makes_no_near_duplicates():
    train, holdout = examples(150, seed=0), examples(100, seed=1)
    for one in (train, holdout):
        one.inputs[:, 0] = np.where(np.arange(len(one)) % 50 == 0, 99_999.0, 0.0)
    assert "data.near-duplicates" not in found(train, holdout)[1]


def test_single_class_labels_are_a_risk():
    train = examples(150, seed=0, classes=1)
    _, findings = found(train, examples(150, seed=1))
    assert findings["data.single-class.train"].severity == "risk"
    assert "All 150 labels of train are 0" in findings["data.single-class.train"].title
    assert "data.single-class.holdout" not in findings


def test_examples_that_are_not_finite_are_left_out():
    train = examples(150, seed=0)
    train.inputs[3, 2] = np.nan
    checked, findings = found(train, examples(150, seed=1))
    assert len(checked.train) == 149
    assert findings["data.finite.train"].severity == "note"
    train.inputs[:] = np.inf
    with pytest.raises(DataError, match="no example is finite"):
        found(train, examples(150, seed=1))


def test_few_examples_are_noted():
    assert found(examples(150, seed=0), examples(40, seed=1))[1]["data.size"].severity == "note"


def test_shapes_must_agree():
    other = Given(inputs=np.zeros((5, 2), np.float32), labels=np.zeros(5, int))
    with pytest.raises(DataError, match=r"shape \(2,\), those of train \(6,\)"):
        found(examples(50, seed=0), other)


def test_sets_that_differ_by_themselves_are_told():
    checked, findings = found(examples(200, seed=0), examples(200, seed=1, shift=0.7))
    assert not checked.alike
    assert findings["data.shift"].severity == "note"
    assert findings["data.shift"].measured[0].low > 0.5


def test_the_blind_classifier_is_seldom_fooled_by_chance():
    told = 0
    for seed in range(10):
        pair = np.random.default_rng(seed).normal(size=(2, 100, 4))
        told += blind_auc(*pair, confidence=0.99, seed=seed).low > 0.5
    assert told <= 1


def test_what_blind_classifiers_say_hangs_little_on_how_examples_were_halved():
    pair = np.random.default_rng(0).normal(size=(2, 60, 3)) + np.array([0.0, 0.4])[:, None, None]
    drawn = [blind_auc(*pair, confidence=0.95, seed=100 * seed) for seed in range(5)]
    spread = np.std([one.value for one in drawn], ddof=1)
    assert {one.splits for one in drawn} == {SPLITS} and drawn[0].low < drawn[0].value < drawn[0].high
    assert spread < 2 * np.mean([one.error for one in drawn])
    labels = blind_label_auc(labelled(60, seed=0), labelled(60, seed=1), confidence=0.95, seed=0)
    assert labels.splits == SPLITS and labels.error > 0
    figure = found(labelled(60, seed=0), labelled(60, seed=1))[1]["data.labels"].measured[0]
    assert figure.monte_carlo_error > 0 and "Monte-Carlo error" in interval_text(figure)


def repeated(count, *, seed, often):
    """Examples of which few different ones exist, so that some are in both sets by chance."""
    generator = np.random.default_rng(seed)
    which = generator.choice(len(often), count, p=often)
    inputs = np.random.default_rng(0).normal(size=(len(often), 3)).astype(np.float32)
    return which, Given(inputs=inputs[which], labels=np.zeros(count, int))


def test_a_model_is_not_flagged_for_being_surer_of_what_is_common():
    often = 1 / np.arange(1, 1001)
    often /= often.sum()
    for seed in range(3):
        (which, train), (other, holdout) = (repeated(600, seed=2 * seed + own, often=often) for own in (0, 1))
        checked = check_data(train, holdout, confidence=0.99, seed=0)
        other = other[~np.isin(other, which)]
        assert len(checked.holdout) == len(other) and len(checked.shared) == 600 - len(other)
        np.testing.assert_array_equal(
            checked.train.inputs[checked.shared][:5],
            holdout.inputs[np.isin([one.tobytes() for one in holdout.inputs], [one.tobytes() for one in train.inputs])][
                :5
            ],
        )
        logits = [np.stack([np.log(often[one]), np.zeros(len(one)) - 6], axis=1) for one in (which, other)]
        labels = [np.zeros(len(one), int) for one in logits]
        shared = (checked.shared, np.zeros(len(checked.shared), int))
        for beside, told in ((shared, False), (None, True)):
            verdict = check_membership(
                logits[0], labels[0], logits[1], labels[1], references=None, confidence=0.95, alike=True,
                subject="model", groups=checked.groups, shared=beside,
            ).verdict  # fmt: skip
            assert verdict.flagged == told


def test_copies_are_counted_and_drawn_once_where_sets_are_told_apart():
    train, holdout = examples(120, seed=0), examples(150, seed=1)
    copied = Given(inputs=np.repeat(train.inputs, 20, axis=0), labels=np.repeat(train.labels, 20))
    checked, findings = found(copied, holdout)
    assert findings["data.copies.train"].title == (
        "120 of 2400 examples of train are distinct; copies make no finding surer"
    )
    assert "data.copies.holdout" not in findings and checked.alike
    assert (len(np.unique(checked.groups[:2400])), len(np.unique(checked.groups))) == (120, 270)
    assert checked.alike == (findings["data.shift"].severity == findings["data.labels"].severity == "pass")
    assert blind_auc(copied.inputs, holdout.inputs, confidence=0.99, seed=0).low > 0.5  # as copies are recognised
