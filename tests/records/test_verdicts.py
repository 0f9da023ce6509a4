"""Every way a verdict can come out, on stored runs that were changed so that it does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace

import trustml
from tests.conftest import measured_once
from tests.records import copy_of, unasked_second_opinion
from trustml.auditing.run_audit import audit_run
from trustml.cli.main import _main
from trustml.compare.rows import write_measures

MODEL = "train.jax.DPSGD.s0"
ALWAYS = {
    "batches were drawn as the accountant assumes": "met",
    "batches are secret": "met",
    "delta is below 1/n": "met",
    "every executed step was charged": "met",
    "clipping and noise are what they are said to be": "not checked",
    "the ledger is of this data": "met",
    "preprocessing uses no statistics of the private data": "met",
    "explanations show no training rows": "met",
    "hyperparameters were not chosen on this data": "not checked",
    "noise reaches as far as a normal distribution does": "met",
    "noise is cryptographic and exact in floating point": "not met",
}
OF_EXAMPLES = {"no layer mixes examples": "met", "one example is one person": "not checked"}
OF_USERS = {
    "clients weigh alike, and the divisor is no secret of theirs": "met",
    "one client is one person": "not met",
}
ALONE = "nothing else trained on this data is released"


@pytest.fixture
def private(tmp_path) -> trustml.Run:
    return copy_of("private", tmp_path)


def assumptions_of(run: trustml.Run) -> dict[str, dict[str, str]]:
    with unasked_second_opinion():
        write_measures(run.directory)
    return {found.model: {one.name: one.status for one in found.assumptions} for found in run.privacy()}


def ledger_of(run: trustml.Run) -> Path:
    return run.path / "jobs" / MODEL / "ledger.jsonl"


def test_what_a_guarantee_rests_on_beside_models_without_one_and_without_such(tmp_path):
    found = assumptions_of(copy_of("federated", tmp_path))
    assert found == {
        MODEL: {**ALWAYS, **OF_EXAMPLES, ALONE: "not met"},
        "train.jax.DPFedAvg.s0": {**ALWAYS, **OF_USERS, ALONE: "not met"},
    }
    alone = assumptions_of(copy_of("twice", tmp_path))
    assert alone == {f"train.jax.DPSGD.s{n}": {**ALWAYS, **OF_EXAMPLES, ALONE: "not checked"} for n in (0, 1)}


def test_a_declared_sweep_and_a_ledger_of_other_data_change_what_is_met(private):
    manifest = private.manifest
    tuned = {**manifest.scenario, "tuning": {"mean_runs": 5.0}}
    private.directory.write_manifest(replace(manifest, scenario=tuned))
    assert assumptions_of(private)[MODEL]["hyperparameters were not chosen on this data"] == "met"
    ledger_of(private).write_text(ledger_of(private).read_text().replace('"data":"', '"data":"other'))
    assert assumptions_of(private)[MODEL]["the ledger is of this data"] == "not met"


def test_what_was_chosen_from_the_data_is_not_met_and_listed_as_not_covered(private):
    manifest = private.manifest
    for chosen, preprocessing in ((["training", "model"], "met"), (["data.drop", "training"], "not met")):
        start = "/home/a/net.safetensors" if preprocessing == "met" else ""
        scenario = {**manifest.scenario, "chosen_from_data": chosen, "start": start}
        private.directory.write_manifest(replace(manifest, scenario=scenario))
        found = assumptions_of(private)[MODEL]
        assert found["hyperparameters were not chosen on this data"] == "not met"
        assert found["preprocessing uses no statistics of the private data"] == preprocessing
        (statement,) = private.privacy()
        assert any(one.startswith(f"choices of the scenario: {', '.join(chosen)}") for one in statement.not_covered)
        told = [one for one in statement.not_covered if one.startswith("starting weights: those of net.safetensors,")]
        assert found.get("what training starts from was made from other data") == ("not checked" if start else None)
        assert len(told) == bool(start), "the path is nobody's business"


def test_what_attacks_saw_is_not_checked_where_it_is_gone(tmp_path):
    run = copy_of("attacked", tmp_path)
    shutil.rmtree(run.path / "private")
    with unasked_second_opinion():
        write_measures(run.directory)
    severities: dict[str, set[str]] = {}
    for finding in audit_run(run.directory).findings:
        severities.setdefault(finding.check, set()).add(finding.severity)
    assert severities["membership"] == severities["mechanism"] == severities["canaries"] == {"not checked"}
    assert severities["accounting"] == {"pass", "note"}


def test_what_models_of_one_regime_come_to_together_is_a_note(tmp_path_factory):
    run = measured_once(tmp_path_factory, "attacked")
    pooled = [finding for finding in audit_run(run.directory).findings if finding.id.startswith("membership.pooled.")]
    assert {finding.severity for finding in pooled} == {"note"} and len(pooled) == 2
    (canaries,) = [finding for finding in audit_run(run.directory).findings if finding.check == "canaries"]
    assert canaries.severity == "pass"


def verified(run: trustml.Run, capsys) -> dict[str, bool]:
    """Messages of ``trustml ledger --verify``, and whether each is well."""
    capsys.readouterr()
    code = _main(["ledger", str(run.path), "--verify", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert code == (0 if all(check["passed"] for check in checks) else 1)
    return {check["message"]: check["passed"] for check in checks}


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("error", {"nothing was charged, and nothing is claimed": True}),
        ("ok", {"missing or empty, yet the job is done": False}),
    ],
)
def test_a_model_that_was_not_charged_passes_only_where_it_did_not_train(private, capsys, status, found):
    jobs = tuple(replace(job, status=status) if job.id == MODEL else job for job in private.manifest.jobs)
    private.directory.write_manifest(replace(private.manifest, jobs=jobs))
    ledger_of(private).unlink()
    table = pd.read_parquet(private.path / "measures.parquet")
    table[table.measure != "epsilon"].to_parquet(private.path / "measures.parquet", index=False)
    assert verified(private, capsys) == found


def test_an_epsilon_of_all_releases_that_does_not_follow_fails(private, capsys):
    assert all(verified(private, capsys).values())
    table = pd.read_parquet(private.path / "measures.parquet")
    table.loc[table.measure == "epsilon_all_releases", "value"] *= 0.9
    table.to_parquet(private.path / "measures.parquet", index=False)
    failed = [message for message, passed in verified(private, capsys).items() if not passed]
    assert len(failed) == 1 and failed[0].startswith("epsilon of all releases (all ledgers)")
