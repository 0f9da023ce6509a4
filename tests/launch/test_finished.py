"""A plain job that was done before is taken over: only the same, only what was seen to end here, no private one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

import trustml
from tests.records import copy_of
from trustml.launch import finished, schedule
from trustml.launch.finished import FinishedJobs, installed, may_be_taken_over, revision
from trustml.launch.schedule import JobScheduler
from trustml.measures.evidence import Evidence
from trustml.measures.speed import speed_rows
from trustml.models.zoo import small_cnn
from trustml.plan.job import encode_job
from trustml.record.files import arrays_digest, encode_arrays
from trustml.record.schema import JobRecord
from trustml.scenario.attacks import AttributeInference
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Scenario

TRAIN, EXPLAIN = "train.jax.Plain.s0", "explain.jax.of.jax.Plain.s0"
PYTHON = Path(sys.executable)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A finished run, and one of the same scenario of which nothing is done."""
    monkeypatch.setenv("TRUSTML_INDEX", str(tmp_path / "index"))
    monkeypatch.setattr(finished, "source_revision", lambda: {"commit": "c", "changed_files": "0"})
    monkeypatch.setattr(finished, "hardware", lambda: {"processor": "p"})
    monkeypatch.setattr(
        finished, "find_environment", lambda backend: SimpleNamespace(require=lambda: PYTHON, variables={})
    )
    first = copy_of("study", tmp_path / "runs")
    first.path.rename(tmp_path / "runs" / "first")
    second = copy_of("study", tmp_path / "runs")
    for job in second.manifest.jobs:
        for file in second.directory.job_folder(job.id).iterdir():
            if file.name != "job.json":
                file.unlink()
    waiting = tuple(
        JobRecord(
            **{name: getattr(job, name) for name in ("id", "backend", "kind", "regime", "seed", "digest", "subject")}
        )
        for job in second.manifest.jobs
    )
    second.directory.write_manifest(replace(second.manifest, jobs=waiting, status="running"))
    first = trustml.load(tmp_path / "runs" / "first")
    offer(first, TRAIN)
    return first, second


def record_of(run, name):
    return next(one for one in run.manifest.jobs if one.id == name)


def offer(run, *names):
    for name in names:
        FinishedJobs(run.directory).offer(run.directory.job(name), record_of(run, name))


def taken(run, name=TRAIN, job=None):
    return FinishedJobs(run.directory).take_over(job or run.directory.job(name), record_of(run, name))


def files_of(run, name=TRAIN):
    return {path.name: path.read_bytes() for path in run.directory.job_folder(name).iterdir()}


def test_the_same_job_is_taken_over_with_its_files_and_says_whence(runs):
    first, second = runs
    found = taken(second)
    assert (found.status, found.reused_from, found.attempt) == ("ok", "first", 1)
    assert found.seconds == record_of(first, TRAIN).seconds and found.result == record_of(first, TRAIN).result
    assert files_of(second) == files_of(first)
    for name in ("weights.safetensors", "result.json"):
        assert not os.path.samefile(*(run.directory.job_folder(TRAIN) / name for run in runs)), name
    offer(first, EXPLAIN)
    assert taken(second, EXPLAIN).reused_from == "first", "the same weights, examples and baselines"

    second.directory.write_manifest(replace(second.manifest, jobs=(found,)))
    notes = {row.measure: row.note for row in speed_rows(Evidence(second.directory))}
    for measure in ("step_time_first", "step_time_median", "examples_per_second", "peak_memory"):
        assert "measured in run first, whose job was taken over" in notes[measure]


