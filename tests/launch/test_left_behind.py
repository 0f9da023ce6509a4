"""A run that is killed or fails leaves no worker behind, and its record never says less than its ledger."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

import trustml
from tests.records import unasked_second_opinion
from tests.records.make import DENSE
from trustml.errors import RecordError, UsageError
from trustml.launch.prepare import prepare_run
from trustml.launch.process import clean_environment
from trustml.launch.schedule import JobScheduler
from trustml.plan.switches import switch_variables
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import read_ledger
from trustml.processes import module_command
from trustml.record.store import RunDirectory
from trustml.scenario.read import to_plain

pytestmark = [pytest.mark.jax, pytest.mark.timeout(600)]
JOB = "train.jax.DPSGD.s0"


@pytest.fixture(autouse=True)
def _opacus_is_not_asked():
    with unasked_second_opinion():
        yield


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def private(tiny, *, epochs: int):
    regime = msgspec.structs.replace(tiny.training[1], epochs=epochs)
    explanations = msgspec.structs.replace(tiny.explanations, methods=())
    return msgspec.structs.replace(tiny, backends=("jax",), training=(regime,), explanations=explanations, model=DENSE)


def killed_at(folder: Path, scenario, *, seconds: float) -> tuple[Path, int]:
    """Start a run, kill its process so many seconds after its worker was started; give its path and the worker."""
    path = folder / "scenario.py"
    plain = to_plain(scenario)
    path.write_text(f"from trustml.scenario.read import from_plain\nscenario = from_plain({plain!r})\n")
    command = [sys.executable, "-m", "trustml.cli", "run", str(path), "--runs", str(folder / "runs"), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "run":
                run = Path(event["path"])
            if event["event"] == "job-start":
                time.sleep(seconds)
                process.kill()
                return run, event["pid"]
    raise AssertionError("the run ended by itself")


def check_nothing_is_left_and_resume(tiny, folder: Path, *, seconds: float) -> None:
    folder.mkdir(exist_ok=True)
    path, worker = killed_at(folder, private(tiny, epochs=60), seconds=seconds)
    deadline = time.monotonic() + 5
    while lives(worker) or RunDirectory(path).is_executed():
        assert time.monotonic() < deadline, f"the worker outlived a run that was killed after {seconds:.3f} s"
        time.sleep(0.01)
    run = trustml.resume(path, allow_overrun=True)
    charges = read_ledger(path / "jobs" / JOB / "ledger.jsonl")
    recorded = run.measures().query("measure == 'epsilon'").value.iloc[0]
    assert recorded == epsilon_of(charges, delta=1e-5).value == run.privacy()[0].epsilon


@pytest.mark.parametrize(
    "seconds", [*(pytest.param(seconds, marks=pytest.mark.long) for seconds in (0.0, 0.15, 0.4)), 2.5]
)
def test_a_run_that_is_killed_leaves_no_worker(tiny, tmp_path, seconds):
    check_nothing_is_left_and_resume(tiny, tmp_path, seconds=seconds)


@pytest.mark.long
def test_a_run_that_is_killed_at_any_moment_leaves_no_worker(tiny, tmp_path):
    for number in range(20):
        check_nothing_is_left_and_resume(tiny, tmp_path / str(number), seconds=random.uniform(0, 4))


def test_nobody_goes_on_with_a_run_while_a_worker_of_it_lives(tiny, tmp_path):
    directory = prepare_run(private(tiny, epochs=2), root=tmp_path)
    with directory.lock() as lock:
        command = [sys.executable, "-c", "import time; time.sleep(300)"]
        orphan = subprocess.Popen(command, pass_fds=(lock,), start_new_session=True)
    try:
        assert directory.is_executed()
        with pytest.raises(UsageError, match=rf"another process, number {orphan.pid}; .* `kill {orphan.pid}`"):
            trustml.resume(directory.path)
    finally:
        orphan.kill()
        orphan.wait()
    with directory.lock():
        pass


def test_every_worker_holds_the_lock_of_its_run(tiny, tmp_path):
    directory, seen = prepare_run(private(tiny, epochs=400), root=tmp_path), []

    class EnoughError(Exception):
        pass

    def listen(event):
        if event["event"] == "job-start":
            time.sleep(0.5)
            seen.extend(one.path for one in psutil.Process(event["pid"]).open_files())
            raise EnoughError

    with directory.lock() as lock, pytest.raises(EnoughError):
        JobScheduler(directory, listener=listen, lock=lock).execute()
    assert str(directory.path / ".lock") in seen


@contextmanager
def full_disk(monkeypatch) -> Iterator[None]:
    def refuse(run, manifest):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_manifest", refuse)
        yield


@pytest.mark.parametrize(
    "how",
    [
        ValueError("theirs"),
        pytest.param(SystemExit(3), marks=pytest.mark.long),
        pytest.param(GeneratorExit(), marks=pytest.mark.long),
        "full disk",
    ],
    ids=repr,
)
def test_whatever_is_raised_stops_the_workers(tiny, tmp_path, monkeypatch, how):
    directory, workers = prepare_run(private(tiny, epochs=4000), root=tmp_path), []
    expected = OSError if how == "full disk" else type(how)

    def listen(event):
        if event["event"] == "job-start":
            workers.append(event["pid"])
            assert lives(event["pid"])
            if how == "full disk":
                broken.__enter__()
                raise OSError(errno.ENOSPC, "No space left on device")
            raise how

    broken = full_disk(monkeypatch)
    try:
        with directory.lock() as lock, pytest.raises(expected):
            JobScheduler(directory, listener=listen, lock=lock).execute()
    finally:
        if how == "full disk":
            broken.__exit__(None, None, None)
    (worker,) = workers
    assert not psutil.pid_exists(worker), "it was left running, or left a zombie"
    assert not directory.is_executed()
    manifest = directory.manifest()
    assert directory.shown_status(manifest.status) == "interrupted"
    if how != "full disk":
        (record,) = manifest.jobs
        assert record.status == "interrupted" and type(how).__name__ in record.reason


def test_a_second_interruption_while_the_first_is_recorded_leaves_no_worker(tiny, tmp_path):
    directory, workers = prepare_run(private(tiny, epochs=4000), root=tmp_path), []

    def listen(event):
        if event["event"] == "job-start":
            workers.append(event["pid"])
        if event["event"].startswith("job-"):
            raise KeyboardInterrupt

    with directory.lock() as lock:
        schedule = JobScheduler(directory, listener=listen, lock=lock)
        with pytest.raises(KeyboardInterrupt):
            schedule.execute()
    assert workers and not any(psutil.pid_exists(worker) for worker in workers)


def test_a_lock_that_is_a_link_is_refused_and_nothing_is_made_elsewhere(tiny, tmp_path):
    directory = prepare_run(private(tiny, epochs=2), root=tmp_path / "runs")
    (directory.path / ".lock").unlink(missing_ok=True)  # of planning
    (directory.path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="plain file"), directory.lock():
        pass
    assert not (tmp_path / "elsewhere").exists()
    (directory.path / ".lock").unlink()
    os.mkfifo(directory.path / ".lock")
    with pytest.raises(RecordError, match="plain file"), directory.lock():
        pass
    assert not directory.is_executed()


def test_a_model_that_was_finished_is_not_trained_again_if_its_run_was_killed_before_it_knew(tiny, tmp_path):
    directory = prepare_run(private(tiny, epochs=2), root=tmp_path)
    folder = directory.job_folder(JOB)
    command = module_command(Path(sys.executable), "trustml.worker", str(folder))
    environment = clean_environment() | switch_variables(directory.job(JOB).execution)
    subprocess.run(command.arguments, pass_fds=command.inherited, env=environment, check=True)  # nobody records its end
    weights, ledger = ((folder / name).read_bytes() for name in ("weights.safetensors", "ledger.jsonl"))
    run = trustml.resume(directory.path)
    assert run.status == "success", [(record.id, record.reason) for record in run.manifest.jobs]
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert (folder / "ledger.jsonl").read_bytes() == ledger, "its steps are charged once"
    assert not any((directory.path / "private" / "checkpoints").iterdir()), "kept no longer than it is needed"


def test_a_run_whose_process_is_gone_is_shown_as_interrupted_with_its_jobs(tiny, tmp_path):
    directory = prepare_run(private(tiny, epochs=2), root=tmp_path)
    manifest = directory.manifest()
    (record,) = manifest.jobs
    running = msgspec.structs.replace(record, status="running")
    directory.write_manifest(msgspec.structs.replace(manifest, status="running", jobs=(running,)))
    with directory.lock():
        shown = trustml.load(directory.path).manifest
        assert (shown.status, shown.jobs[0].status) == ("running", "running")
    shown = trustml.load(directory.path).manifest
    assert (shown.status, shown.jobs[0].status) == ("interrupted", "interrupted")
    assert "trustml run --resume" in shown.jobs[0].reason
    assert directory.manifest().status == "running", "what is on disk is left alone"


def test_a_run_on_a_disk_that_cannot_be_written_is_told_what_to_do(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with pytest.raises(RecordError, match=r"Read-only file system.*copy the run to where you may write"):
            RunDirectory(tmp_path).lock().__enter__()
