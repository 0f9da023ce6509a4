"""Curves, thresholds and errors of models, against scikit-learn and counts by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from tests.report.test_charts import BACKGROUNDS, contrast
from trustml.models.losses import sigmoid
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression
from trustml.report.accuracy.details import aspects_of, details_of
from trustml.report.accuracy.frames import judged_models
from trustml.report.accuracy.scores import (
    MOST_CURVES,
    decimals,
    error_frame,
    mistakes_frame,
    predicted_frame,
    score_curves,
    threshold_frame,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own
MODEL = SimpleNamespace(id="train.torch.Plain.s0", status="ok")
RANDOM = np.random.default_rng(4)


def evidence_of(task, outputs, labels, names=("no", "yes")):
    """What frames read of a run: outputs and labels of its held-out examples."""
    run = SimpleNamespace(arrays=lambda _: {"test_logits": outputs.astype(np.float32)})
    manifest = SimpleNamespace(data=SimpleNamespace(class_names=names))
    heldout = {"test_labels": labels}
    return SimpleNamespace(task=task, run=run, heldout=heldout, manifest=manifest, trained=lambda: [(MODEL, None)])


def two_classes(*, rows=500, steps=None):
    labels = RANDOM.integers(0, 2, rows)
    logit = RANDOM.normal(size=rows) + labels
    logit = logit if steps is None else np.round(logit * steps) / steps  # ties
    return np.stack([np.zeros(rows), logit], axis=1).astype(np.float32), labels


@pytest.mark.parametrize("steps", [None, 2])
def test_curves_have_the_area_and_the_corners_that_scikit_learn_gives(steps):
    outputs, labels = two_classes(steps=steps)
    frame = score_curves(evidence_of(Classes(), outputs, labels), MODEL)
    assert set(frame.curve) == {"yes"} and len(frame) <= 241
    score = outputs[:, 1].astype(np.float64)
    assert np.trapezoid(frame.recall, frame.false_positives) == pytest.approx(
        metrics.roc_auc_score(labels, score), abs=0.01
    )
    for row in frame.iloc[1:].sample(10, random_state=1).itertuples():
        said = sigmoid(score) >= row.threshold - 5e-6  # rounded
        assert row.recall == pytest.approx(metrics.recall_score(labels, said), abs=1e-5)
        assert row.precision == pytest.approx(metrics.precision_score(labels, said), abs=1e-5)
        assert row.false_positives == pytest.approx(said[labels == 0].mean(), abs=1e-5)
    assert tuple(frame.iloc[-1][["recall", "false_positives"]]) == (1.0, 1.0)


@pytest.mark.parametrize("task", [Classes(), Binary(), Labels()])
def test_examples_beyond_what_a_probability_can_tell_are_ranked_by_their_logits(task):
    labels = np.arange(80) % 2
    logit = 40.0 + np.arange(80) // 2 + 0.5 * (labels == 1)  # all have the probability 1
    outputs, truth = np.stack([np.zeros(80), logit], axis=1), labels
    if not isinstance(task, Classes):
        outputs, truth = logit[:, None], labels[:, None].astype(np.float32)
    names = ("no", "yes") if not isinstance(task, Labels) else ("yes",)
    frame = score_curves(evidence_of(task, outputs, truth, names=names), MODEL)
    assert len(frame) == 81 and (frame.threshold == 1.0).all()
    assert np.trapezoid(frame.recall, frame.false_positives) == pytest.approx(metrics.roc_auc_score(labels, logit))


def test_curves_are_of_each_class_or_label_that_can_have_one():
    outputs, labels = RANDOM.normal(size=(60, 3)), np.repeat([0, 1], 30)
    frame = score_curves(evidence_of(Classes(), outputs, labels, names=("a", "b", "c")), MODEL)
    assert set(frame.curve) == {"a", "b"}  # nobody is a c
    several = RANDOM.integers(0, 2, (60, 2)).astype(np.float32)
    assert set(score_curves(evidence_of(Labels(), RANDOM.normal(size=(60, 2)), several), MODEL).curve) == {"no", "yes"}
    many = MOST_CURVES + 1
    crowded = evidence_of(Classes(), RANDOM.normal(size=(400, many)), np.arange(400) % many, names=tuple("abcdefghijk"))
    assert score_curves(crowded, MODEL) is None and threshold_frame(crowded, MODEL) is None


@pytest.mark.parametrize("task", [Classes(), Binary()])
def test_a_threshold_of_one_half_is_what_the_model_answers(task):
    outputs, labels = two_classes()
    if isinstance(task, Binary):
        outputs, labels = outputs[:, 1:], labels[:, None].astype(np.float32)
    name, frame = threshold_frame(evidence_of(task, outputs, labels), MODEL)
    assert name == "yes"
    half = next(row for row in frame.to_dict("records") if row["threshold"].rank == 0.5)
    said = (outputs[:, -1] > (0 if isinstance(task, Binary) else outputs[:, 0])).astype(int)
    true = labels.ravel().astype(int)
    assert half["accuracy"].rank == pytest.approx(metrics.accuracy_score(true, said))
    assert half["recall"].rank == pytest.approx(metrics.recall_score(true, said))
    assert half["precision"].rank == pytest.approx(metrics.precision_score(true, said))
    assert half["of the others, told right"].rank == pytest.approx(metrics.recall_score(1 - true, 1 - said))
    assert half["lift"].rank == pytest.approx(half["precision"].rank / true.mean())
    shares = [row["answered"].rank for row in frame.to_dict("records")]
    assert shares == sorted(shares, reverse=True)


def test_mistakes_are_the_surest_of_the_wrong_answers():
    outputs, labels = np.array([[9.0, 0], [0, 5], [3, 0], [0, 4]]), np.array([0, 0, 1, 1])
    frame = mistakes_frame(evidence_of(Classes(), outputs, labels), MODEL)
    assert [cell.rank for cell in frame["held-out example"]] == [1, 2]
    assert frame.true.tolist() == ["no", "yes"] and frame.answered.tolist() == ["yes", "no"]
    assert frame["with probability"][0].rank == pytest.approx(1 / (1 + np.exp(-5)))
    assert mistakes_frame(evidence_of(Classes(), outputs, np.array([0, 1, 0, 1])), MODEL) is None
    numbers = evidence_of(Regression(), np.array([[0.0], [3.0], [-9.0]]), np.zeros((3, 1), np.float32))
    assert [cell.rank for cell in mistakes_frame(numbers, MODEL).error] == [-9.0, 3.0, 0.0]


def test_errors_of_a_regression_are_in_the_unit_of_the_data():
    true = RANDOM.uniform(-1, 1, (3000, 1)).astype(np.float32)
    evidence = evidence_of(Regression(target_range=(0.0, 200.0)), true + 0.1, true)
    frame, errors = predicted_frame(evidence, MODEL), error_frame(evidence, MODEL)
    assert len(frame) == 1000 and frame.error.to_numpy() == pytest.approx(10.0, abs=1e-3)
    assert frame.true.min() >= 0 and frame.true.max() <= 200
    assert errors["count"].sum() == 3000  # of all, not of those that are drawn


@pytest.mark.parametrize(
    ("task", "titles"),
    [
        (
            Classes(),
            [
                "Reliability",
                "Most confident mistakes",
                "Confusion matrix",
                "Each class",
                "ROC",
                "Precision and recall",
                "Thresholds",
            ],
        ),
        (Regression(target_range=(0.0, 1.0)), ["Predicted and true", "Errors", "Largest errors"]),
    ],
)
def test_details_of_a_model_can_be_seen_on_white_and_on_dark_pages(task, titles):
    outputs, labels = two_classes()
    if isinstance(task, Regression):
        outputs, labels = outputs[:, 1:], labels[:, None].astype(np.float32)
    found = details_of(evidence_of(task, outputs, labels), MODEL)
    assert [one.title.partition(":")[0] for one in found] == titles
    of_aspects = [details_of(evidence_of(task, outputs, labels), MODEL, aspect=name) for name in aspects_of(task)]
    assert [one.title.partition(":")[0] for aspect in of_aspects for one in aspect] == titles
    for text in (str(one.chart.to_dict()) for one in found if one.chart is not None):
        marks = [part.split("'")[0] for part in text.split("'color': '#")[1:]]
        assert marks == [] or min(contrast(f"#{mark}", page) for mark in marks for page in BACKGROUNDS) >= 2.0


def test_of_texts_no_model_is_looked_at_one_by_one():
    """What is recorded of them is two log-probabilities a step, which are no scores of two classes."""
    outputs, labels = RANDOM.normal(size=(5, 7, 2)), RANDOM.integers(0, 9, (5, 7))
    assert judged_models(evidence_of(NextToken(), outputs, labels)) == []
    assert judged_models(evidence_of(Classes(), *two_classes())) == [MODEL]


@pytest.mark.parametrize(
    ("values", "places"), [([5e5, -10.0], 0), ([12.0], 2), ([0.5], 4), ([1e-3], 6), ([0.0], 3), ([], 3), ([np.nan], 3)]
)
def test_numbers_have_the_places_that_the_largest_needs(values, places):
    assert decimals(values) == places
