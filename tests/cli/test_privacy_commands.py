"""Statement, ledger and conformance on the command line, and the errors of private scenarios."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import warnings

import pytest

from tests.cli.test_cli import assert_one_clear_line, called, trustml
from tests.conftest import measured_once
from trustml.worker import conformance


@pytest.fixture(scope="module")
def private_run(tmp_path_factory):
    return measured_once(tmp_path_factory, "private", second_opinion=True).path


def test_the_statement_as_text_and_as_json(private_run):
    done = called("show", private_run, "--privacy")
    assert done.returncode == 0, done.stderr
    for words in (
        "epsilon at most", "unit of privacy", "neighbouring relation", "sample rate", "accountant", "trust setting",
        "source of noise", "hyperparameter tuning", "epsilon_shuffle_lower", ">=", "epsilon_prv", "[  not met  ]",
        "[not checked]", "not covered by epsilon", "all releases together",
    ):  # fmt: skip
        assert words in done.stdout, words
    content = json.loads(called("show", private_run, "--privacy", "--json").stdout)
    (statement,) = content["privacy"]
    assert {"epsilon", "delta", "assumptions", "comparisons", "curve", "neighboring_relation"} <= set(statement)
    assert content["epsilon_all_releases"][0]["value"] == pytest.approx(statement["epsilon"])
    assert (private_run / "privacy.json").is_file()


def test_what_is_to_be_said_of_the_data_is_printed_wherever_epsilon_is(private_run, tmp_path):
    copy = tmp_path / private_run.name
    shutil.copytree(private_run, copy, ignore=shutil.ignore_patterns("private"))
    manifest = json.loads((copy / "manifest.json").read_bytes())
    note = "the categories of colour are taken from the data; no epsilon covers that"
    manifest["data"]["notes"] = [note]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for words in (("show", copy), ("show", copy, "--privacy"), ("compare", copy)):
        assert note in called(*words).stdout, words
        assert note in called(*words, "--json").stdout, words


def test_the_statement_lists_what_is_released(private_run):
    (statement,) = json.loads(called("show", private_run, "--privacy", "--json").stdout)["privacy"]
    coverage = {one["name"]: one["coverage"] for one in statement["releases"]}
    assert coverage["final weights"] == "epsilon" and coverage["held-out labels"] == "disclosed"
    assert coverage["times and memory"] == coverage["progress events"] == coverage["other models"] == "not covered"
    assert "explained inputs" not in coverage and "attributions" not in coverage
    text = called("show", private_run, "--privacy").stdout
    assert all(f"] {one['name']}: {one['why']}" in text for one in statement["releases"])


def test_the_table_has_every_epsilon(private_run):
    rows = json.loads(called("show", private_run, "--json").stdout)["measures"]
    found = {row["measure"]: row for row in rows if row["measure"].startswith("epsilon")}
    assert set(found) == {
        "epsilon", "epsilon_shuffle_lower", "epsilon_unamplified", "epsilon_all_releases", "epsilon_rdp", "epsilon_prv",
    }  # fmt: skip
    assert all("relation: " in row["note"] and "delta=" in row["note"] for row in found.values())
    assert "a lower bound (>=)" in found["epsilon_shuffle_lower"]["note"]
    assert found["epsilon"]["value"] < found["epsilon_rdp"]["value"] < found["epsilon_unamplified"]["value"]
    assert abs(found["epsilon_prv"]["value"] - found["epsilon"]["value"]) < 0.05


def test_the_ledger_is_shown_and_verified(private_run):
    shown = called("ledger", private_run)
    assert shown.returncode == 0 and "steps charged" in shown.stdout and "poisson, secret" in shown.stdout
    verified = called("ledger", private_run, "--verify", "--json")
    assert verified.returncode == 0, verified.stdout
    checks = json.loads(verified.stdout)["checks"]
    assert len(checks) == 5 and all(check["passed"] for check in checks)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"noise_multiplier":2.0', '"noise_multiplier":1.0', "epsilon from the ledger"),
        ('"data":"', '"data":"other', "other data"),
        ('"attempt":1', '"attemp":1', "damaged"),
    ],
)
def test_a_ledger_that_was_tampered_with_fails(private_run, tmp_path, before, after, words):
    copy = tmp_path / "run"
    shutil.copytree(private_run, copy)
    ledger = copy / "jobs/train.jax.DPSGD.s0/ledger.jsonl"
    text = ledger.read_text()
    assert before in text
    ledger.write_text(text.replace(before, after))
    done = called("ledger", copy, "--verify", "--json")
    if words == "damaged":
        assert done.returncode == 2 and "damaged" in done.stderr
        return
    assert done.returncode == 1
    failed = [check["message"] for check in json.loads(done.stdout)["checks"] if not check["passed"]]
    assert any(words in message for message in failed), failed
    assert any("changed after the job ended" in message for message in failed)


def test_a_ledger_with_a_charge_removed_fails(private_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(private_run, copy)
    ledger = copy / "jobs/train.jax.DPSGD.s0/ledger.jsonl"
    *lines, _ = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines))
    done = called("ledger", copy, "--verify", "--json")
    failed = [check["message"] for check in json.loads(done.stdout)["checks"] if not check["passed"]]
    assert done.returncode == 1 and any("steps charged for" in message for message in failed)


@pytest.fixture
def shorter(monkeypatch):
    """The suite in this process, with one network and one number of batches of three each.

    Its half of federations is asked of each backend by ``tests/conformance/test_federated.py``.
    """
    monkeypatch.setattr(conformance, "VARIANTS", {"cnn": conformance.VARIANTS["cnn"]})
    monkeypatch.setattr(conformance, "AWKWARD_SIZES", conformance.AWKWARD_SIZES[:1])
    monkeypatch.setattr(conformance, "check_federations", lambda name, backend: [])

    def run_here(module, *arguments, **_):
        assert module == conformance.__name__
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Opacus, as a process of its own would have them on stderr
            return "" if conformance.main([*arguments]) == 0 else "failed"

    monkeypatch.setattr("trustml.launch.conformance.run_module", run_here)


@pytest.mark.torch
def test_a_backend_passes_the_conformance_suite(shorter):
    done = called("conformance", "--json", "--backend", "torch")
    content = json.loads(done.stdout)
    assert [f for f in content["findings"] if not f["passed"]] == []
    assert done.returncode == 0 and content["passed"]
    subjects = {finding["subject"] for finding in content["findings"]}
    assert {"torch, cnn", "torch, 99 batches an epoch"} <= subjects
    assert sum(finding["subject"] == "torch, cnn" for finding in content["findings"]) > 8


@pytest.mark.long
@pytest.mark.timeout(1900)
@pytest.mark.tensorflow
def test_every_backend_passes_the_conformance_suite():
    """All three with ``make test-conformance``; else torch alone: the others take a minute or two each."""
    backends = ("torch", "jax", "tensorflow") if os.environ.get("TRUSTML_CONFORMANCE") else ("torch",)
    asked = (part for name in backends for part in ("--backend", name))
    done = trustml("conformance", "--json", *asked, timeout=1800)
    content = json.loads(done.stdout)
    assert [f for f in content["findings"] if not f["passed"]] == []
    assert done.returncode == 0 and content["passed"]
    subjects = {finding["subject"] for finding in content["findings"]}
    for backend in backends:
        assert {f"{backend}, cnn", f"{backend}, mlp", f"{backend}, 99 batches an epoch"} <= subjects
    assert {f"{one} ~ {other}" for one, other in itertools.combinations(backends, 2)} <= subjects
    assert len(content["findings"]) > 60 * len(backends)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.1.epsilon=1e-9", ("training.1.epsilon", "cannot be reached")),
        ("training.1.clipping_norm=0", ("training.1.clipping_norm", "above 0")),
        ("training.1.noise_multiplier=1", ("training.1", "both are given")),
        ("training.1.noise_multiplier=-1", ("training.1.noise_multiplier", "above 0")),
        ("training.1.steps=10", ("training.1.steps", "give one of the two")),
        ("training.1.clipping.kind=median", ("training.1.clipping", "median")),
        ("training.1.ema_decay=1.0", ("training.1.ema_decay", "0 < ema_decay < 1")),
        ("training.1.engine=stocks", ("training.1.engine", "stock")),
        ("training.1.schedule.decay=cubic", ("training.1.schedule.decay", "cosine")),
        ("training.1.optimizer.kind=AdamW", ("training.1.optimizer", "Adam")),
        ("model.layers.1.kind=BatchNorm", ("model.layers.1", "GroupNorm")),
        ("execution.micro_batch_size=-1", ("execution.micro_batch_size", "negative")),
        ("tuning={mean_runs=0.5}", ("tuning.mean_runs", "1 <= mean_runs <= 1000")),
    ],
)
def test_a_bad_private_scenario_is_one_clear_line(tmp_path, override, words):
    done = called("run", "digits", "--runs", tmp_path / "runs", "--set", override, "--backend", "jax")
    assert_one_clear_line(done, *words, folder=tmp_path)


def test_a_negative_noise_is_one_clear_line(tmp_path):
    sets = ("--set", "training.1.epsilon=none", "--set", "training.1.noise_multiplier=-0.5")
    done = called("run", "digits", "--runs", tmp_path / "runs", *sets, "--backend", "jax")
    assert_one_clear_line(done, "training.1.noise_multiplier", "-0.5", folder=tmp_path)
