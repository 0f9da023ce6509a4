"""Attacks on an exported file: the model's own where it answers alike, and told where it remembers more."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests.records import copy_of
from trustml.auditing import run_audit
from trustml.measures.deployed_attacks import deployed_attack_rows
from trustml.measures.evidence import Evidence
from trustml.measures.membership import attacked
from trustml.record.exports import EXPORTS, ExportRecord, members_answers
from trustml.record.files import encode_arrays, write_atomic

MODEL = "train.jax.Overfitted.s0"
RECORD = ExportRecord(
    model=MODEL, target="onnx", backend="torch", file="model.onnx", digest="", size=1, statement="",
    statement_kept=True, versions={}, explained=0, held_out=0, attributions="", first_call=0.0,
    attacked=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return copy_of("attacked", tmp_path_factory.mktemp("runs")).directory


def answers(run):
    train = run.arrays(run.job(MODEL).scores)["train_logits"]
    return train, run.arrays(f"jobs/{MODEL}/predictions.npz")["test_logits"]


def rows_of_file(run, train, test, *, record=RECORD):
    place = run.file(f"{EXPORTS}/{record.name}")
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / "export.json", msgspec.json.encode(record))
    write_atomic(place / "answers.npz", encode_arrays({"file.held_out_logits": test}))
    secret = run.file(members_answers(record.name))
    secret.parent.mkdir(exist_ok=True)
    write_atomic(secret, encode_arrays({"file.train_logits": train}))
    return {row.measure: row for row in deployed_attack_rows(Evidence(run))}


def test_a_file_that_answers_as_its_model_has_the_models_figures(run):
    rows = rows_of_file(run, *answers(run))
    auc, bound = rows["deployed_membership_auc"], rows["deployed_membership_auc_at_least"]
    outcomes = {one.attack: one for one in attacked(Evidence(run), run.job(MODEL), *answers(run))}
    assert auc.value == outcomes[auc.method].auc.value == auc.facts["model_auc"]
    assert (auc.low, auc.high) == (outcomes[auc.method].auc.low, outcomes[auc.method].auc.high)
    assert bound.value == bound.facts["model_at_least"] and bound.facts["attacks"] == len(outcomes)
    assert auc.subject == "onnx" and auc.job == MODEL and auc.n == sum(map(len, answers(run)))


def audited(run, monkeypatch, *rows):
    """What the audit of the run says of files, where these are all its rows."""
    monkeypatch.setattr(run_audit, "rows_of", lambda table: list(rows))
    return [finding for finding in run_audit.audit_run(run).findings if finding.check == "deployed"]


def test_a_file_that_remembers_is_told(run, monkeypatch):
    train, test = answers(run)
    sure = np.zeros_like(train)
    sure[np.arange(len(sure)), run.arrays("private/data.npz")["train_labels"]] = 50.0
    rows = rows_of_file(run, sure, test)
    assert rows["deployed_membership_auc"].value > 0.95 > rows["deployed_membership_auc"].facts["model_auc"]
    assert rows["deployed_membership_auc_at_least"].verdict == "above guessing"
    (finding,) = audited(run, monkeypatch, *rows.values())
    assert (finding.severity, finding.subject, finding.rule) == ("risk", MODEL, "deployed.membership")
    assert "as onnx: the file tells members from non-members" in finding.title
    assert [one.measure for one in finding.measured] == list(rows)
    assert f"{finding.measured[0].value:.3f}" in finding.title
    bound = msgspec.structs.replace(rows["deployed_membership_auc_at_least"], verdict="not above guessing")
    (finding,) = audited(run, monkeypatch, rows["deployed_membership_auc"], bound)
    assert finding.severity == "pass" and "none of" in finding.title and finding.measured and finding.would_change


def test_without_the_secret_answers_there_is_no_figure_and_without_the_question_no_row(run, monkeypatch):
    assert not rows_of_file(run, *answers(run), record=msgspec.structs.replace(RECORD, attacked=False))
    rows_of_file(run, *answers(run))
    run.file(members_answers(RECORD.name)).unlink()
    (row,) = deployed_attack_rows(Evidence(run))
    assert row.value is None and row.facts["not_at_hand"] is True
    (finding,) = audited(run, monkeypatch, row)
    assert finding.severity == "not checked" and "not at hand" in finding.title and finding.would_change
