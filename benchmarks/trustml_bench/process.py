"""One engine's process as its parent sees it: started in a session of its own, asked, killed as a group."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from trustml.launch.process import clean_environment
from trustml.plan.switches import ALLOCATOR_VARIABLES
from trustml.processes import module_command
from trustml_bench.engine import Engine
from trustml_bench.places import Place
from trustml_bench.protocol import Answer, Failed, Question, encode, read_answer
from trustml_bench.workloads import Workload

PACKAGE = Path(__file__).resolve().parent
_STDERR_LINES = 8
_PATIENCE = 100  # looks at a process that ends, 0.05 s apart


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until what starts a process knows it, or what ends processes has ended all."""
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda found, _: arrived.append(found))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


class EngineProcess:
    """A running engine.

    Every way to fail ends in the answer :class:`Failed` with the reason, never in an exception.

    Parameters
    ----------
    engine : Engine
    workload : Workload
    place : Place
    log : Path
        File for what it prints. Not a pipe: TFF leaves a child behind that would keep it open.
    """

    def __init__(self, engine: Engine, workload: Workload, *, place: Place, log: Path) -> None:
        self._log = log
        kept = {key: value for key, value in clean_environment().items() if key not in ALLOCATOR_VARIABLES}
        asked = msgspec.json.encode(workload).decode()
        command = module_command(place.python, "trustml_bench.serve", engine.maker, asked, beside=(PACKAGE,))
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command.arguments,
                pass_fds=command.inherited,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=kept | place.variables,
                start_new_session=True,
            )
        self._begun = time.monotonic()
        self._buffer = b""
        self._ended = False

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._begun

    def ask(self, question: Question, *, timeout: float) -> Answer:
        """Ask and wait for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode(question))
            self._process.stdin.flush()
        except OSError:
            return self._died()
        return self.wait(timeout=timeout) or Failed(reason=f"no answer within {timeout:.0f} s")

    def wait(self, *, timeout: float) -> Answer | None:
        """Wait for the next answer; None if none came in time."""
        assert self._process.stdout is not None
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            piece = os.read(descriptor, 2**16)
            if not piece:
                return self._died()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return read_answer(line)
        except msgspec.MsgspecError as error:
            return Failed(reason=f"answered what is no answer ({error})")

    def end(self) -> None:
        """Kill the process and all that it started; can be called again."""
        if self._ended:
            return
        self._ended = True
        try:
            elsewhere = psutil.Process(self.pid).children(recursive=True)  # Ray's have groups of their own
        except psutil.Error:
            elsewhere = []
        try:
            os.killpg(self.pid, signal.SIGKILL)  # not yet waited for, so the id is still its own
        except (ProcessLookupError, PermissionError):
            pass
        for child in elsewhere:
            try:
                child.kill()
            except psutil.Error:
                pass
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was written to a dead engine
                pass

    def last_words(self) -> str:
        """Give the last lines that it printed."""
        try:
            text = self._log.read_bytes()[-20_000:].decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-_STDERR_LINES:])

    def _died(self) -> Failed:
        how = "closed its answers without ending"
        for _ in range(_PATIENCE):
            # Looked at without reaping: as long as it is a zombie its group id cannot be anybody else's.
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                how = f"ended with code {found.si_status}"
                if found.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                    how = f"ended by {signal.Signals(found.si_status).name}"
                    killed = found.si_status == signal.SIGKILL
                    how += " (the system kills so when memory runs out)" if killed else ""
                break
            time.sleep(0.05)
        words = self.last_words()
        return Failed(reason=f"{how}: {words}" if words else how)
