"""One worker process: started in a session of its own, watched, ended as a group, and its end told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from trustml.plan.switches import ALLOCATOR_VARIABLES
from trustml.processes import module_command
from trustml.record.files import UNREADABLE
from trustml.record.schema import JobStatus, WorkerResult
from trustml.record.usage import Samples

_STDERR_LINES = 20
_WATCH_SECONDS = 0.2
_WATCH_SHARE = 0.01
"""Of a core: looking for a worker's children reads of all processes of the machine, which many make slow."""
_WATCH_SELDOM = 1.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a worker ended.

    Attributes
    ----------
    status : JobStatus
    reason : str
    seconds : float
    peak_memory : int
        Bytes.
    exit_code : int or None
    stderr_tail : tuple of str
    result : WorkerResult or None
    samples : tuple of (float, int, float)
        Seconds since the start, bytes held and processor seconds used, of the process and its children.
    warm : bool
        Whether it was forked from a process that had imported its framework.
    """

    status: JobStatus
    reason: str
    seconds: float
    peak_memory: int
    exit_code: int | None
    stderr_tail: tuple[str, ...]
    result: WorkerResult | None
    samples: tuple[tuple[float, int, float], ...] = ()
    warm: bool = False


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """What a worker may use: seconds, and bytes (0 for no limit)."""

    timeout: float
    memory: int


def clean_environment() -> dict[str, str]:
    """Variables of this process without those that show a worker our packages or set the allocator unasked."""
    left_out = ("PYTHONPATH", "PYTHONHOME", *ALLOCATOR_VARIABLES)
    return {key: value for key, value in os.environ.items() if key not in left_out}


def resident_bytes(pid: int) -> int:
    """Memory that a process and all that it started hold now; 0 where it is gone."""
    return held_by(pid)[0]


def held_by(pid: int) -> tuple[int, float]:
    """Memory that a process and all that it started hold now, and processor seconds they used; 0 where it is gone."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *_started_by(leader)]
        ended = leader.cpu_times()
    except psutil.Error:
        return 0, 0.0
    total, used = 0, float(ended.children_user + ended.children_system)
    for member in family:
        try:
            with member.oneshot():
                total += member.memory_info().rss
                times = member.cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return total, used


def _started_by(leader: psutil.Process) -> list[psutil.Process]:
    """Processes that a process started, and those that they did, as far as each tells: looking at all takes long."""
    found, asked = [], [leader.pid]
    while asked:
        of = asked.pop()
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or is another user's
            for thread in os.listdir(f"/proc/{of}/task"):
                with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
                    with open(f"/proc/{of}/task/{thread}/children", "rb", buffering=0) as listed:
                        asked += (started := [int(one) for one in listed.readall().split()])
                    found += started
    if not found and not Path(f"/proc/{leader.pid}/task/{leader.pid}/children").exists():  # no Linux, or an old one
        return leader.children(recursive=True)
    members = []
    for pid in found:
        with suppress(psutil.Error):
            members.append(psutil.Process(pid))
    return members


class WorkerProcess(Protocol):
    """A process that leads a group, whose end can be seen before anybody else can have its id."""

    pid: int
    warm: bool

    def has_ended(self) -> bool:
        """Whether it has ended; its id is still its own."""
        ...

    def kill_group(self) -> None:
        """Kill it and all that it started."""
        ...

    def wait(self) -> int | None:
        """Wait for its end and give its exit code; None where nobody knows it."""
        ...


