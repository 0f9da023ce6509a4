"""What this machine can do at most, measured by numpy in processes of their own: one core, then all.

Numpy's matrix multiplication (OpenBLAS) was the fastest at hand: 190 GFLOP/s where torch's gave 140 on the two cores
that this was written on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from trustml.launch.process import clean_environment
from trustml.processes import module_command
from trustml_bench.process import PACKAGE
from trustml_bench.results import Ceilings

SIDE = 2048
"""Of the square matrices: 16 MB each, 17 GFLOP a product."""
STREAM_BYTES = 2**28
"""Of each array that is copied; larger than any cache."""
_REPEATS = 12
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Operations and bytes a second."""

    flops: float
    bytes: float


def measure_ceilings() -> Ceilings | None:
    """Measure in two processes, one after the other; None where that fails. Takes some seconds."""
    one, every = _in_process(1), _in_process(len(os.sched_getaffinity(0)))
    if one is None or every is None:
        return None
    return Ceilings(
        flops_one_core=one.flops,
        flops_all_cores=every.flops,
        bytes_one_core=one.bytes,
        bytes_all_cores=every.bytes,
    )


def matrix_rate(side: int = SIDE) -> float:
    """Operations a second of a float32 matrix product, with as many threads as the library was given."""
    generator = np.random.default_rng(0)
    left, right = (generator.random((side, side), np.float32) for _ in range(2))
    out = np.empty_like(left)
    return 2 * side**3 / _shortest(lambda: np.matmul(left, right, out=out))


def stream_rate(threads: int, size: int = STREAM_BYTES) -> float:
    """Bytes a second of the better of copying and adding (STREAM's *copy* and *add*), each thread on its own piece."""
    first = np.ones(size // 4, np.float32)
    second, out = first.copy(), first.copy()
    ends = [first.size * part // threads for part in range(threads + 1)]
    pieces = [slice(low, high) for low, high in pairwise(ends)]

    def copy(piece: slice) -> None:
        np.copyto(out[piece], first[piece])

    def add(piece: slice) -> None:
        np.add(first[piece], second[piece], out=out[piece])

    with ThreadPoolExecutor(threads) as pool:
        copying = 2 * size / _shortest(lambda: list(pool.map(copy, pieces)))
        adding = 3 * size / _shortest(lambda: list(pool.map(add, pieces)))
    return max(copying, adding)


def _shortest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls: a ceiling is what the machine can do when nothing disturbs it."""
    work()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _in_process(threads: int) -> Rates | None:
    variables = {name: str(threads) for name in _THREADS}
    command = module_command(Path(sys.executable), "trustml_bench.machine", str(threads), beside=(PACKAGE,))
    try:
        done = subprocess.run(
            command.arguments,
            pass_fds=command.inherited,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=True,
            env=clean_environment() | variables,
        )
        return msgspec.json.decode(done.stdout, type=Rates)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None


if __name__ == "__main__":
    count = int(sys.argv[1])
    print(msgspec.json.encode(Rates(flops=matrix_rate(), bytes=stream_rate(count))).decode())
