"""Membership inference on a real run: rows, curves, and what is kept from them."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from tests.records import unasked_second_opinion
from trustml.attacks.roc import auc_of_counts
from trustml.compare.rows import measure_run
from trustml.record.curves import read_curves
from trustml.record.store import RunDirectory

pytestmark = [pytest.mark.jax]


def rows_of(run, measure):
    table = run.measures()
    return table[(table.measure == measure) & (table.seed >= 0)]


def test_overfitted_models_are_at_risk_and_private_ones_are_not(attacked_run):
    least = rows_of(attacked_run, "membership_auc_at_least").groupby("job").value.max()
    overfitted = [job for job in least.index if "Overfitted" in job]
    private = [job for job in least.index if "DPSGD" in job]
    assert len(overfitted) == len(private) == 2
    assert (least[overfitted] > 0.5).all(), least
    assert (least[private] <= 0.5).all(), least


def test_attacks_with_references_ran_on_every_model(attacked_run):
    names = set(rows_of(attacked_run, "membership_auc").method)
    assert names >= {
        "loss", "confidence", "entropy", "modified-entropy", "label-only", "learned", "lira-online",
        "lira-online-fixed", "lira-offline", "lira-offline-fixed", "rmia-1", "rmia-2", "rmia-4",
    }  # fmt: skip


def test_a_rate_that_too_few_non_members_can_show_is_absent(attacked_run):
    table = attacked_run.measures()
    single = rows_of(attacked_run, "membership_tpr_at_1_percent_fpr")
    assert single.value.isna().all() and single.note.str.contains("not estimable").all()  # 898 non-members
    pooled = table[(table.measure == "membership_tpr_at_1_percent_fpr") & (table.seed < 0)]
    assert pooled.value.notna().all() and pooled.note.str.startswith("2 models").all()


def test_curves_are_counts_that_give_the_auc_again(attacked_run):
    curves = {(curve.subject, curve.attack): curve for curve in read_curves(attacked_run.directory)}
    for row in rows_of(attacked_run, "membership_auc").itertuples():
        curve = curves[row.job, row.method]
        assert curve.true_positives[-1] == 899 and curve.false_positives[-1] == 898
        assert math.isclose(auc_of_counts(curve.false_positives, curve.true_positives), row.value, abs_tol=1e-12)


def test_the_strongest_attack_is_told_by_class_and_the_most_exposed_members_are_kept_private(attacked_run):
    classes = rows_of(attacked_run, "membership_auc_of_class")
    assert classes.groupby("job").subject.nunique().eq(10).all() and classes.groupby("job").method.nunique().eq(1).all()
    with np.load(attacked_run.path / "private/attacks/exposed.npz", allow_pickle=False) as exposed:
        best = exposed["train.jax.Overfitted.s0|rmia-all"]
    assert len(set(best.tolist())) == 10 and best.max() < 899


def test_scores_stay_private(attacked_run):
    private = attacked_run.path / "private"
    assert len(list((private / "scores").glob("*.npz"))) == 4
    for path in attacked_run.path.rglob("*"):
        if path.is_file() and private not in path.parents and path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert not {"train_logits", "members", "included", "scores"} & set(arrays.files), path


def test_without_the_private_files_a_measure_is_absent_and_says_why(attacked_run, tmp_path):
    copy = tmp_path / attacked_run.path.name
    shutil.copytree(attacked_run.path, copy, ignore=shutil.ignore_patterns("private"))
    with unasked_second_opinion():
        measured = measure_run(RunDirectory(copy))
    found = [row for row in measured.rows if row.measure in ("membership_auc", "audited_epsilon")]
    assert found and not measured.curves
    assert all(row.value is None and "private/" in row.note for row in found)
