"""Who executes a run, what is followed of it, and how it is ended: the other process is a real one that only waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.cli.test_cli import called
from tests.records import copy_of
from trustml.errors import UsageError
from trustml.record.running import EventTail, Runner, ask_to_end, executed_now, executing, follow, runner_of
from trustml.record.store import ALL_EVENTS, RunDirectory

_RUNNER = "private/runner.json"
_WAITS = """
import signal, sys, time
from pathlib import Path
from trustml.record.running import executing
from trustml.record.store import RunDirectory
run, asked = RunDirectory(Path(sys.argv[1])), []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
with run.lock(), executing(run):
    run.append_event({"event": "run", "run": run.path.name, "jobs": 2})
    run.append_event({"event": "job-start", "job": "a", "backend": "b", "pid": 1})
    run.append_event({"event": "stage", "job": "a", "stage": "training"})
    print("ready", flush=True)
    while not asked:
        time.sleep(0.01)
    time.sleep(0.4)  # stopping workers and measuring take a while
    run.append_event({"event": "done", "run": run.path.name, "status": "interrupted", "asked": len(asked)})
"""


@contextmanager
def executed(run: RunDirectory) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-c", _WAITS, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return as_running(copy_of("private", tmp_path / "runs").directory)


def as_running(run: RunDirectory) -> RunDirectory:
    run.write_manifest(msgspec.structs.replace(run.manifest(), status="running"))
    return run


def told(run: RunDirectory) -> list[dict]:
    return EventTail(run.file(ALL_EVENTS)).read()


def test_a_run_is_watched_and_ended_once_from_other_processes(run):
    """One process serves all these questions, as starting it is what takes time."""
    earlier = len(told(run))
    assert runner_of(run) is None and not ask_to_end(run)
    with executed(run) as process:
        runner = runner_of(run)
        assert runner is not None and runner.pid == process.pid
        content = run.file(_RUNNER).read_bytes()
        for wrong in (
            {"started": runner.started - 100},  # the number was given out again
            {"pid": os.getpid(), "started": psutil.Process().create_time() - psutil.boot_time()},  # has not the lock
            {"pid": 2**22 + 1},
            {"pid": -1},
        ):
            run.file(_RUNNER).write_bytes(msgspec.json.encode(msgspec.structs.replace(runner, **wrong)))
            assert runner_of(run) is None, wrong
            with pytest.raises(UsageError, match="no process says"):
                ask_to_end(run)
        for wrong, words in (({"host": "elsewhere"}, "cancel it there"), ({"interruptible": False}, "end it there")):
            run.file(_RUNNER).write_bytes(msgspec.json.encode(msgspec.structs.replace(runner, **wrong)))
            with pytest.raises(UsageError, match=words):
                ask_to_end(run)
        run.file(_RUNNER).write_bytes(content)
        boot = psutil.boot_time()
        with pytest.MonkeyPatch.context() as patch:  # a clock that is set back moves when the system says it began
            patch.setattr(psutil._psplatform, "boot_time", lambda: boot - 3600)
            assert psutil.boot_time() == boot - 3600 and runner_of(run) == runner

        now = executed_now(run)
        assert (now.pid, now.run, now.since) == (process.pid, run.path.name, runner.since)
        folder = run.path.parent
        assert run.path.name in called("jobs", "--runs", folder).stdout
        listened: list[dict] = []
        listener = threading.Thread(target=lambda: listened.extend(follow(run)))
        askers = [threading.Thread(target=ask_to_end, args=(run,)) for _ in range(2)]
        for thread in (listener, askers[0]):
            thread.start()
        time.sleep(0.15)
        askers[1].start()  # while the first waits
        for thread in (listener, *askers):
            thread.join(timeout=20)
            assert not thread.is_alive()
        assert process.wait(timeout=10) == 0
    assert [event["event"] for event in listened] == ["run", "job-start", "stage", "done"]
    assert listened[-1]["asked"] == 1, "a second cancel broke off what the first had left to do"
    assert len(told(run)) == earlier + 4
    assert not run.is_executed() and not run.file(_RUNNER).exists()
    assert [event["event"] for event in follow(run)] == ["run", "job-start", "stage", "done"]  # of the latest alone
    assert called("jobs", "--runs", folder).stdout == f"nothing runs in {folder}\n"
    done = called("cancel", run.path.name, "--runs", folder)
    assert (done.returncode, done.stdout) == (0, "") and "is not running" in done.stderr


def test_what_is_being_measured_is_waited_for(run):
    run.write_manifest(msgspec.structs.replace(run.manifest(), status="partial"))
    with executed(run) as process:
        with pytest.raises(UsageError, match="has not ended yet"):
            ask_to_end(run, patience=0.2)
        with pytest.raises(subprocess.TimeoutExpired):  # a signal would end it in 0.4 s
            process.wait(timeout=0.8)


def test_who_follows_a_run_that_is_killed_is_not_left_waiting(run):
    with executed(run) as process:
        found = []
        for event in follow(run):
            found.append(event["event"])
            if event["event"] == "stage":
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=10)
    assert found == ["run", "job-start", "stage"]
    assert run.file(_RUNNER).exists() and runner_of(run) is None, "what a killed process left is not believed"
    done = called("attach", run.path.name, "--runs", run.path.parent)
    assert "is gone" in done.stderr


def test_a_thread_that_executes_a_run_is_never_sent_a_signal(run):
    """Else cancelling a run that a server executes beside others ends the server."""
    found: list[Runner | None] = []

    def execute() -> None:
        with run.lock(), executing(run):
            found.append(runner_of(run))
            with pytest.raises(UsageError, match="end it there"):
                ask_to_end(run)

    thread = threading.Thread(target=execute)
    thread.start()
    thread.join()
    assert found[0] is not None and found[0].pid == os.getpid() and not found[0].interruptible


def test_a_tail_gives_whole_lines_once(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(b'{"event": "a"}\nnot json\n[1]\n{"event": ')
    assert tail.read() == [{"event": "a"}]
    with path.open("ab") as stream:
        stream.write(b'"b"}\n')
    assert tail.read() == [{"event": "b"}] and tail.read() == []
