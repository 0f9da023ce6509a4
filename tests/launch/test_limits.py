"""A run that met a limit goes on under another one; nothing that could change a result changes on the way."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

import trustml
from tests.launch.test_baselines import SCENARIO
from tests.records import copy_of, unasked_second_opinion
from trustml.cli.main import _main
from trustml.errors import ScenarioError
from trustml.evidence.files import job_checks
from trustml.launch.resume import prepare_resume
from trustml.plan.job import digest

STOPPED = "train.jax.Plain.s0"


@pytest.fixture
def stopped(tmp_path) -> trustml.Run:
    """A run one of whose jobs took longer than it might."""
    run = copy_of("frameworks", tmp_path)
    jobs = tuple(
        replace(job, status="timeout", reason="took too long", result=None, artifacts={}) if job.id == STOPPED else job
        for job in run.manifest.jobs
    )
    run.directory.write_manifest(replace(run.manifest, jobs=jobs, status="partial"))
    return run


def test_the_limits_of_what_is_missing_change_and_are_recorded(stopped):
    before = {job.id: stopped.directory.job(job.id) for job in stopped.manifest.jobs}
    asked = ("execution.timeout=7200", "execution.parallel_jobs=2")
    manifest = prepare_resume(stopped.directory, allow_overrun=False, overrides=asked)
    assert manifest == stopped.directory.manifest()
    assert manifest.overrides[-2:] == asked
    assert manifest.scenario["execution"]["timeout"] == 7200 and manifest.scenario["execution"]["parallel_jobs"] == 2
    for record in manifest.jobs:
        job = stopped.directory.job(record.id)
        if record.id != STOPPED:
            assert job == before[record.id], "what is done stays as it was asked for"
        else:
            assert record.digest == digest(job)
    job = stopped.directory.job(STOPPED)
    assert replace(job, execution=before[STOPPED].execution) == before[STOPPED]
    assert job.execution == replace(before[STOPPED].execution, timeout=7200.0, parallel_jobs=2)
    problems = [check for check in job_checks(stopped.directory, manifest)[0] if check.outcome == "differs"]
    assert not [check for check in problems if "digest" in check.message]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("execution.threads=2", "execution.threads: cannot change when a run goes on"),
        ("execution.device=cuda", "execution.device: cannot change"),
        ("training.0.epochs=9", "training.0.epochs: cannot change"),
        ("execution.timeout=-1", "execution.timeout: -1 is not positive"),
        ("execution.memory_limit=much", "execution.memory_limit: expected `float`"),
        ("execution.parallel_jobs=0", "execution.parallel_jobs: 0 is not positive"),
    ],
)
def test_nothing_else_changes_and_what_is_wrong_leaves_the_run_as_it_was(stopped, override, words):
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    with pytest.raises(ScenarioError) as caught:
        prepare_resume(stopped.directory, allow_overrun=False, overrides=(override,))
    assert words in str(caught.value)
    assert {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()} == before


def test_the_command_says_what_may_be_set(stopped, capsys):
    assert _main(["run", "--resume", str(stopped.path), "--set", "seeds=[1]"]) == 2
    assert "execution.timeout, execution.memory_limit, execution.parallel_jobs" in capsys.readouterr().err
    assert _main(["run", "--resume", str(stopped.path), "--seeds", "2"]) == 2
    assert "leave SCENARIO" in capsys.readouterr().err


def test_a_run_of_which_nothing_is_done_has_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTML_ENV_JAX", str(tmp_path / "nowhere"))
    scenario = msgspec.structs.replace(SCENARIO, backends=("jax",))
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path / "runs")
    assert not [job for job in run.manifest.jobs if job.status == "ok"]
    assert run.status == "failed"
