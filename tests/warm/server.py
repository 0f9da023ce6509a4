"""A process that imports one framework and then forks itself for every request: what is forked runs a module."""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any

from trustml.frameworks.table import entry_of, is_known
from trustml.processes import end_with_starter, leave, leave_network

_PARTS = ("device", "network", "training", "dp", "attribution")
_LARGEST = 2**20
_COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": lambda folder: folder or None,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": lambda seconds: float(seconds or 1),
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": lambda size: int(size or 0),
}
"""What JAX reads of where programs are kept when it is imported, and its own values where nothing is said."""


def main(backend: str, connection: socket.socket) -> None:
    """Answer until the process of the tests ends; in what is forked, run the module and end."""
    _import(backend)
    gc.collect()
    gc.freeze()
    while True:
        content, descriptors, *_ = socket.recv_fds(connection, _LARGEST, 16)
        if not content:
            return
        answer, told = os.pipe()
        ready, go = os.pipe()
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                os.close(go)
                request = json.loads(content)
                if request["leads"]:  # before anybody has its number: whoever is killed with it leads a group by then
                    os.setsid()
                os.write(told, str(os.getpid()).encode())
                os.read(ready, 1)
                for one in (answer, told, ready):
                    os.close(one)
                connection.close()
                code = _code_of(request, descriptors)
                leave(code)
            os._exit(0)  # what it forked is the child of the process of the tests now
        os.waitpid(middle, 0)
        pid = os.read(answer, 32)
        for one in (*descriptors, answer, told, ready, go):
            os.close(one)
        connection.send(pid)


def _import(backend: str) -> None:
    """Import what jobs of a backend use. What is not there is told by the job that needs it."""
    importlib.import_module("trustml.worker.pipeline")
    for part in _PARTS if is_known(backend) else ():
        try:
            importlib.import_module(f"{entry_of(backend).module}.{part}")
        except ImportError:
            pass
    if "tensorflow" in sys.modules:  # it optimises the many small graphs of the tests for longer than they run
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _code_of(request: dict[str, Any], descriptors: list[int]) -> int:
    try:
        _run(request, descriptors)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        raise
    return 0


def _run(request: dict[str, Any], descriptors: list[int]) -> None:
    *streams, inherited = descriptors[0], descriptors[1], descriptors[2], descriptors[3:]
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.chdir(request["folder"])
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(request["environment"])
    if "jax" in sys.modules:  # it read this when it was imported
        for name, read in _COMPILED.items():
            if os.environ.get(name) != before.get(name):
                sys.modules["jax"].config.update(name.lower(), read(os.environ.get(name)))
    main = request["main"]
    sys.argv = [main, *request["arguments"]]
    if main.endswith(".py"):
        sys.path.insert(0, os.path.dirname(main))
        runpy.run_path(main, run_name="__main__")
    else:
        end_with_starter(inherited)
        if request["offline"]:
            leave_network()
        runpy.run_module(main, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
