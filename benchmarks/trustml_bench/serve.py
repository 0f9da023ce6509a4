"""The process of one engine: ``python -m trustml_bench.serve MAKER WORKLOAD``, the workload as JSON.

Makes the unit, calls it once and some more, says how that went, then answers the questions of :mod:`.protocol` that
come on standard input until it ends.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil

from trustml.record.provenance import package_versions
from trustml_bench.engine import Maker, Unit, Work
from trustml_bench.protocol import (
    Answer,
    Failed,
    Impossible,
    LookAtMemory,
    Memory,
    Ready,
    RunRequest,
    Times,
    encode,
    read_question,
)
from trustml_bench.workloads import Workload

WARM_UP_CALLS, WARM_UP_SECONDS = 6, 2.0
"""At most so many calls, or so long: the torch backend chooses its threads in the first five rounds."""

_PACKAGES = {
    "numpy": "numpy",
    "torch": "torch",
    "opacus": "opacus",
    "captum": "captum",
    "pfl": "pfl",
    "jax": "jax",
    "jax_privacy": "jax-privacy",
    "optax": "optax",
    "fedjax": "fedjax",
    "tensorflow": "tensorflow",
    "tensorflow_privacy": "tensorflow-privacy",
    "tensorflow_federated": "tensorflow-federated",
    "tf_explain": "tf-explain",
    "flwr": "flwr",
    "ray": "ray",
}
"""Module to distribution."""


def find_maker(name: str) -> Maker:
    """Import ``module:function``; a module without a dot lies in ``trustml_bench.engines``.

    What follows after a further colon is given to the function before the workload.
    """
    module, function, *given = name.split(":")
    found = getattr(import_module(module if "." in module else f"trustml_bench.engines.{module}"), function)
    return partial(found, *given)


def serve(maker: str, workload: Workload, answers: BinaryIO) -> None:
    """Answer until standard input ends."""

    def say(answer: Answer) -> None:
        answers.write(encode(answer))
        answers.flush()

    try:
        begin = time.perf_counter()
        unit = find_maker(maker)(workload)
        making = time.perf_counter() - begin
        forget_high_water()
        before = high_water()
        first = _timed(unit)
        warm = _warm_up(unit, first)
        note = unit.note if isinstance(unit, Work) else ""
        say(Ready(making=making, first=first, warm=warm, versions=_versions(), note=note))
        for line in sys.stdin:
            match read_question(line):
                case RunRequest() as asked:
                    say(Times(seconds=_times(unit, asked)))
                case LookAtMemory():
                    say(Memory(before=before, peak=max(before, high_water())))
    except NotImplementedError as error:
        say(Impossible(reason=str(error) or "the library does not offer it"))
    except Exception as error:
        traceback.print_exc()
        say(Failed(reason=f"{type(error).__name__}: {str(error).strip()[:400]}"))


def _timed(unit: Unit) -> float:
    start = time.perf_counter()
    unit()
    return time.perf_counter() - start


def _warm_up(unit: Unit, first: float) -> float:
    begin, last = time.perf_counter(), first
    for _ in range(WARM_UP_CALLS):
        last = _timed(unit)
        if time.perf_counter() - begin > WARM_UP_SECONDS:
            break
    return last


def _times(unit: Unit, asked: RunRequest) -> tuple[float, ...]:
    found: list[float] = []
    end = time.perf_counter() + asked.seconds
    while len(found) < asked.calls and (not found or time.perf_counter() < end):
        found.append(_timed(unit))
    return tuple(found)


def _versions() -> dict[str, str]:
    distributions = tuple(name for module, name in _PACKAGES.items() if module in sys.modules)
    found = package_versions(distributions)
    if "fedjax" in sys.modules:  # from a folder, whose metadata may be elsewhere on the path
        found.setdefault("fedjax", next((d.version for d in metadata.distributions(name="fedjax")), "unknown"))
    return found


def forget_high_water() -> None:
    """Set VmHWM back to what is resident now, where Linux allows it; else importing may hide what the work holds."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def high_water() -> int:
    """VmHWM of this process and of those it started, in bytes; 0 where the system does not tell.

    Not ``ru_maxrss``: Linux carries that over from the parent through fork and exec.
    """
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total


def main(arguments: list[str]) -> None:
    """Keep the pipe of the answers from what libraries print and from children that outlive us."""
    maker, workload = arguments
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(maker, msgspec.json.decode(workload, type=Workload), answers)


if __name__ == "__main__":
    main(sys.argv[1:])
