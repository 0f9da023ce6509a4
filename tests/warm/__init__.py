"""Workers of tests that are forked from a process that has imported their framework, not started anew each time.

Starting one costs more than the little it has to do: seconds of imports, hundreds of times. What is forked is given the
arguments, environment, folder and descriptors that it would be started with, leads a session where asked to, is a child
of the process of the tests, and runs the same module to its end. ``make test-all`` starts every worker as users do, and
so do tests that are marked ``cold``.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustml import processes

HERE = Path(__file__).resolve().parent
AVAILABLE = sys.platform == "linux"
_LATE = (
    "PYTEST_", "TRUSTML_", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_", "TORCHINDUCTOR_CACHE_DIR",
    "PFL_PYTORCH_DEVICE", "GLOO_SOCKET_IFNAME",
)  # fmt: skip
"""Beginnings of variables that are read after the framework is imported, or that the server sets anew. Libraries set
some of them in the process of the tests, too, which would start another server of each framework."""
_FOUND = "PYTHONPATH"
"""Where jobs would look for our package, which their server has."""
_LARGEST = 100_000
"""Bytes of a request: what a packet may hold wherever Linux has its defaults."""
_ANYWHERE = ("trustml.backends.torch.prv",)
"""Modules whose answer no variable changes: each has one server, whoever asks."""
_MOST = 6
"""Servers of one process of the tests: those that were asked last. A framework has one for each set of variables."""
_PATIENCE = 300.0
"""Seconds for the import of a framework on a machine that does much else."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl
_PACKAGES = {str(processes._PACKAGE), str(HERE)}
_start_anew = subprocess.Popen._execute_child


def _of_job(arguments: Sequence[str]) -> str:
    return str(json.loads((Path(arguments[0]) / "job.json").read_bytes())["backend"])


def _of_request(arguments: Sequence[str]) -> str:
    return str(json.loads((Path(arguments[0]) / "request.json").read_bytes())["backend"])


def _first(arguments: Sequence[str]) -> str:
    return arguments[0]


BACKEND_OF: dict[str, Callable[[Sequence[str]], str]] = {
    "trustml.worker": _of_job,
    "trustml.worker.forking": _first,
    "trustml.worker.model_adapters": _first,
    "trustml.worker.conformance": _first,
    "trustml.worker.deployed": _of_request,
    "trustml.worker.exporting": _of_request,
    "trustml.backends.torch.prv": lambda _: "torch",
}
"""Modules that are forked, and which framework they use, by their arguments."""


def _tensorflow_alone(arguments: Sequence[str]) -> str:
    if arguments[0] != "tensorflow":
        raise LookupError(arguments[0])  # they are asked under variables of their own
    return arguments[0]


CASES: dict[str, Callable[[Sequence[str]], str]] = {
    **{
        str(HERE.parent / "backends" / "tensorflow" / f"{name}.py"): lambda _: "tensorflow"
        for name in ("clipping_case", "explaining", "federated_case", "noise_case")
    },
    str(HERE.parent / "backends" / "task_case.py"): _first,
    str(HERE.parent / "backends" / "private_clients_case.py"): _first,
    str(HERE.parent / "deployment" / "exported_cases.py"): _first,
    str(HERE.parent / "conformance" / "cases.py"): _first,
    str(HERE.parent / "conformance" / "sensitivity_case.py"): _tensorflow_alone,
}
"""Files of questions to a backend. They have a server of their own, as they are started under other variables."""
SCRIPTS = {str(HERE.parent / "worker" / "traced.py"): _of_job, **CASES}
"""Files of tests that are, likewise, where they are called as ``python FILE ...`` or ``python -m MODULE ...``."""


@dataclass(frozen=True)
class _Start:
    """What is forked: a module, as :func:`trustml.processes.module_command` starts it, or a file."""

    python: str
    main: str
    inherited: tuple[int, ...]
    arguments: tuple[str, ...]
    backend: str
    offline: bool

    def server(self, environment: dict[str, str]) -> Hashable:
        """Name of the server that it is forked from: files of questions have one of their own."""
        if self.main in _ANYWHERE:
            return self.main, self.python
        late = _LATE if self.main in CASES else (*_LATE, _FOUND)
        early = {name: value for name, value in environment.items() if not name.startswith(late)}
        return self.backend, self.main in CASES, self.python, frozenset(early.items())


