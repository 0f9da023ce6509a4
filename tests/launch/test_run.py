"""Whole runs of a tiny scenario: every framework, failures, interruption, resume."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

import trustml
from tests import WHOLE
from tests.conftest import measured_once
from tests.records import copy_of, unasked_second_opinion
from tests.records.make import DENSE, FRAMEWORKS
from trustml.errors import PrivacyError, RecordError, UsageError
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import read_ledger
from trustml.record.files import sha256
from trustml.scenario.methods import Saliency
from trustml.scenario.read import to_plain
from trustml.scenario.spec import Explanations, Probes

pytestmark = [pytest.mark.timeout(600)]


def with_backends(scenario, *backends, **changes):
    return msgspec.structs.replace(scenario, backends=backends, **changes)


@pytest.fixture(scope="module")
def everything(tiny, tmp_path_factory):
    """One finished run in all three frameworks; in short of a small network, not federated and not explained."""
    events: list[dict] = []
    scenario = tiny
    if not WHOLE:
        scenario = msgspec.structs.replace(
            tiny, training=tiny.training[:2], model=FRAMEWORKS.model, explanations=Explanations(methods=())
        )
    with contextlib.nullcontext() if WHOLE else unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path_factory.mktemp("runs"), listener=events.append)
    return run, events


@pytest.fixture(scope="module")
def explained(everything, tmp_path_factory):
    """It, or in short a stored run as the present code measures it: starting each library anew takes the time."""
    return everything[0] if WHOLE else measured_once(tmp_path_factory, "frameworks")


@pytest.mark.tensorflow
def test_a_run_fills_every_cell(everything):
    run, events = everything
    assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]
    trained = {(r.backend, r.regime) for r in run.manifest.jobs if r.kind == "train"}
    regimes = ("Plain", "DPSGD", "FedAvg") if WHOLE else ("Plain", "DPSGD")
    assert trained == {(backend, regime) for backend in ("torch", "jax", "tensorflow") for regime in regimes}
    assert not run.manifest.skips
    if WHOLE:
        explained = {r.id for r in run.manifest.jobs if r.kind == "explain"}
        assert {f"explain.{b}.of.torch.Plain.s0" for b in ("torch", "jax", "tensorflow")} <= explained
    assert events[-1] == {"event": "done", "run": run.id, "path": str(run.path), "status": "success"}


@pytest.mark.tensorflow
def test_the_table_has_every_measure(everything, explained):
    trained = everything[0].measures()
    assert {"accuracy", "epsilon", "step_time_first"} <= set(trained[trained.value.notna()].measure)
    table = explained.measures()
    present = set(table[table.value.notna()].measure)
    assert present >= {
        "accuracy", "epsilon", "epsilon_all_releases", "attribution_completeness_error",
        "attribution_agreement_spearman", "attribution_agreement_feature", "attribution_max_abs_difference",
        "deletion_auc", "infidelity", "road",
        "logit_relative_difference", "step_time_median", "step_time_first", "examples_per_second", "peak_memory",
    }  # fmt: skip
    assert table.query("measure == 'logit_relative_difference'").value.max() < 1e-5
    same = table[(table.subject == "captum ~ trustml-jax") & (table.measure == "attribution_max_abs_difference")]
    assert len(same) and same.value.max() < 1e-4
    raw = table[(table.subject == "captum ~ tf-explain") & (table.measure == "attribution_max_abs_difference")]
    assert len(raw) and raw.note.str.contains("factor").all()


@pytest.mark.tensorflow
def test_the_same_start_gives_the_same_weights_after_training(everything):
    run, _ = everything
    plain = [run.weights(f"train.{backend}.Plain.s0") for backend in ("torch", "jax", "tensorflow")]
    for other in plain[1:]:
        for name in plain[0]:
            # Six steps of float32 sums in another order.
            assert np.abs(plain[0][name] - other[name]).max() < 1e-4, name


@pytest.mark.tensorflow
def test_artifacts_are_what_the_manifest_says(everything):
    run, _ = everything
    for record in run.manifest.jobs:
        assert record.artifacts
        for name, expected in record.artifacts.items():
            assert sha256(run.path / "jobs" / record.id / name) == expected
    for name, expected in run.manifest.artifacts.items():
        assert sha256(run.path / name) == expected


@pytest.mark.tensorflow
def test_secrets_stay_in_private(everything):
    run, _ = everything
    private = run.path / "private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    with np.load(private / "plans" / "DPSGD.s0.npz") as plan:
        secret = ",".join(map(str, plan["indices"][:12]))
    for path in run.path.rglob("*"):
        if path.is_file() and private not in path.parents:
            assert secret not in path.read_bytes().decode("utf-8", errors="ignore").replace(" ", "").replace("\n", "")
            assert path.name != "data.npz"
            assert not (path.name == "timings.npz" and "DPSGD" in path.parent.name), "sizes of secret batches"
    for path in private.rglob("*.npz"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.tensorflow
def test_no_process_of_the_run_is_left(everything):
    _, events = everything
    for event in events:
        if event["event"] == "job-start":
            left = [p for p in psutil.process_iter(["pid"]) if _group(p.pid) == event["pid"]]
            assert not left, left


@pytest.mark.tensorflow
def test_the_ledger_was_charged_for_every_step(everything):
    run, _ = everything
    for backend in ("torch", "jax", "tensorflow"):
        folder = run.path / "jobs" / f"train.{backend}.DPSGD.s0"
        charges = read_ledger(folder / "ledger.jsonl")
        with np.load(run.path / "private" / "timings" / f"train.{backend}.DPSGD.s0.npz") as timings:
            steps = len(timings["seconds"])
        assert sum(charge.steps for charge in charges) == steps
        assert {charge.secret_sampling for charge in charges} == {True}
    rows = run.measures().query("measure == 'epsilon'")
    assert set(rows.value) == {epsilon_of(charges, delta=1e-5).value}
    for word in ("delta=1e-05", "unit: example", "add or remove one", "Poisson, secret", "PLD"):
        assert rows.note.str.contains(word, regex=False).all()


@pytest.mark.long
def test_without_tensorflow_a_run_is_partial_and_names_the_repair(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTML_ENV_TENSORFLOW", str(tmp_path / "nowhere"))
    scenario = msgspec.structs.replace(tiny, training=tiny.training[:1])
    run = trustml.run(scenario, out=tmp_path)
    assert run.status == "partial"
    by_backend = {r.backend: r for r in run.manifest.jobs if r.kind == "train"}
    assert by_backend["torch"].status == by_backend["jax"].status == "ok"
    assert "trustml setup tensorflow" in by_backend["tensorflow"].reason
    table = run.measures().query("measure == 'accuracy'").set_index("backend")
    assert table.value[["torch", "jax"]].notna().all()
    assert "trustml setup tensorflow" in table.note["tensorflow"]


@pytest.mark.long  # in short tests/worker/test_kill.py kills workers, and test_left_behind.py whole runs
@pytest.mark.parametrize("backends", [("jax",), ("torch", "jax")])
def test_a_killed_worker_leaves_the_others_whole_and_resume_does_what_is_missing(tiny, tmp_path, backends):
    name = backends[0]
    private, explained = f"train.{name}.DPSGD.s0", f"explain.{name}.of.{name}.DPSGD.s0"
    killed: list[int] = []

    def kill_the_first_private_worker(event):
        if event["event"] == "step" and event["job"] == private and not killed:
            killed.append(started[event["job"]])
            os.kill(killed[0], signal.SIGKILL)
        if event["event"] == "job-start":
            started[event["job"]] = event["pid"]

    started: dict[str, int] = {}
    long = msgspec.structs.replace(tiny.training[1], epochs=150)
    little = Explanations(
        methods=(Saliency(),), examples=2, scope="own", timing=False, probes=Probes(faithfulness=False)
    )
    explanations = tiny.explanations if WHOLE else little
    scenario = with_backends(tiny, *backends, training=(tiny.training[0], long), model=DENSE, explanations=explanations)
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path, listener=kill_the_first_private_worker)
    records = {r.id: r for r in run.manifest.jobs}
    assert run.status == "partial"
    assert records[private].status == "signal"
    assert records[explained].status == "blocked"
    assert {records[job].status for job in records if job not in (private, explained)} == {"ok"}
    kept = {r.id: r.artifacts for r in run.manifest.jobs if r.status == "ok"}
    first = read_ledger(run.path / "jobs" / private / "ledger.jsonl")
    assert first, "charged before the step could be seen"

    again: list[dict[str, Any]] = []
    with unasked_second_opinion():
        resumed = trustml.resume(run.path, listener=again.append)
    assert resumed.status == "success"
    assert {event["job"] for event in again if event["event"] == "job-start"} == {private, explained}
    assert (again[0]["event"], again[0]["finished"], again[0]["jobs"]) == ("run", len(kept), len(records))
    for record in resumed.manifest.jobs:
        if record.id in kept:
            assert record.artifacts == kept[record.id]
    charges = read_ledger(run.path / "jobs" / private / "ledger.jsonl")
    assert charges[: len(first)] == first, "nothing is taken back"
    second = [charge for charge in charges if charge.attempt == 2]
    assert second and {c.plan for c in second}.isdisjoint({c.plan for c in first}), "batches are never used again"
    value = resumed.measures().query(f"measure == 'epsilon' and backend == '{name}'").value.iloc[0]
    assert value == epsilon_of(charges, delta=1e-5).value > epsilon_of(second, delta=1e-5).value


def test_resume_refuses_a_changed_artifact(tmp_path):
    run = copy_of("private", tmp_path)
    path = run.path / "jobs/train.jax.Plain.s0/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match=r"weights\.safetensors"):
        trustml.resume(run.path)


@pytest.mark.long
def test_a_spent_budget_is_not_spent_again_unless_the_user_says_so(tiny, tmp_path):
    target = msgspec.structs.replace(tiny.training[1], noise_multiplier=None, epsilon=8.0)
    run = trustml.run(with_backends(tiny, "jax", training=(target,)), out=tmp_path)
    assert run.status == "success"
    manifest = run.manifest
    lost = tuple(msgspec.structs.replace(r, status="signal", reason="lost") for r in manifest.jobs)
    run._directory.write_manifest(msgspec.structs.replace(manifest, jobs=lost, status="partial"))
    with pytest.raises(PrivacyError, match="--allow-overrun"):
        trustml.resume(run.path)
    again = trustml.resume(run.path, allow_overrun=True)
    assert again.measures().query("measure == 'epsilon'").value.iloc[0] > 8.0


def test_the_api_gives_arrays_and_says_what_is_wrong(explained):
    run = explained
    found = run.attributions("train.torch.Plain.s0", backend="jax", variant="common")
    assert found.shape == (12, 8, 8, 1) and np.isfinite(found).all()
    with pytest.raises(UsageError, match="choose among"):
        run.attributions("train.torch.Plain.s0", backend="torch", variant="completed")
    with pytest.raises(UsageError, match="no job"):
        run.weights("train.torch.Nothing.s0")
    assert trustml.load(run.path).id == run.id


@pytest.mark.long  # in short test_left_behind.py interrupts, and tests/cli/test_detached.py cancels
def test_interruption_stops_workers_and_keeps_what_is_finished(tiny, tmp_path):
    long = msgspec.structs.replace(tiny.training[0], name="Long", epochs=2000)
    scenario = to_plain(with_backends(tiny, "jax", training=(tiny.training[0], long), model=DENSE))
    path = tmp_path / "long.py"
    path.write_text(f"from trustml.scenario.read import from_plain\nscenario = from_plain({scenario!r})\n")
    worker = 0
    with subprocess.Popen(_run_command(path, tmp_path), **_PIPES) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "job-start" and "Long" in event["job"]:
                worker = event["pid"]
            if event["event"] == "step" and "Long" in event["job"]:
                process.send_signal(signal.SIGINT)
                break
        rest = [json.loads(line) for line in process.stdout]
        assert process.wait(timeout=60) == 130
    assert rest[-1]["event"] == "done" and rest[-1]["status"] == "interrupted"
    time.sleep(0.2)
    assert not psutil.pid_exists(worker)
    run = trustml.load(Path(rest[-1]["path"]))
    assert run.status == "interrupted"
    statuses = {r.id: r.status for r in run.manifest.jobs}
    assert statuses["train.jax.Plain.s0"] == "ok" and statuses["train.jax.Long.s0"] == "interrupted"


@pytest.mark.long  # in short test_left_behind.py kills a run, looks for its worker, and goes on with it
def test_workers_end_when_their_parent_is_killed(tiny, tmp_path):
    long = msgspec.structs.replace(tiny.training[0], epochs=2000)
    path = tmp_path / "long.py"
    scenario = to_plain(with_backends(tiny, "jax", training=(long,), model=DENSE))
    path.write_text(f"from trustml.scenario.read import from_plain\nscenario = from_plain({scenario!r})\n")
    with subprocess.Popen(_run_command(path, tmp_path), **_PIPES) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "job-start":
                worker = event["pid"]
            if event["event"] == "step":
                process.kill()
                break
    deadline = time.monotonic() + 15
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)


def test_one_run_is_executed_by_one_process_at_a_time(tmp_path):
    run = copy_of("private", tmp_path)
    assert not run._directory.is_executed()
    with run._directory.lock():
        assert run._directory.is_executed()
        with pytest.raises(UsageError, match="another process"):
            trustml.resume(run.path)


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.long)])
def test_dropout_trains_on_a_single_backend(tiny, tmp_path, backend):
    from trustml.models.layers import Architecture, Dense, Dropout, Flatten, ReLU

    layers = (Flatten(), Dense(units=32), ReLU(), Dropout(rate=0.5), Dense(units=10))
    explanations = tiny.explanations if WHOLE else Explanations(methods=())
    training = tiny.training[:2] if WHOLE else tiny.training[1:2]
    scenario = with_backends(
        tiny, backend, training=training, model=Architecture(layers=layers), explanations=explanations
    )
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path)
    assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs]


_PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}


def _run_command(scenario: Path, folder: Path) -> list[str]:
    return [sys.executable, "-m", "trustml.cli", "run", str(scenario), "--runs", str(folder / "runs"), "--json"]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
