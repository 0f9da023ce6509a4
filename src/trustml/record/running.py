"""Who executes a run now, what it tells while it does, and how it is asked to end; all of it from other processes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from trustml.errors import UsageError
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic
from trustml.record.store import ALL_EVENTS, LOCK, RunDirectory

_RUNNER = "private/runner.json"
_ASKED = "private/asked_to_end.json"
_SAME_START = 2.0  # seconds
_LOOK_SECONDS = 0.1
_RECENT_BYTES = 1 << 18


class Runner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that executes a run.

    Attributes
    ----------
    pid : int
    started : float
        When the process began, in seconds since the machine did: a number that was given out again has another.
    host : str
    since : float
        When it began with this run.
    events_from : int
        Bytes of the private events that earlier executions told.
    interruptible : bool
        Whether Ctrl-C would reach the run: it is executed by the main thread of the process.
    """

    pid: int
    started: float
    host: str
    since: float
    events_from: int
    interruptible: bool


@contextmanager
def executing(run: RunDirectory) -> Iterator[None]:
    """Write down, as long as it does, that this process executes a run whose lock it holds."""
    runner = Runner(
        pid=os.getpid(),
        started=_started(psutil.Process()),
        host=socket.gethostname(),
        since=time.time(),
        events_from=_size(run.file(ALL_EVENTS)),
        interruptible=threading.current_thread() is threading.main_thread(),
    )
    run.file(_ASKED).unlink(missing_ok=True)
    write_atomic(run.file(_RUNNER), msgspec.json.encode(runner), private=True)
    try:
        yield
    finally:
        run.file(_RUNNER).unlink(missing_ok=True)


def runner_of(run: RunDirectory) -> Runner | None:
    """Tell which process executes a run; None if none does, or none that can be told of.

    A record may come from anywhere: only a process that has the lock of this run open is believed to execute it.
    """
    if not run.is_executed():
        return None
    try:
        runner = msgspec.json.decode(plain_bytes(run.file(_RUNNER)), type=Runner)
    except UNREADABLE:
        return None
    return runner if runner.host != socket.gethostname() or _holds_lock(runner, run) else None


def _started(process: psutil.Process) -> float:
    """When a process began, by a clock that nobody sets: both numbers move with the wall clock."""
    boot = psutil.boot_time()  # first: older psutils keep the last answer, and reckon by it
    return float(process.create_time() - boot)


def _holds_lock(runner: Runner, run: RunDirectory) -> bool:
    try:
        process = psutil.Process(runner.pid)
        if abs(_started(process) - runner.started) > _SAME_START:
            return False
        lock = os.stat(run.path / LOCK)
        opened = [one.path for one in process.open_files() if os.path.basename(one.path) == LOCK]
        return any(os.path.samestat(os.stat(path), lock) for path in opened)
    except (psutil.Error, OSError, ValueError):
        return False


def ask_to_end(run: RunDirectory, *, patience: float = 60.0) -> bool:
    """End the execution of a run as Ctrl-C would, once, and wait until it has ended.

    Parameters
    ----------
    run : RunDirectory
    patience : float
        Seconds to wait; the workers are stopped, and what is finished is measured.

    Returns
    -------
    bool
        Whether it was being executed.

    Raises
    ------
    UsageError
        If it cannot be ended from here, or has not ended in time.
    """
    runner = runner_of(run)
    if runner is None:
        if run.is_executed():
            raise UsageError(
                f"{run.path.name}: is in use, and no process says that it executes it; try again in a moment"
            )
        return False
    if runner.host != socket.gethostname():
        raise UsageError(f"{run.path.name}: is executed on {runner.host!r}; cancel it there")
    if not runner.interruptible:
        raise UsageError(
            f"{run.path.name}: is executed by a thread of process {runner.pid}, which has more to do; end it there"
        )
    # Jobs that have ended are being measured, which a signal would break off; so would a second one.
    if run.head().status == "running" and not _was_asked(run, runner):
        write_atomic(run.file(_ASKED), msgspec.json.encode(runner), private=True)
        with suppress(ProcessLookupError):
            os.kill(runner.pid, signal.SIGINT)
    deadline = time.monotonic() + patience
    while run.is_executed():
        if time.monotonic() > deadline:
            raise UsageError(f"{run.path.name}: has not ended yet; wait, or end it by `kill {runner.pid}`")
        time.sleep(_LOOK_SECONDS)
    run.file(_ASKED).unlink(missing_ok=True)
    return True