def _start_of(command: object) -> _Start | None:
    if not isinstance(command, list):
        return None
    python, *rest = map(str, command)
    backend_of: Callable[[Sequence[str]], str] | None
    offline = ""
    if rest[:3] == ["-P", "-c", processes._BOOT]:
        packages, main, numbers, offline, *arguments = rest[3:]
        inherited = tuple(int(one) for one in numbers.split(","))
        ours = set(packages.split(os.pathsep)) <= _PACKAGES
        backend_of = BACKEND_OF.get(main) if ours else None
    else:
        if rest[:1] == ["-m"] and len(rest) > 1:
            rest[:2] = [str(HERE.parent.parent.joinpath(*rest[1].split(".")).with_suffix(".py"))]
        main, *arguments = rest or [""]
        inherited, backend_of = (), SCRIPTS.get(main)
    if backend_of is None:
        return None
    try:
        return _Start(python, main, inherited, tuple(arguments), backend_of(arguments), bool(offline))
    except (OSError, ValueError, LookupError):
        return None


class Starter:
    """The servers that processes are forked from, the one that was asked last at the end."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._servers: dict[Hashable, tuple[subprocess.Popen[bytes], socket.socket]] = {}

    def pid(self, start: _Start, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Fork a process and give its id; 0 where it must be started anew."""
        content = json.dumps(request).encode()
        if len(content) > _LARGEST or os.getpid() != self._owner:  # a fork of it is nobody's parent there
            return 0
        name = start.server(request["environment"])
        try:
            connection = self._server(name, start, request["environment"])
            with _adopting():
                socket.send_fds(connection, [content], list(descriptors))
                answer = connection.recv(32)
        except OSError:
            answer = b""
        if not answer:
            self._forget(name)
        return int(answer or 0)

    def _server(self, name: Hashable, start: _Start, environment: dict[str, str]) -> socket.socket:
        if name in self._servers:
            self._servers[name] = self._servers.pop(name)
            return self._servers[name][1]
        while len(self._servers) >= _MOST:
            self._forget(next(iter(self._servers)))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE)
        command = processes.module_command(
            Path(start.python),
            "warm.server",
            start.backend,
            str(theirs.fileno()),
            held=(theirs.fileno(),),
            beside=(HERE,),
        )
        with theirs:
            process = subprocess.Popen(
                command.arguments,
                pass_fds=command.inherited,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._servers[name] = (process, ours)
        return ours

    def _forget(self, server: Hashable) -> None:
        if server in self._servers:
            process, connection = self._servers.pop(server)
            connection.close()
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the servers."""
        for server in list(self._servers):
            self._forget(server)


@contextmanager
def _adopting() -> Iterator[None]:
    """Be the parent of whatever below this process loses its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)


@contextmanager
def forked(starter: Starter) -> Iterator[None]:
    """Fork what would be started, as far as it is known to be one of ours."""

    def execute(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *rest,
    ):  # fmt: skip
        start = _start_of(args)
        pid = 0
        if start is not None:
            request = {
                "main": start.main,
                "arguments": start.arguments,
                "environment": dict(os.environ if env is None else env),
                "folder": str(cwd or Path.cwd()),
                "leads": bool(rest[-2]),
                "offline": start.offline,
            }
            streams = [given if given >= 0 else own for own, given in enumerate((p2cread, c2pwrite, errwrite))]
            pid = starter.pid(start, request, [*streams, *start.inherited])
        if not pid:
            return _start_anew(
                self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *rest,
            )  # fmt: skip
        self.pid, self._child_created = pid, True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        return None

    subprocess.Popen._execute_child = execute
    try:
        yield
    finally:
        subprocess.Popen._execute_child = _start_anew
