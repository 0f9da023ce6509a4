"""How busy the machine was beside a job, and what the job held and used of it: what its timings are worth."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


class MachineLoad:
    """Looks at the machine when made, and again when it tells.

    The load is that of the last minute before, and of the last minute when it tells; what others used of the processors
    is what was used of them since, less what this process and its children did. Where a quota of processors holds a
    control group back, a container's say, its periods are counted.
    """

    def __init__(self) -> None:
        self._load, self._quotas = os.getloadavg()[0], quotas()
        self._start, self._all, self._own = time.perf_counter(), machine_seconds(), own_seconds()

    def details(self) -> dict[str, float]:
        """Give numbers for the record: load, cores, processor time of the job, what others took, and throttling."""
        wall, cores = time.perf_counter() - self._start, psutil.cpu_count() or 1
        used, own = machine_seconds() - self._all, own_seconds() - self._own
        others = (used - own) / (cores * wall) if wall > 0 else 0.0
        return {
            "load_before": self._load,
            "load_after": os.getloadavg()[0],
            "cores": float(cores),
            "cpu_seconds": own,
            "others_share": min(1.0, max(0.0, others)),
            **self._throttled(),
        }

    def _throttled(self) -> dict[str, float]:
        """Share of periods in which a quota held us back, and for how long, of the control group held back most."""
        found = [(0.0, 0.0)]
        for group, now in quotas().items():
            before = self._quotas.get(group, now)
            periods = now.periods - before.periods
            if periods > 0:
                found.append(((now.throttled - before.throttled) / periods, now.seconds - before.seconds))
        share, seconds = max(found)
        return {"throttled_share": min(1.0, share), "throttled_seconds": seconds} if share > 0 else {}


@dataclass(frozen=True)
class Quota:
    """What a control group's quota of processors has done so far: periods, those that were throttled, and seconds."""

    periods: int
    throttled: int
    seconds: float


def quotas(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> dict[str, Quota]:
    """Read ``cpu.stat`` of this process's control group and of those above it, by path; empty where there is none."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    found: dict[str, Quota] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one tree of all controllers
            top = mounted
        elif "cpu" in controllers.split(","):
            top = mounted / controllers
        else:
            continue
        folder = top / path.lstrip("/")
        for one in (folder, *folder.parents):
            if one.is_relative_to(top) and (quota := _quota(one / "cpu.stat")) is not None:
                found[str(one)] = quota
    return found


def _quota(path: Path) -> Quota | None:
    try:
        known = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        seconds = (
            int(known["throttled_usec"]) / 1e6 if "throttled_usec" in known else int(known["throttled_time"]) / 1e9
        )
        return Quota(int(known["nr_periods"]), int(known["nr_throttled"]), seconds)
    except (OSError, ValueError, KeyError):  # the tree's own root has none
        return None


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