class Started:
    """A worker that was started as a command."""

    warm = False

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self.pid = process, process.pid

    def has_ended(self) -> bool:
        """Look without reaping: as long as the leader is a zombie its group id cannot be anybody else's."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill_group(self) -> None:
        """Kill it and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end and give its exit code."""
        return self._process.wait()


class Worker:
    """A running worker.

    Parameters
    ----------
    python : Path
        Interpreter of the backend's environment.
    folder : Path
        The job's folder, with ``job.json``; output goes to files there, because TFF leaves a child behind
        that would keep a pipe open.
    variables : dict
        Added to the environment.
    limits : JobLimits
    lock : int, optional
        Descriptor of the run's lock. The worker holds it as long as it lives, so that nobody goes on with a run
        beside a worker that was left behind.
    logs : Path, optional
        Folder of ``stdout.txt`` and ``stderr.txt``, where it is not the job's.
    forked : callable, optional
        Forks it, given descriptors for what it prints and ``variables``, the whole environment; where that gives None
        it is started.
    """

    def __init__(
        self,
        *,
        python: Path,
        folder: Path,
        variables: dict[str, str],
        limits: JobLimits,
        lock: int | None = None,
        logs: Path | None = None,
        forked: Callable[..., WorkerProcess | None] | None = None,
    ) -> None:
        self._folder, self._limits, self._logs = folder, limits, logs or folder
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "events.jsonl"):
            (folder / name).unlink(missing_ok=True)
        held = () if lock is None else (lock,)
        command = module_command(python, "trustml.worker", str(folder), held=held)
        environment = clean_environment() | variables
        with (self._logs / "stdout.txt").open("wb") as out, (self._logs / "stderr.txt").open("wb") as err:
            child = forked(out.fileno(), err.fileno(), variables=environment) if forked is not None else None
            self._process = child or Started(
                subprocess.Popen(
                    command.arguments,
                    pass_fds=command.inherited,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                )
            )
        self._started = time.monotonic()
        self._watched = 0.0
        self._pause = 0.0
        self._peak = 0
        self._samples = Samples()
        self._stopped: tuple[JobStatus, str] | None = None

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    @property
    def node(self) -> None:
        """Nothing: it is a process of this machine, of which the run tells."""
        return None

    def poll(self) -> Ended | None:
        """Look once: keep the limits, and tell how it ended if it did."""
        now = time.monotonic()
        if now - self._watched >= self._pause:
            self._watched, used = now, time.thread_time()
            self._watch(now - self._started)
            used = time.thread_time() - used
            self._pause = min(_WATCH_SELDOM, max(_WATCH_SECONDS, used / _WATCH_SHARE))
        return self._end() if self._process.has_ended() else None

    def ask_to_stop(self) -> None:
        """Nothing: `stop` waits for nobody."""

    def stop(self, status: JobStatus, reason: str) -> Ended:
        """Kill the whole group now."""
        self._stopped = self._stopped or (status, reason)
        self._process.kill_group()
        return self._end()

    def _watch(self, seconds: float) -> None:
        memory, used = self._held()
        self._peak = max(self._peak, memory)
        if memory:
            self._samples.add(seconds, memory=memory, cpu_seconds=used)
        if self._stopped:
            return
        if seconds > self._limits.timeout:
            self._stopped = ("timeout", f"took longer than {self._limits.timeout:g} s (execution.timeout)")
        elif 0 < self._limits.memory < memory:
            limit = self._limits.memory / 2**30
            self._stopped = ("out-of-memory", f"held more than {limit:g} GiB (execution.memory_limit)")
        else:
            return
        self._process.kill_group()

    def _held(self) -> tuple[int, float]:
        return held_by(self.pid)

    def _end(self) -> Ended:
        self._process.kill_group()
        code = self._process.wait()
        seconds = time.monotonic() - self._started
        result = self._result()
        status, reason = self._classify(code, result)
        own = int(result.details.get("largest_resident_bytes", 0)) if result else 0
        return Ended(
            status=status,
            reason=reason,
            seconds=seconds,
            peak_memory=max(self._peak, own),
            exit_code=code,
            stderr_tail=() if status == "ok" else self._stderr_tail(),
            result=result,
            samples=self._samples.taken(),
            warm=self._process.warm,
        )

    def _classify(self, code: int | None, result: WorkerResult | None) -> tuple[JobStatus, str]:
        if self._stopped:
            return self._stopped
        if code is None:
            return (
                "error",
                "the process that the worker was forked from was ended; use `trustml run --resume`",
            )
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; the system kills so when memory runs out" if name == "SIGKILL" else ""
            return "signal", f"the worker was ended by {name}{hint}"
        if result is None:
            last = (self._stderr_tail() or ("no message",))[-1]
            return "error", f"the worker ended with code {code} and no result: {last}"
        if result.status == "ok" and code == 0:
            return "ok", ""
        return ("out-of-memory" if result.status == "out-of-memory" else "error"), result.error

    def _result(self) -> WorkerResult | None:
        try:
            return msgspec.json.decode((self._folder / "result.json").read_bytes(), type=WorkerResult)
        except UNREADABLE:
            return None

    def _stderr_tail(self) -> tuple[str, ...]:
        try:
            text = (self._logs / "stderr.txt").read_bytes()[-20_000:].decode("utf-8", errors="replace")
        except OSError:
            return ()
        return tuple(line[:500] for line in text.splitlines()[-_STDERR_LINES:])
