"""Commands of trustml in processes of their own, forked from one that has imported what they need.

Everything that such a command starts carries a mark in its environment, so that what it left behind can be told.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

FOURTH = Path(__file__).resolve().parents[1] / "fourth_backend"
MARK = "TRUSTML_TESTS_LAUNCHED"
_PATIENCE = 10.0


@dataclass
class Launched:
    """A command that runs, or ran.

    Attributes
    ----------
    pid : int
    mark : str
        In the environment of all that it starts.
    output : Path
        Where it prints.
    code : int, optional
        How it ended: the exit code, or the negative number of a signal.
    """

    pid: int
    mark: str
    output: Path
    code: int | None = None

    def poll(self) -> int | None:
        """Tell how it ended, if it did."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = 120.0) -> int:
        """Wait until it has ended."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, f"has not ended in {seconds:g} s: {self.said()[-500:]}"
            time.sleep(0.01)
        return code

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text(errors="replace")

    def started(self) -> list[int]:
        """Processes that live and were started by it, whoever is their parent by now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    if process.environ().get(MARK) == self.mark:
                        found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def send(self, number: int, *, tree: bool = False) -> None:
        """Send a signal to it, or to it and all that it started."""
        for pid in (self.pid, *(self.started() if tree else ())):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def require_gone(self) -> None:
        """Wait for its end and that of all that it started, which must not outlive it by more than seconds."""
        self.wait()
        deadline = time.monotonic() + _PATIENCE
        while left := self.started():
            assert time.monotonic() < deadline, f"processes {left} outlived the command that started them"
            time.sleep(0.02)


def launch(arguments: Sequence[str], *, output: Path, clock: Callable[[float], float] | None = None) -> Launched:
    """Start a command, as ``trustml`` does, in a session of its own.

    Parameters
    ----------
    arguments : sequence of str
    output : Path
    clock : callable, optional
        Gives what the wall clock of the process shows when it is so late.
    """
    mark = secrets.token_hex(8)
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return Launched(pid=pid, mark=mark, output=output)
    code = 70
    try:  # whatever happens, the copy of our caller ends here
        os.setsid()
        stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((nothing, 0), (stream, 1), (stream, 2)):
            os.dup2(ours, theirs)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.environ[MARK] = mark
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        code = _command(list(arguments), clock)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _command(arguments: list[str], clock: Callable[[float], float] | None) -> int:
    from tests.records import unasked_second_opinion
    from trustml.cli.main import _main

    if clock is not None:
        real = time.time
        time.time = lambda: clock(real())
    with unasked_second_opinion():
        return _main(arguments)


def told(arguments: Sequence[str], *, output: Path) -> tuple[int, str]:
    """Run a command to its end; give its code and what it printed."""
    command = launch(arguments, output=output)
    return command.wait(), command.said()


@contextmanager
def fourth_backend() -> Iterator[None]:
    """Let the backend of plain numpy be found, which needs no framework: its workers start in half a second."""
    sys.path.insert(0, str(FOURTH))
    try:
        yield
    finally:
        sys.path.remove(str(FOURTH))


def imported() -> None:
    """Import what commands import, so that a fork has it."""
    import pandas as pd  # noqa: F401

    import trustml.api
    import trustml.auditing.run_audit
    import trustml.cli.progress
    import trustml.compare.rows
    import trustml.evidence.verify
    import trustml.launch.resume
    import trustml.launch.schedule
    import trustml.report.summary
    import trustml.report.tables  # noqa: F401
