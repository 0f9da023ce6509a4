"""Engines of no library: quick, dying, failing ones; and results made of numbers. Imports no framework."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np

from trustml_bench.engine import Engine, Unit
from trustml_bench.results import FORMAT, Result, Timing
from trustml_bench.rows import with_rows
from trustml_bench.selection import Seat
from trustml_bench.workloads import Workload

WORKLOAD = Workload(kind="plain_step", network="small_mlp", size=4)


def quick(workload: Workload) -> Unit:
    """A millisecond."""
    assert workload.kind == "plain_step"
    print("libraries print things")
    return lambda: time.sleep(0.001)


def slow(workload: Workload) -> Unit:
    """A fifth of a second."""
    return lambda: time.sleep(0.2)


def refuses(workload: Workload) -> Unit:
    """Is not offered."""
    raise NotImplementedError("nobody wrote it")


def breaks(workload: Workload) -> Unit:
    """Breaks in the first call."""
    return lambda: {}["nothing"]


def dies_later(workload: Workload) -> Unit:
    """Is killed when its turn comes."""
    calls = []

    def unit() -> None:
        calls.append(0)
        if len(calls) > 20:
            print("last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    return unit


def with_child(workload: Workload) -> Unit:
    """Leaves a child behind in a session of its own."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(f"child {child.pid}", file=sys.stderr, flush=True)
    return lambda: None


def holds(workload: Workload) -> Unit:
    """Touches 64 MiB in its first call."""
    held = []

    def unit() -> None:
        if not held:
            held.append(np.ones(2**23))

    return unit


def engine(function: str, *, name: str = "", role: str = "peer", environment: str = "jax") -> Engine:
    """An engine of this module; the environment is only where it runs."""
    return Engine(
        name=name or function,
        environment=environment,
        maker=f"tests.bench.fakes:{function}",
        kinds=("plain_step",),
        role=role,
    )


def seat(function: str, *, judged: bool = True, environment: str = "jax") -> Seat:
    return Seat(engine=engine(function, environment=environment), workload=WORKLOAD, judged=judged)


def measured(workload: Workload, name: str, seconds: float, **fields) -> Timing:
    """An engine whose turns all lasted about so long."""
    turns = tuple(seconds * (1 + 0.01 * (turn % 3 - 1)) for turn in range(7))
    given = {
        "environment": "jax",
        "role": "peer",
        "allocator": "tuned",
        "status": "ok",
        "turns": turns,
        "low": seconds * 0.98,
        "median": seconds,
        "high": seconds * 1.02,
        "first": 1.0,
        "calls": 70,
        "memory_before": 2**28,
        "memory_peak": 2**29,
    }
    return Timing(workload=workload, engine=name, **(given | fields))


def absent(workload: Workload, name: str, *, status: str = "failed", reason: str = "broke", **fields) -> Timing:
    """An engine without figures."""
    given = {"environment": "jax", "role": "peer", "allocator": "tuned"}
    return Timing(workload=workload, engine=name, status=status, reason=reason, **(given | fields))


def result(*those: Timing, **fields) -> Result:
    """A result of these, with its rows."""
    given = {
        "format": FORMAT,
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": 60.0,
        "complete": True,
        "command": "trustml bench",
        "revision": {"commit": "0123456789abcdef"},
        "hardware": {"processor": "a processor", "cores": "2", "memory_gib": "8.0", "system": "Linux"},
        "versions": {"jax": {"jax": "0.1"}},
        "ceilings": None,
    }
    return with_rows(Result(measured=those, **(given | fields)))
