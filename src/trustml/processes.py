"""Processes of our own: how one of our modules is started in some environment, and why it cannot outlive its starter.

Every starter holds the writing end of one pipe, and every process it starts inherits the reading end. However the
starter ends, the system closes the pipe. On Linux the kernel then kills the whole process group of the child: nothing
of Python's is needed for that, so a child that is importing or compiling dies as well, and there is no moment at which
the end is missed, since a pipe that is closed already shows. Elsewhere a thread waits for the same end of file.

Not ``PR_SET_PDEATHSIG``: that tells of the end of the *thread* that started the child, and kills the child alone.

A worker on another machine may sleep through all of that, with the node that started it, and wake beside the one that
goes on in its place. So it looks for itself, before each charge and each file, whether its job was given up.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trustml.errors import PrivacyError

# Enters packages by path in a foreign environment, trustml first, without showing it our site-packages.
_BOOT = """
import importlib.util, os, runpy, sys
packages, main, inherited, offline = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
for package in packages.split(os.pathsep):
    spec = importlib.util.spec_from_file_location(
        os.path.basename(package), package + "/__init__.py", submodule_search_locations=[package])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
from trustml.processes import end_with_starter, leave_network
end_with_starter([int(one) for one in inherited.split(",")])
if offline:
    leave_network()
runpy.run_module(main, run_name="__main__", alter_sys=True)
"""
_PACKAGE = Path(__file__).resolve().parent
_guard = threading.Lock()
_pipe: tuple[int, int] | None = None
_offline = False
TICKET_VARIABLE = "TRUSTML_TICKET"
"""Names the folder of the ticket by which a worker was started on a node; see ``launch/places/ticket.py``."""
TICKET, STOP, ENDED = "ticket.json", "stop", "ended.json"
_NEW_NETWORK, _NEW_USERS = 0x40000000, 0x10000000  # CLONE_NEWNET and CLONE_NEWUSER of Linux's sched.h


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to give to ``subprocess.Popen``.

    Attributes
    ----------
    arguments : list of str
    inherited : tuple of int
        Descriptors for its ``pass_fds``.
    """

    arguments: list[str]
    inherited: tuple[int, ...]


def module_command(
    python: Path,
    module: str,
    *arguments: str,
    held: Sequence[int] = (),
    beside: Sequence[Path] = (),
    offline: bool = False,
) -> Command:
    """Command that runs a module in an environment, and ends with this process.

    The folder it is called from is not searched for modules: it may be anybody's.

    Parameters
    ----------
    python : Path
    module : str
    *arguments : str
    held : sequence of int
        Descriptors that stay open as long as the process lives, such as that of a lock.
    beside : sequence of Path
        Folders of packages other than trustml that the process needs and its environment may not have.
    offline : bool
        Whether it leaves the network before it imports anything; :func:`is_offline` tells it whether it could.
    """
    inherited = (lifeline(), *held)
    numbers = ",".join(map(str, inherited))
    packages = os.pathsep.join(map(str, (_PACKAGE, *beside)))
    return Command(
        arguments=[str(python), "-P", "-c", _BOOT, packages, module, numbers, "offline" if offline else "", *arguments],
        inherited=inherited,
    )


def end_with_starter(inherited: Sequence[int]) -> None:
    """End this process, and the group it leads, once its starter is gone. Called before anything heavy is imported.

    Parameters
    ----------
    inherited : sequence of int
        The reading end of the starter's pipe, then what :func:`module_command` was asked to hold.
    """
    for descriptor in inherited:
        os.set_inheritable(descriptor, False)  # what this process starts must not keep the lock of a run
    if not kill_on_close(inherited[0]):
        threading.Thread(target=wait_for_close, args=(inherited[0],), daemon=True).start()


def kill_on_close(line: int) -> bool:
    """Let the kernel kill us when the other end of a pipe is closed; False where it cannot."""
    if not hasattr(fcntl, "F_SETSIG"):
        return False
    leads = os.getpgrp() == os.getpid()
    try:
        # An opening of our own: the owner of a pipe's signal is kept with the opening, and others share the inherited.
        own = os.open(f"/proc/self/fd/{line}", os.O_RDONLY)
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpid() if leads else os.getpid())
        fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return False
    closed = select.poll()
    closed.register(own, select.POLLHUP)
    if closed.poll(0):  # before the kernel was told
        _end()
    return True


def wait_for_close(line: int) -> None:
    """Wait until the other end of a pipe is closed, then end this process and its group."""
    while os.read(line, 1):
        pass
    _end()


def is_given_up() -> bool:
    """Whether this process works for a ticket that was stopped, ended or removed."""
    named = os.environ.get(TICKET_VARIABLE)
    if not named:
        return False
    folder = Path(named)
    return not (folder / TICKET).is_file() or (folder / STOP).exists() or (folder / ENDED).exists()


def require_wanted() -> None:
    """Refuse to charge or to write for a job that was given up: another attempt may have taken its place.

    Raises
    ------
    PrivacyError
    """
    if is_given_up():
        raise PrivacyError(f"{os.environ[TICKET_VARIABLE]}: this job was given up; it charges and writes nothing more")


def leave(code: int) -> NoReturn:
    """End this process as Python does, but free nothing: to take a framework's modules apart takes up to half a second.

    Threads are joined, what was registered for the end is called, and what was printed is written.

    Parameters
    ----------
    code : int
        Exit code; as Python's own, 120 where what was printed cannot be written.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        code = 120
    with contextlib.suppress(OSError, AttributeError):  # what libraries in C have printed
        ctypes.CDLL(None).fflush(None)
    os._exit(code & 0xFF)


def leave_network() -> None:
    """Go on in a network of our own that has no devices, where the kernel allows that (Linux; namespaces).

    For a process that opens a stranger's file. It must have one thread still: those that exist already stay behind.
    """
    global _offline
    user, group = os.getuid(), os.getgid()
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):  # no Linux
        return
    if unshare(_NEW_NETWORK) != 0:
        if unshare(_NEW_NETWORK | _NEW_USERS) != 0:
            return
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
                file.write(content)
    _offline = True


def is_offline() -> bool:
    """Whether this process has left the network."""
    return _offline


def _end() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def lifeline() -> int:
    """Give the reading end of the pipe that is closed when this process ends."""
    global _pipe
    with _guard:
        if _pipe is None:
            _pipe = os.pipe()
        return _pipe[0]


def _forget_lifeline() -> None:
    """Close what a fork copied: it would keep the pipe of the original open."""
    global _pipe, _guard
    _guard = threading.Lock()
    if _pipe is not None:
        for end in _pipe:
            os.close(end)
    _pipe = None


os.register_at_fork(after_in_child=_forget_lifeline)
