"""How good models are by their task: every figure against scikit-learn, and what a constant comes to."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics

from trustml.compare.table import table_of
from trustml.measures.accuracy import accuracy_rows, performance_rows
from trustml.measures.classification import classification_statistics, f1_statistics
from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES, leading
from trustml.measures.resampling import RESAMPLES, estimates, mean_of, pr_auc_of, roc_auc_of
from trustml.models.answers import answers, probabilities, recorded
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression
from trustml.record.schema import DataRecord, JobRecord, Manifest
from trustml.report.tables import print_comparison, print_jobs
from trustml.scenario.regimes import Plain

ROWS = 400


def draw(outputs: int, *, rounded: bool = False) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(ROWS, outputs))
    return np.round(values, 1) if rounded else values


def classes_of(outputs: np.ndarray) -> np.ndarray:
    """Labels that follow the outputs, but not always."""
    noisy = outputs + np.random.default_rng(1).normal(size=outputs.shape)
    return noisy.argmax(axis=1)


def holds_of(outputs: np.ndarray) -> np.ndarray:
    return (outputs + np.random.default_rng(1).normal(size=outputs.shape) > 0.5).astype(np.float32)


def values_of(task, outputs, labels):
    statistics, missing = classification_statistics(task, outputs, labels)
    assert not missing
    return {name: float(statistic(np.ones((1, len(labels))))[0]) for name, statistic in statistics.items()}


@pytest.mark.parametrize("rounded", [False, True], ids=["", "with ties"])
def test_figures_of_many_classes_are_those_of_scikit_learn(rounded):
    outputs = draw(4, rounded=rounded)
    labels = classes_of(outputs)
    found, shares = values_of(Classes(), outputs, labels), probabilities(Classes(), outputs)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, outputs.argmax(axis=1)))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, shares, multi_class="ovr"))
    assert found["pr_auc"] == pytest.approx(metrics.average_precision_score(np.eye(4)[labels], shares))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, shares))


@pytest.mark.parametrize("rounded", [False, True], ids=["", "with ties"])
def test_two_classes_are_the_same_by_one_output_and_by_two(rounded):
    one = draw(1, rounded=rounded)
    labels = holds_of(one)
    two = np.concatenate([np.zeros_like(one), one], axis=1)
    found = values_of(Binary(class_weights=(1.0, 5.0)), one, labels)
    assert found == pytest.approx(values_of(Classes(), two, labels[:, 0].astype(int)))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, one))
    assert found["pr_auc"] == pytest.approx(metrics.average_precision_score(labels, one))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, one > 0))


def test_figures_of_several_labels_are_means_over_them():
    outputs = draw(3)
    labels = holds_of(outputs)
    found = values_of(Labels(), outputs, labels)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, outputs))
    assert found["pr_auc"] == pytest.approx(metrics.average_precision_score(labels, outputs))
    said = answers(Labels(), outputs)
    each = [metrics.balanced_accuracy_score(y, s) for y, s in zip(labels.T, said.T, strict=True)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(each))
    of_labels = f1_statistics(Labels(), outputs, labels, ("a", "b", "c"))
    ones = np.ones((1, ROWS))
    wanted = metrics.f1_score(labels, said, average=None)
    np.testing.assert_allclose([float(one(ones)[0]) for one in of_labels.values()], wanted)


def test_calibration_error_of_known_confidences():
    """Nine in ten right at a confidence of 0.9 is no error; at 0.6 it is 0.3, over the half of the examples there."""
    confident, unsure = np.log(9.0), np.log(1.5)
    outputs = np.array([[confident]] * 10 + [[unsure]] * 10)
    labels = np.array([[1.0]] * 9 + [[0.0]] + [[1.0]] * 9 + [[0.0]], np.float32)
    assert values_of(Binary(), outputs, labels)["calibration_error"] == pytest.approx(0.15)


def test_classes_that_are_not_there_are_left_out_and_one_class_alone_has_no_curve():
    outputs = draw(4)
    labels = np.where(classes_of(outputs) == 3, 0, classes_of(outputs))
    found, shares = values_of(Classes(), outputs, labels), probabilities(Classes(), outputs)
    each = [metrics.roc_auc_score(labels == k, shares[:, k]) for k in range(3)]
    assert found["roc_auc"] == pytest.approx(np.mean(each))
    _, missing = classification_statistics(Classes(), outputs, np.zeros(ROWS, int))
    assert set(missing) == {"roc_auc", "pr_auc"}


def test_weights_count_an_example_as_often():
    scores, positive = draw(1, rounded=True)[:, 0], holds_of(draw(1))[:, 0] > 0
    weights = np.random.default_rng(3).integers(0, 4, size=(2, ROWS)).astype(float)
    rows = [np.repeat(np.arange(ROWS), one.astype(int)) for one in weights]
    wanted = [metrics.roc_auc_score(positive[some], scores[some]) for some in rows]
    np.testing.assert_allclose(roc_auc_of(scores, positive)(weights), wanted)
    wanted = [metrics.average_precision_score(positive[some], scores[some]) for some in rows]
    np.testing.assert_allclose(pr_auc_of(scores, positive)(weights), wanted)


def test_intervals_are_the_same_each_time_and_cover_about_as_often_as_they_say():
    generator, covered = np.random.default_rng(4), 0
    for _ in range(100):
        found = estimates({"": mean_of(generator.exponential(size=200))}, examples=200)[""]
        assert found.low < found.value < found.high
        covered += found.low < 1.0 < found.high
    assert 86 <= covered <= 100  # of 95; five standard deviations of a binomial below
    again = estimates({"": mean_of(np.arange(50.0))}, examples=50)
    assert again == estimates({"": mean_of(np.arange(50.0))}, examples=50) and RESAMPLES >= 200


class Given(Evidence):
    """A run of one model that gave these outputs."""

    def __init__(self, task, outputs, labels, names):
        record = JobRecord(id="train.jax.Plain.s0", backend="jax", kind="train", regime="Plain", seed=0, digest="d")
        import msgspec

        self.manifest = Manifest(
            run="r",
            status="success",
            created="",
            scenario={
                "task": msgspec.to_builtins(task),
                "training": [{"kind": "Plain"}],
                "backends": ["jax"],
            },
            data=DataRecord(
                fingerprint="f", train_examples=1, test_examples=len(labels), input_shape=(1,), class_names=names
            ),
            jobs=(msgspec.structs.replace(record, status="ok"),),
        )
        self.run, self._outputs = self, outputs
        self._made = {}
        self.__dict__["heldout"] = {"test_labels": labels}

    def trained(self):
        return [(record, SimpleNamespace(regime=Plain())) for record in self.manifest.jobs]

    def arrays(self, name):
        assert name == "jobs/train.jax.Plain.s0/predictions.npz"
        return {"test_logits": self._outputs}


def test_errors_of_a_regression_are_in_the_unit_of_the_data_beside_the_best_constant():
    task, outputs = Regression(target_range=(100.0, 300.0)), draw(1).astype(np.float32)
    labels = (outputs + 0.3 * np.random.default_rng(2).normal(size=outputs.shape)).astype(np.float32)
    given = Given(task, outputs, labels, ("price",))
    rows = {row.measure: row for row in [*accuracy_rows(given), *performance_rows(given)]}
    true, said = (200.0 + 100 * part[:, 0].astype(float) for part in (labels, outputs))
    assert rows["r2"].value == pytest.approx(metrics.r2_score(true, said))
    assert rows["rmse"].value == pytest.approx(metrics.root_mean_squared_error(true, said))
    assert rows["mae"].value == pytest.approx(metrics.mean_absolute_error(true, said))
    assert rows["rmse"].facts["of_mean"] == pytest.approx(true.std())
    assert rows["mae"].facts["of_median"] == pytest.approx(np.abs(true - np.median(true)).mean())
    assert all(row.low < row.value < row.high for row in rows.values())
    drawn, exact = "bootstrap over examples", "exact bootstrap over examples"
    assert {name: row.interval for name, row in rows.items()} == {"r2": drawn, "rmse": drawn, "mae": exact}
    assert all("by its draws (Monte-Carlo)" in rows[name].note for name in ("r2", "rmse"))
    assert "Monte-Carlo" not in rows["mae"].note
    assert "by always answering the mean" in rows["rmse"].note
    text = shown(given)
    assert "R²" in text and "accuracy" not in text and "class" not in text and "WARNING" not in text
    assert "regression, squared loss" in text


def shown(given: Given) -> str:
    table = table_of([*accuracy_rows(given), *performance_rows(given)])
    out = Console(file=io.StringIO(), width=160)
    print_jobs(out, given.manifest)
    print_comparison(out, [(given.manifest, table)])
    return out.file.getvalue()


def test_a_regression_that_answers_one_value_is_told():
    labels = draw(1).astype(np.float32)
    given = Given(Regression(), np.full_like(labels, 0.25), labels, ("price",))
    (row,) = accuracy_rows(given)
    assert row.value < 0 and row.facts["one_value"] is True
    assert "answers one value for every example: it has learned nothing" in shown(given)


def test_several_labels_have_an_accuracy_of_labels_and_an_f1_each():
    outputs = draw(2).astype(np.float32)
    labels = holds_of(outputs)
    given = Given(Labels(), outputs, labels, ("rain", "wind"))
    (row,) = accuracy_rows(given)
    assert row.value == pytest.approx(((outputs > 0) == labels).mean())
    assert row.interval == "exact bootstrap over examples"
    assert row.facts["majority"] == pytest.approx(np.maximum(labels.mean(0), 1 - labels.mean(0)).mean())
    rows = performance_rows(given)
    assert [one.subject for one in rows if one.measure == "f1"] == ["rain", "wind"]
    text = shown(given)
    assert "2 labels" in text and "F1" in text and "wind" in text and "ECE" in text
    nobody = Given(Labels(), np.full_like(outputs, -1), np.zeros_like(labels), ("rain", "wind"))
    assert [one.value for one in performance_rows(nobody) if one.measure == "f1"] == [None, None]


def test_tables_are_led_by_what_their_task_leads_with():
    assert leading({"accuracy", "epsilon"}) == "accuracy" and leading({"r2", "rmse"}) == "r2"
    assert {name for name, one in MEASURES.items() if one.since} >= {"r2", "rmse", "f1", "roc_auc"}


def test_r2_of_targets_far_from_zero_is_not_lost_in_rounding():
    start = 1.7e9
    task, outputs = Regression(target_range=(start, start + 10)), draw(1).astype(np.float32)
    labels = (outputs + 0.3 * np.random.default_rng(2).normal(size=outputs.shape)).astype(np.float32)
    (row,) = accuracy_rows(Given(task, outputs, labels, ("second",)))
    (near,) = accuracy_rows(Given(Regression(), outputs, labels, ("second",)))
    assert (row.value, row.low, row.high) == pytest.approx((near.value, near.low, near.high), abs=1e-6)
    assert row.value == pytest.approx(metrics.r2_score(labels, outputs), abs=1e-6)


def test_texts_are_measured_by_step_beside_the_shares_of_their_tokens():
    generator = np.random.default_rng(5)
    labels = generator.integers(1, 4, size=(60, 5)) * (np.arange(5) < generator.integers(1, 6, size=(60, 1)))
    outputs = generator.normal(size=(60, 5, 4)) + np.eye(4)[labels]
    given = Given(NextToken(), recorded(NextToken(), outputs, labels), labels, ("pad", "a", "b", "c"))
    rows = {row.measure: row for row in [*accuracy_rows(given), *performance_rows(given)]}
    there = labels > 0
    true, said = labels[there], outputs[there]
    wanted = np.exp(metrics.log_loss(true, probabilities(Classes(), said), labels=range(4)))
    assert rows["perplexity"].value == pytest.approx(wanted, rel=1e-6)
    assert rows["accuracy"].value == pytest.approx((said.argmax(axis=1) == true).mean())
    shares = np.bincount(true)[1:] / len(true)
    assert rows["perplexity"].facts["of_unigram"] == pytest.approx(np.prod(shares**-shares))
    assert rows["accuracy"].facts["majority"] == pytest.approx(shares.max())
    assert all(row.low < row.value < row.high and row.n == 60 for row in rows.values())
    text = shown(given)
    assert "always answering the commonest token" in text and "giving each token its share" in text
    assert "the next of 4 tokens" in text
