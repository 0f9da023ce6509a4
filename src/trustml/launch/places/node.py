"""``python -m trustml.launch.places.node TICKET_FOLDER FINGERPRINT``: what a place starts on a node.

It shows the launcher that it sees the run directory, finds the environment of the backend or makes it from its lock,
starts the worker as this machine's own would be started, and keeps the limits. It ends the worker when the launcher
asks for it or gives no sign any more: nobody may go on with a run beside a worker that was left behind.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import msgspec
import psutil

from trustml.errors import TrustmlError, UsageError
from trustml.frameworks.table import entry_of
from trustml.launch.environments import Environment, create_tensorflow, find_environment, tensorflow_folder
from trustml.launch.places import ticket as files
from trustml.launch.places.ticket import Answer, EndedOnNode, Listener, Ticket
from trustml.launch.process import Ended, JobLimits, Worker
from trustml.plan.attack_files import logs_folder
from trustml.processes import TICKET_VARIABLE
from trustml.record.provenance import this_node, trustml_version

_LOOK_SECONDS = 0.1
_ENVIRONMENT_SECONDS = 1800.0
_GONE_WITH_THE_NODE = ("tmpfs", "ramfs")


def main(arguments: list[str]) -> int:
    """Do what one ticket asks for; exit code 0 whatever became of the worker, as engines start again what failed."""
    if len(arguments) != 2:
        print("usage: python -m trustml.launch.places.node TICKET_FOLDER FINGERPRINT", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    found = files.read(folder / files.TICKET, Ticket)
    if found is None or files.fingerprint(found.token) != arguments[1]:
        print(f"{folder}: holds no such ticket on {socket.gethostname()}: the run directory is not on storage that "
              "this node shares with the launcher; keep runs there (--runs)", file=sys.stderr)  # fmt: skip
        return 3
    if not files.claim(folder):
        print(f"{found.job}: was started or given up before, and no job runs again by itself: use "
              "`trustml run --resume`", file=sys.stderr)  # fmt: skip
        return 0
    with files.beating(folder / files.NODE_BEAT):
        files.write(folder / files.ANSWER, Answer(token=found.token, node=this_node()))
        try:
            ended = _work(folder, found)
        except (TrustmlError, OSError) as error:
            ended = EndedOnNode(status="error", reason=f"on node {socket.gethostname()}: {error}")
        except KeyboardInterrupt:
            ended = EndedOnNode(status="interrupted", reason=f"its node {socket.gethostname()} was told to end it")
        if (folder / files.TICKET).is_file():  # else the run was removed, and stays so
            files.write(folder / files.ENDED, ended)
    return 0


def _work(folder: Path, asked: Ticket) -> EndedOnNode:
    if asked.version != (here := trustml_version()):
        raise UsageError(f"trustml is {here} here and {asked.version} where the run began; install that")
    run = folder.parents[2]
    if asked.private and (kind := storage_of(run)) in _GONE_WITH_THE_NODE:
        raise UsageError(
            f"{run}: is on {kind}, and its ledger would be gone with the node; keep runs on a disk (--runs)"
        )
    environment = _environment(asked, folder)
    python, launcher = environment.require(), Listener(folder / files.LAUNCHER_BEAT)
    while not launcher.grew:  # one that is gone left a number, too
        silence = launcher.silence()
        if why := _why_end(folder, silence):
            return EndedOnNode(status="interrupted", reason=why)
        time.sleep(_LOOK_SECONDS)
    worker = Worker(
        python=python,
        folder=run / "jobs" / asked.job,
        variables=asked.variables | environment.variables | {TICKET_VARIABLE: str(folder)},
        limits=JobLimits(timeout=asked.timeout, memory=asked.memory),
        logs=run / logs_folder(asked.job),
    )
    try:
        while True:
            ended = worker.poll()
            if ended is not None:
                return _told(ended)
            if why := _why_end(folder, launcher.silence()):
                return _told(worker.stop("interrupted", why))
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return _told(worker.stop("interrupted", f"its node {socket.gethostname()} was told to end it"))


def _why_end(folder: Path, silence: float) -> str:
    """Why there is to be no worker; empty as long as there may be."""
    if files.is_stopped(folder):
        return "stopped by the launcher"
    return "its launcher gave no sign any more" if silence > files.LOST_SECONDS else ""


def _environment(asked: Ticket, folder: Path) -> Environment:
    """Find the environment of a backend; one that has a lock is made from it where there is none and none is named."""
    found, begun, launcher = find_environment(asked.backend), time.monotonic(), Listener(folder / files.LAUNCHER_BEAT)
    while found.python is None and entry_of(asked.backend).lock and not found.named:
        try:
            create_tensorflow(tensorflow_folder(), tell=lambda line: print(line, file=sys.stderr))
            return find_environment(asked.backend)
        except UsageError:  # another job of this node makes it
            if time.monotonic() - begun > _ENVIRONMENT_SECONDS or _why_end(folder, launcher.silence()):
                raise
            time.sleep(files.BEAT_SECONDS)
        found = find_environment(asked.backend)
    return found


def storage_of(path: Path) -> str:
    """Kind of the file system that holds a path; empty where the system does not tell."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return ""
    holding = [mount for mount in mounts if path.resolve().is_relative_to(mount.mountpoint)]
    return max(holding, key=lambda mount: len(mount.mountpoint)).fstype if holding else ""


def _told(ended: Ended) -> EndedOnNode:
    return msgspec.convert(ended, EndedOnNode, from_attributes=True)


def _asked_to_end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and the end must be told
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _asked_to_end)
    sys.exit(main(sys.argv[1:]))
