"""Workers that are forked from a process of their environment which has imported its framework.

The process is a child of the launcher, as workers are, and ends with it. What it forks is not: so it keeps the process
id of a worker that has ended until the launcher has seen to the worker's group.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from trustml.plan.forking import READY, Collect, Fork
from trustml.processes import lifeline, module_command

AVAILABLE = sys.platform == "linux" and hasattr(os, "pidfd_open")
_IMPORT_SECONDS, _ANSWER_SECONDS, _LOOK_SECONDS, _END_SECONDS = 300.0, 30.0, 1.0, 5.0
IDLE_SECONDS = 30.0
"""After which such a process is ended, and with it the memory that it holds."""


class NotReadyError(Exception):
    """The framework is being imported: ask again once that is over (:meth:`WarmWorkers.has_news`)."""


class Forked:
    """A worker that was forked; its methods are those of :class:`trustml.launch.process.Started`."""

    warm = True

    def __init__(self, server: Server, pid: int) -> None:
        self._server, self.pid = server, pid
        self._handle = os.pidfd_open(pid)
        server.running += 1

    def has_ended(self) -> bool:
        """Whether it has ended; its id is still its own."""
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        return bool(ended.poll(0))

    def kill_group(self) -> None:
        """Kill it and all that it started."""
        if self._server.is_alive() or not self.has_ended():  # else the id may be somebody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """Wait for its end and give its exit code; None where nobody knows it, as the process it is from is gone."""
        answer = self._server.ask(Collect(pid=self.pid))
        os.close(self._handle)
        self._server.running -= 1
        return int(answer) if answer else None


class Server:
    """The process that workers of one environment are forked from."""

    def __init__(self, backend: str, python: Path, variables: dict[str, str]) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.running, self.used = 0, time.monotonic()
        self._ready: bool | None = None
        command = module_command(python, "trustml.worker.forking", backend)
        with theirs:
            self._process = subprocess.Popen(
                command.arguments,
                pass_fds=command.inherited,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=variables,
                start_new_session=True,
            )

    def is_ready(self) -> bool | None:
        """Whether it could import the framework; None as long as it does. It waits for nothing."""
        if self._ready is None:
            self._connection.setblocking(False)
            try:
                self._ready = self._connection.recv(len(READY)) == READY
            except BlockingIOError:
                if time.monotonic() - self.used < _IMPORT_SECONDS:
                    return None
                self._ready = False
            except OSError:
                self._ready = False
            self.used = time.monotonic()
        return self._ready

    def has_news(self) -> bool:
        """Whether it has imported the framework, or failed to, since that was last looked for."""
        return self._ready is None and self.is_ready() is not None

    def is_idle(self) -> bool:
        """Whether nobody has asked it for a while, and nobody waits for it."""
        return self._ready is not None and not self.running and time.monotonic() - self.used > IDLE_SECONDS

    def ask(self, what: Fork | Collect, descriptors: tuple[int, ...] = ()) -> bytes:
        """Give its answer; nothing where it is gone. Whatever is raised in between ends it: an answer would be left."""
        self.used = time.monotonic()
        answer = b""
        try:
            self._connection.settimeout(_LOOK_SECONDS)
            socket.send_fds(self._connection, [msgspec.json.encode(what)], list(descriptors))
            answer = self._answer()
        except OSError:
            pass
        finally:
            if not answer:
                self.close()
        return answer

    def _answer(self) -> bytes:
        """Wait for its answer: on a busy machine that may take seconds, but one that is stopped gives none."""
        deadline = self.used + _ANSWER_SECONDS
        while True:
            try:
                return self._connection.recv(32)
            except TimeoutError:
                if self._is_stopped() or time.monotonic() > deadline:
                    return b""

    def _is_stopped(self) -> bool:
        """Whether a signal, or a debugger, has stopped it."""
        try:
            return psutil.Process(self._process.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.Error:
            return False

    def discard(self, pid: int) -> None:
        """Kill a worker of it that nobody follows."""
        if self.is_alive():  # else the id may be somebody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self.ask(Collect(pid=pid))

    def is_alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and before it what it has forked and nobody has collected."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        try:
            if self._ready:  # else it has forked nothing, and does not listen
                self._process.wait(0 if self._is_stopped() else _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_forked()
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def _kill_forked(self) -> None:
        """Kill what it has forked, of which it may not have told; as long as it is there, their ids are their own."""
        with suppress(psutil.Error):
            for one in psutil.Process(self._process.pid).children():
                with suppress(ProcessLookupError, PermissionError):
                    leads = os.getpgid(one.pid) == one.pid
                    (os.killpg if leads else os.kill)(one.pid, signal.SIGKILL)


class WarmWorkers:
    """The processes from which one run forks workers: one for each environment and its variables."""

    def __init__(self) -> None:
        self._servers: dict[Hashable, Server] = {}
        self._refused: set[Hashable] = set()

    def fork(
        self,
        output: int,
        error: int,
        *,
        backend: str,
        python: Path,
        variables: dict[str, str],
        folder: Path,
        lock: int | None,
    ) -> Forked | None:
        """Fork the worker of a job; None where that cannot be, so that it is to be started. It waits for no import.

        Parameters
        ----------
        output, error : int
            Descriptors of what it prints into.
        backend : str
        python : Path
        variables : dict
            All of its environment.
        folder : Path
            Of the job.
        lock : int, optional
            Descriptor that it holds as long as it lives.

        Raises
        ------
        NotReadyError
        """
        key = (backend, python, frozenset(variables.items()))
        if not AVAILABLE or key in self._refused:
            return None
        server = self._servers.get(key)
        if server is None or (server.is_ready() and not server.is_alive()):
            server = self._servers[key] = Server(backend, python, variables)
        ready = server.is_ready()
        if ready is None:
            raise NotReadyError
        if not ready:
            self._servers.pop(key).close()
            self._refused.add(key)
            return None
        held = (output, error, lifeline(), *(() if lock is None else (lock,)))
        answer = server.ask(Fork(folder=str(folder)), held)
        try:
            return Forked(server, int(answer)) if answer else None
        except ProcessLookupError:  # it has ended and been collected with its server
            return None
        except OSError:  # no descriptor is left to follow it by
            server.discard(int(answer))
            return None

    def has_news(self) -> bool:
        """Whether a job that was not ready to be forked can be now, or is to be started."""
        return any(server.has_news() for server in self._servers.values())

    def rest(self) -> None:
        """End those that nobody has asked for a while."""
        for key, server in list(self._servers.items()):
            if server.is_idle():
                self._servers.pop(key).close()

    def close(self) -> None:
        """End all of them."""
        while self._servers:
            self._servers.popitem()[1].close()
