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

from trustml.plan.forking import READY, Collect, Fork
from trustml.processes import lifeline, module_command

AVAILABLE = sys.platform == "linux" and hasattr(os, "pidfd_open")
_IMPORT_SECONDS, _ANSWER_SECONDS = 300.0, 30.0
IDLE_SECONDS = 30.0
"""After which such a process is ended, and with it the memory that it holds."""


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

    def is_ready(self) -> bool:
        """Wait until it has imported the framework, and say whether it could."""
        self._connection.settimeout(_IMPORT_SECONDS)
        try:
            return self._connection.recv(len(READY)) == READY
        except OSError:
            return False

    def ask(self, what: Fork | Collect, descriptors: tuple[int, ...] = ()) -> bytes:
        """Give its answer; nothing where it is gone."""
        self.used = time.monotonic()
        self._connection.settimeout(_ANSWER_SECONDS)
        try:
            socket.send_fds(self._connection, [msgspec.json.encode(what)], list(descriptors))
            answer = self._connection.recv(32)
        except OSError:
            answer = b""
        if not answer:
            self.close()
        return answer

    def is_alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._connection.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


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
        """Fork the worker of a job; None where that cannot be, so that it is to be started.

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
        """
        key = (backend, python, frozenset(variables.items()))
        if not AVAILABLE or key in self._refused:
            return None
        server = self._servers.get(key)
        if server is None or not server.is_alive():
            server = self._servers[key] = Server(backend, python, variables)
            if not server.is_ready():
                self._servers.pop(key).close()
                self._refused.add(key)
                return None
        held = (output, error, lifeline(), *(() if lock is None else (lock,)))
        answer = server.ask(Fork(folder=str(folder)), held)
        try:
            return Forked(server, int(answer)) if answer else None
        except OSError:  # it has ended and been collected with its server
            return None

    def rest(self) -> None:
        """End those that nobody has asked for a while."""
        for key, server in list(self._servers.items()):
            if not server.running and time.monotonic() - server.used > IDLE_SECONDS:
                self._servers.pop(key).close()

    def close(self) -> None:
        """End all of them."""
        while self._servers:
            self._servers.popitem()[1].close()
