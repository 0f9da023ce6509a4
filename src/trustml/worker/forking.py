"""``python -m trustml.worker.forking BACKEND``: imports a framework, then forks the workers of jobs.

It is asked through a socket that is its standard input, and computes nothing itself: so what is forked is where a
worker is that was started and has imported. It has its own memory, seeds, threads and devices, and ends alone. What is
asked is in :mod:`trustml.plan.forking`.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

import msgspec
import numpy as np

from trustml.frameworks.table import entry_of
from trustml.plan.forking import LARGEST, READY, Collect, Fork
from trustml.processes import end_with_starter, leave
from trustml.worker.__main__ import main as work

_DESCRIPTORS = 8


def main(arguments: list[str]) -> NoReturn:
    """Answer until the launcher closes the connection; in what was forked, do the job."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    own = ("trustml.worker.pipeline", "trustml.worker.explaining")
    for module in (*own, *entry_of(arguments[0]).preloaded):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is shared with workers is not written by their collector
    workers: set[int] = set()
    try:
        connection.send(READY)
        job = _answer(connection, workers)
    except OSError:  # the launcher closed the connection, and an answer lies in it
        job = None
    if job is None:
        for pid in workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        os._exit(0)  # nothing is left to do, and frameworks take their time to leave
    connection.close()
    _become_worker(job.folder, job.descriptors)
    os.close(job.begins)
    leave(work([job.folder]))


class _Job(NamedTuple):
    """What a worker is to do, which descriptors it was given, and which one to close once it leads its group."""

    folder: str
    descriptors: list[int]
    begins: int


def _answer(connection: socket.socket, workers: set[int]) -> _Job | None:
    """Fork and collect as asked; None at the end, with the workers that nobody collected; its job in a worker."""
    while True:
        content, descriptors, *_ = socket.recv_fds(connection, LARGEST, _DESCRIPTORS)
        if not content:
            return None
        asked = msgspec.json.decode(content, type=Fork | Collect)
        if isinstance(asked, Collect):
            _, status = os.waitpid(asked.pid, 0)
            workers.discard(asked.pid)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            workers.clear()
            os.close(begun)
            return _Job(asked.folder, descriptors, begins)
        workers.add(pid)
        for descriptor in (*descriptors, begins):
            os.close(descriptor)
        os.read(begun, 1)  # until it leads a group of its own, which can be killed
        os.close(begun)
        connection.send(str(pid).encode())


def _become_worker(folder: str, descriptors: list[int]) -> None:
    """Be as a process that was started for the job."""
    os.setsid()
    output, error, *inherited = descriptors
    for stream, given in ((1, output), (2, error)):
        os.dup2(given, stream)
        os.close(given)
    end_with_starter(inherited)
    os.chdir(folder)
    np.random.seed()  # two workers must not draw the same where a library draws without a seed


if __name__ == "__main__":
    main(sys.argv[1:])
