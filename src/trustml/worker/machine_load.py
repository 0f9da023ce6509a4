"""How busy the machine was beside a job, and what the job held and used of it: what its timings are worth."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil


class MachineLoad:
    """Looks at the machine when made, and again when it tells.

    The load is that of the last minute before; what others used of the processors is what was used of them since, less
    what this process and its children did.
    """

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._start, self._all, self._own = time.perf_counter(), machine_seconds(), own_seconds()

    def details(self) -> dict[str, float]:
        """Give numbers for the record: load, cores, processor time of the job, and the share that others took."""
        wall, cores = time.perf_counter() - self._start, psutil.cpu_count() or 1
        used, own = machine_seconds() - self._all, own_seconds() - self._own
        others = (used - own) / (cores * wall) if wall > 0 else 0.0
        return {
            "load_before": self._load,
            "cores": float(cores),
            "cpu_seconds": own,
            "others_share": min(1.0, max(0.0, others)),
        }


def machine_seconds() -> float:
    """Seconds that all processors of the machine have worked, for whomever; what a host took away counts too."""
    found = psutil.cpu_times()
    fields = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(found, name, 0.0) for name in fields))


def own_seconds() -> float:
    """Processor seconds of this process and its children, those that run and those that have ended."""
    found = os.times()
    total = found.user + found.system + found.children_user + found.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)


def resident_bytes(what: str) -> int:
    """Read ``VmRSS``, what this process holds, or ``VmHWM``, the most that it held; 0 where the system does not tell.

    Not ``ru_maxrss``: Linux carries that over from the parent through fork and exec.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