def _was_asked(run: RunDirectory, runner: Runner) -> bool:
    try:
        return msgspec.json.decode(plain_bytes(run.file(_ASKED)), type=Runner) == runner
    except UNREADABLE:
        return False


class EventTail:
    """Reads the whole lines that were added to a file of events since the last look.

    Parameters
    ----------
    path : Path
        It need not exist yet.
    offset : int
        Bytes of it that are not read.
    """

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self._path, self._offset = path, offset

    def read(self) -> list[dict[str, Any]]:
        """Give the events that are new; a line that cannot be read is left out."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                content = stream.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        events = []
        for line in whole.splitlines():
            try:
                event = msgspec.json.decode(line)
            except UNREADABLE:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events


def follow(run: RunDirectory) -> Iterator[dict[str, Any]]:
    """Give the events of the run's latest execution, from its first, until it has ended.

    The last one is ``done``, unless the process that executed it was killed.
    """
    runner = runner_of(run)
    tail = EventTail(run.file(ALL_EVENTS), offset=0 if runner is None else runner.events_from)
    latest = _latest_execution(tail.read()) if runner is None else []
    while True:
        alive = run.is_executed()  # before reading: what is told last is then not missed
        for event in (*latest, *tail.read()):
            yield event
            if event.get("event") == "done":
                return
        if not alive:
            return
        latest = []
        time.sleep(_LOOK_SECONDS)


def _latest_execution(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    starts = [at for at, event in enumerate(events) if event.get("event") == "run"]
    return events[starts[-1] :] if starts else []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class RunningJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job at work.

    Attributes
    ----------
    job : str
    step, steps : int, optional
        As it told last.
    left_on : str
        Node that works at it though its launcher is gone; it will end by itself.
    """

    job: str
    step: int | None = None
    steps: int | None = None
    left_on: str = ""


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is executed now.

    Attributes
    ----------
    run, path : str
    pid : int, optional
    since : float, optional
        When this execution began, seconds since 1970; None where the process does not say.
    jobs_done, jobs : int
    running : tuple of RunningJob
    """

    run: str
    path: str
    pid: int | None
    since: float | None
    jobs_done: int
    jobs: int
    running: tuple[RunningJob, ...]


def executed_now(run: RunDirectory) -> Executed:
    """Tell how far a run is that some process executes.

    Raises
    ------
    RecordError
    """
    runner, jobs = runner_of(run), run.manifest().jobs
    told: dict[str, RunningJob] = {}
    recent = max(0, _size(run.file(ALL_EVENTS)) - _RECENT_BYTES)
    for event in EventTail(run.file(ALL_EVENTS), offset=recent).read():
        job, step, steps = str(event.get("job", "")), event.get("step"), event.get("steps")
        if event.get("event") == "job-start":
            told.pop(job, None)
        elif event.get("event") == "step" and isinstance(step, int) and isinstance(steps, int):
            told[job] = RunningJob(job=job, step=step, steps=steps)
    return Executed(
        run=run.path.name,
        path=str(run.path),
        pid=None if runner is None else runner.pid,
        since=None if runner is None else runner.since,
        jobs_done=sum(job.status == "ok" for job in jobs),
        jobs=len(jobs),
        running=tuple(told.get(job.id, RunningJob(job=job.id)) for job in jobs if job.status == "running"),
    )
