"""Rows of stored runs, computed again from their files by other people's functions or by slow loops."""

from __future__ import annotations

import functools
import itertools
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial import distance
from scipy.special import log_softmax
from sklearn import metrics

import trustml
from tests.conftest import measured_once
from trustml.measures.means import mean_with_interval

METHOD = "IntegratedGradients"
SEEDS = range(3)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A plain regime, a private one and two controls, three seeds each."""
    return measured_once(tmp_path_factory, "study")


@pytest.fixture(scope="session")
def frameworks(tmp_path_factory):
    return measured_once(tmp_path_factory, "frameworks")


@functools.cache
def table_of(path: Path) -> pd.DataFrame:
    """What is measured of a run that nobody changes, read once."""
    return trustml.load(path).measures()


def rows_of(run, measure, **columns):
    table = table_of(run.path)
    kept = (table.measure == measure) & table.value.notna()
    for name, value in columns.items():
        kept &= table[name] == value
    return table[kept]


def attributions(run, regime, seed):
    return run.directory.arrays(f"jobs/explain.jax.of.jax.{regime}.s{seed}/attributions.npz")[f"{METHOD}.native"]


def agreement(first, second):
    """Mean Spearman correlation over examples, one by one."""
    return np.mean([stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("name", ["study", "frameworks"])
def test_accuracy_and_times_of_every_model(name, request):
    run = request.getfixturevalue(name)
    labels = run.directory.arrays("heldout.npz")["test_labels"]
    records = [record for record in run.manifest.jobs if record.kind == "train"]
    for record in records:
        answers = run.directory.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"].argmax(axis=1)
        assert rows_of(run, "accuracy", job=record.id).value.item() == metrics.accuracy_score(labels, answers)
        if record.regime != "Plain":
            continue
        times = run.directory.arrays(f"jobs/{record.id}/timings.npz")
        seconds, examples = times["seconds"].tolist(), times["examples"].tolist()
        first, median = (rows_of(run, name, job=record.id).value for name in ("step_time_first", "step_time_median"))
        assert first.item() == seconds[0]
        assert median.item() == pytest.approx(statistics.median(seconds[1:]))
        rate = rows_of(run, "examples_per_second", job=record.id).value.item()
        assert rate == pytest.approx(sum(examples[1:]) / sum(seconds[1:]))
    assert len(records) > 8


def test_the_effect_of_a_regime_and_its_parts_pair_by_pair(study):
    found = {regime: [attributions(study, regime, seed) for seed in SEEDS] for regime in ("Plain", "DPSGD", "Stopped")}
    others = [(i, j) for i, j in itertools.product(SEEDS, SEEDS) if i != j]

    def between(one, other):
        return np.mean([agreement(found[one][i], found[other][j]) for i, j in others])

    floor = between("Plain", "Plain")
    effect = {regime: between("Plain", regime) - floor for regime in ("DPSGD", "Stopped")}
    expected = {
        "explanation_floor": floor,
        "explanation_effect": effect["DPSGD"],
        "explanation_within_regime": between("DPSGD", "DPSGD"),
        "explanation_same_seed": np.mean([agreement(found["Plain"][i], found["DPSGD"][i]) for i in SEEDS]),
        "explanation_effect_beyond_accuracy": effect["DPSGD"] - effect["Stopped"],
    }
    for measure, value in expected.items():
        row = rows_of(study, measure, regime="DPSGD", method=METHOD)
        assert row.value.item() == pytest.approx(value, abs=1e-6), measure  # attributions are float32


def test_steadiness_is_the_effect_on_one_kind_of_method_minus_that_on_the_other(study):
    effects = rows_of(study, "explanation_effect", regime="DPSGD").set_index("method").value
    row = rows_of(study, "explanation_steadiness", regime="DPSGD")
    assert row.value.item() == pytest.approx(effects["FeatureAblation"] - effects[METHOD], abs=1e-12)


def test_the_interval_of_a_mean_is_scipys_bootstrap_and_covers():
    generator = np.random.default_rng(0)
    values = generator.exponential(size=40)
    found = mean_with_interval(values)
    other = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert found.value == values.mean()
    np.testing.assert_allclose([found.low, found.high], other, atol=0.03)  # 0.16 is one standard error of the mean
    held = [one.low <= 1 <= one.high for one in map(mean_with_interval, generator.exponential(size=(300, 60)))]
    assert 0.88 < np.mean(held) < 0.98


@pytest.mark.parametrize("name", ["infidelity", "deletion_auc", "insertion_auc", "comprehensiveness", "sufficiency"])
def test_a_change_of_faithfulness_is_a_paired_t_interval(study, name):
    values = [
        [rows_of(study, name, job=f"explain.jax.of.jax.{one}.s{seed}", method=METHOD).value.iloc[0] for seed in SEEDS]
        for one in ("DPSGD", "Plain")
    ]
    row = rows_of(study, f"change_of_{name}", regime="DPSGD", first="Plain", method=METHOD)
    low, high = stats.ttest_rel(*values).confidence_interval(0.95)
    expected = [np.mean(np.subtract(*values)), low, high]
    np.testing.assert_allclose(row[["value", "low", "high"]].to_numpy()[0].astype(float), expected, atol=1e-6)


def test_libraries_are_compared_as_by_scipy_and_by_hand(frameworks):
    arrays = frameworks.directory.arrays("jobs/explain.tensorflow.of.torch.Plain.s0/attributions.npz")
    theirs, ours = (arrays[f"{METHOD}.{name}"] for name in ("native", "common"))
    pairs = [(a.ravel().astype(float), b.ravel().astype(float)) for a, b in zip(theirs, ours, strict=True)]
    expected = {
        "attribution_agreement_spearman": agreement(theirs, ours),
        "attribution_agreement_kendall": np.mean([stats.kendalltau(a, b).statistic for a, b in pairs]),
        "attribution_agreement_cosine": np.mean([1 - distance.cosine(a, b) for a, b in pairs]),
        "attribution_max_abs_difference": np.abs(theirs - ours).max() / np.abs(theirs).max(),
    }
    cell = {"job": "train.torch.Plain.s0", "method": METHOD, "subject": "tf-explain ~ common (tensorflow)"}
    for measure, value in expected.items():
        assert rows_of(frameworks, measure, **cell).value.item() == pytest.approx(value, abs=1e-5), measure
    assert expected["attribution_agreement_spearman"] < 0.9, "they differ, so that it shows"


def test_logits_of_two_frameworks_differ_by_what_is_said(frameworks):
    rows = rows_of(frameworks, "logit_relative_difference", job="train.torch.Plain.s0")
    assert len(rows) == 3
    for row in rows.itertuples():
        first, second = (
            frameworks.directory.arrays(f"jobs/explain.{name}.of.torch.Plain.s0/attributions.npz")["logits"]
            for name in row.subject.split(" ~ ")
        )
        assert row.value == pytest.approx(np.abs(first - second).max() / max(1, np.abs(first).max()), rel=1e-6)


def test_membership_and_training_accuracy_are_those_of_scikit_learn(attacked_run):
    data = attacked_run.directory.arrays("private/data.npz")
    labels, held_out = data["train_labels"], attacked_run.directory.arrays("heldout.npz")["test_labels"]
    records = [record for record in attacked_run.manifest.jobs if record.kind == "train"]
    for record in records:
        members = attacked_run.directory.arrays(f"private/scores/{record.id}.npz")["train_logits"].astype(float)
        others = attacked_run.directory.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"].astype(float)
        share = rows_of(attacked_run, "training_accuracy", job=record.id).value.item()
        assert share == metrics.accuracy_score(labels, members.argmax(axis=1))
        kept = [log_softmax(part, axis=1)[range(len(part)), of] for part, of in ((members, labels), (others, held_out))]
        truth, scores = np.repeat([1, 0], [len(part) for part in kept]), np.concatenate(kept)
        row = rows_of(attacked_run, "membership_auc", job=record.id, method="loss")
        assert row.value.item() == pytest.approx(metrics.roc_auc_score(truth, scores), abs=2e-5)
    assert len(records) >= 2