def test_limits_make_no_other_job_and_all_else_does(runs, monkeypatch):
    _, second = runs
    job = second.directory.job(TRAIN)
    limits = {"timeout": 7.0, "memory_limit": 3.0, "parallel_jobs": 2}
    assert taken(second, job=replace(job, execution=replace(job.execution, **limits))) is not None
    for other in (
        replace(job, seed=5),
        replace(job, data_fingerprint="0" * 64),
        replace(job, regime=replace(job.regime, epochs=99)),
        replace(job, execution=replace(job.execution, threads=job.execution.threads + 1)),
    ):
        assert taken(second, job=other) is None
    for name, other in (
        ("hardware", lambda: {"processor": "another"}),
        ("source_revision", lambda: {"commit": "d", "changed_files": "0"}),
        ("source_revision", lambda: {"commit": "c", "changed_files": "1"}),
        ("version", lambda _: "9"),
        ("installed", lambda *_: "other libraries"),
        ("installed", lambda *_: None),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(finished, name, other)
            assert taken(second) is None, name
    assert taken(second) is not None
    plan = second.directory.file(job.plan)
    arrays = second.directory.arrays(job.plan)
    for change in ("indices", "weights"):
        if change == "indices":
            arrays["indices"] = arrays["indices"][::-1].copy()
            plan.write_bytes(encode_arrays(arrays))
            assert arrays_digest(second.directory.arrays(job.plan).items())
        else:
            start = second.directory.file(job.initial_weights)
            start.write_bytes(start.read_bytes()[:-1] + b"\x01")
        assert taken(second) is None, change


def test_files_that_are_not_what_the_job_wrote_are_not_taken(runs):
    first, second = runs
    for harm in ("changed", "gone", "a link"):
        weights = first.directory.job_folder(TRAIN) / "weights.safetensors"
        content = weights.read_bytes()
        weights.unlink()
        if harm == "changed":
            weights.write_bytes(content[:-1] + b"\x01")
        elif harm == "a link":
            weights.with_name("other").write_bytes(content)
            weights.symlink_to("other")
        assert taken(second) is None
        assert list(files_of(second)) == ["job.json"]
        weights.unlink(missing_ok=True)
        weights.write_bytes(content)
    result = first.directory.job_folder(TRAIN) / "result.json"
    written = result.read_bytes()
    result.write_text('{"library": "edited"}')
    assert taken(second) is not None
    assert files_of(second)["result.json"] == written, "it is what was seen to end, whatever became of that file"


def test_what_nobody_saw_end_here_is_not_believed(runs, tmp_path, monkeypatch):
    _, second = runs
    monkeypatch.setenv("TRUSTML_INDEX", str(tmp_path / "another user's"))
    assert taken(second) is None, "the finished run lies in the folder, and nothing vouches for it"
    monkeypatch.setenv("TRUSTML_INDEX", str(tmp_path / "index"))
    (entry,) = (tmp_path / "index").rglob("*.json")
    for place in (tmp_path / "index", entry.parent, entry):
        usual = place.stat().st_mode
        place.chmod(0o777)
        assert taken(second) is None, place
        place.chmod(usual)
    assert taken(second) is not None
    entry.write_text("{")
    assert taken(second) is None


def test_variables_by_which_libraries_compute_another_way_make_another_job(runs, monkeypatch):
    _, second = runs
    known = installed(PYTHON, os.environ)
    monkeypatch.setattr(finished, "installed", lambda *_: known)
    for name in ("XLA_FLAGS", "JAX_ENABLE_X64", "TF_ENABLE_ONEDNN_OPTS", "OMP_DYNAMIC", "LD_PRELOAD"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "--xla_cpu_enable_fast_math=true" if name == "XLA_FLAGS" else "7")
            assert taken(second) is None, name
    monkeypatch.setenv("TRUSTML_DATA", "elsewhere")
    assert taken(second) is not None


def test_an_interpreter_says_itself_what_it_has(monkeypatch):
    """Wherever its packages lie: Debian's are in dist-packages."""
    asked = []
    run = subprocess.run

    def told(command, **facts):
        asked.append(command)
        return SimpleNamespace(stdout=answer) if answer is not None else run(command, **facts)

    monkeypatch.setattr(finished.subprocess, "run", told)
    monkeypatch.setattr(finished, "_known", {})
    answer = None
    first = installed(PYTHON, {})
    assert first and installed(PYTHON, {}) == first and len(asked) == 1
    url = '{"dir_info": {"editable": true}}'
    for found, usable in (
        ([], False),
        ([["numpy", "1", ""], ["trustml", "1", url]], True),
        ([["numpy", "1", url]], False),
    ):
        finished._known.clear()
        answer = json.dumps(["3.11", found, []])
        told_now = installed(PYTHON, {})
        assert (told_now is not None) == usable and told_now != first
    finished._known.clear()
    answer = "nonsense"
    assert installed(PYTHON, {}) is None


def test_code_of_no_version_takes_nothing_over(monkeypatch):
    monkeypatch.setattr(finished, "source_revision", lambda: {})
    here = Path(finished.__file__).parents[2]
    for place, files, known in ((here, "trustml/a.py,sha256=x,1", True), (here, None, False), (here / "b", "x", False)):
        wheel = SimpleNamespace(read_text=lambda _, files=files: files, locate_file=lambda name, at=place: at / name)
        monkeypatch.setattr(finished, "distribution", lambda _, wheel=wheel: wheel)
        assert (revision() is not None) == known
    for source in ({"commit": "c"}, {"commit": "c", "changed_files": "1"}):  # git could not say, or said it
        monkeypatch.setattr(finished, "source_revision", lambda source=source: source)
        assert revision() is None


def test_whatever_attacks_ask_of_a_training_is_not_taken_over(runs):
    job = runs[0].directory.job(TRAIN)
    assert may_be_taken_over(job)
    for asked in (
        {"scores": "private/a.npz"},
        {"extracted": "private/a.npz"},
        {"attributes": AttributeInference(columns=("age",))},
        {"attributed": "private/a.npz"},
    ):
        assert not may_be_taken_over(replace(job, **asked)), asked


def test_private_attacked_stopped_and_federated_jobs_are_never_taken_over():
    from tests.records import RUNS
    from trustml.record.store import list_runs

    seen = {}
    for run in list_runs(RUNS):
        for record in run.manifest().jobs:
            job = run.job(record.id)
            seen.setdefault((run.path.name.split("-")[0], record.kind, record.regime), set()).add(
                may_be_taken_over(job)
            )
    wanted = {key for key, may in seen.items() if may == {True}}
    assert ("study", "train", "Plain") in wanted and ("frameworks", "train", "Plain") in wanted
    for name, kind, regime in wanted:
        assert kind == "explain" or (kind == "train" and regime in ("Plain", "Random")), (name, kind, regime)
        assert name != "attacked"
    assert seen[("study", "train", "Stopped")] == {False}
    assert seen[("study", "train", "DPSGD")] == {False}


def test_a_run_takes_over_what_it_can_starts_the_rest_and_says_that_private_models_are_new(runs, monkeypatch):
    first, second = runs
    offer(first, *(job.id for job in first.manifest.jobs))
    kept = ("train.jax.Plain.s0", "train.jax.Plain.s1", "explain.jax.of.jax.Plain.s0", "train.jax.DPSGD.s0")
    jobs = tuple(record_of(second, name) for name in kept)
    second.directory.write_manifest(replace(second.manifest, jobs=jobs))
    started = []

    def start(work):
        started.append(work.job.id)
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule, "make_place", lambda place: SimpleNamespace(start=start))
    with second.directory.lock() as lock:
        manifest = JobScheduler(second.directory, listener=lambda event: None, lock=lock, reuse=True).execute()
    assert started == ["train.jax.DPSGD.s0"]
    assert {job.id: job.reused_from for job in manifest.jobs} == {
        name: "first" * (name not in started) for name in kept
    }
    assert any("each is a release of its own" in warning for warning in manifest.warnings)
    for job in manifest.jobs:
        if job.id not in started:
            assert second.directory.job(job.id) == first.directory.job(job.id)
            assert encode_job(second.directory.job(job.id))


@pytest.mark.long
def test_the_second_run_of_a_scenario_trains_its_private_model_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTML_INDEX", str(tmp_path / "index"))
    monkeypatch.setattr(finished, "source_revision", lambda: {"commit": "c", "changed_files": "0"})
    plain, private = Plain(epochs=1), DPSGD(epsilon=8.0, epochs=1)
    scenario = Scenario(name="s", data=Digits(), model=small_cnn(), training=(plain, private), backends=("jax",))
    first = trustml.run(scenario, out=tmp_path / "runs", reuse=True)
    again = trustml.run(scenario, out=tmp_path / "runs", reuse=True)
    assert (first.status, again.status) == ("success", "success")
    took = {job.id: job.reused_from for job in again.manifest.jobs}
    assert {name for name, run in took.items() if run == first.id} == {TRAIN, EXPLAIN}
    assert again.privacy()[0].epsilon <= 8.0
    assert not trustml.run(scenario, out=tmp_path / "elsewhere", reuse=True).manifest.jobs[0].reused_from
