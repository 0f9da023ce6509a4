"""A whole benchmark: the machine, group after group, the machine again, and the file written after each group."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trustml.errors import UsageError
from trustml.plan.switches import ALLOCATOR_VARIABLES, switches_in_force
from trustml.record.provenance import MAIN_PACKAGES, hardware, package_versions, source_revision
from trustml_bench.machine import measure_ceilings
from trustml_bench.results import FORMAT, Ceilings, Result, Timing, write_result
from trustml_bench.rows import with_rows
from trustml_bench.selection import Group
from trustml_bench.turns import Listener, measure_group


def run_benchmark(
    groups: Sequence[Group],
    *,
    path: Path,
    turns: int,
    listener: Listener,
    command: str = "trustml bench",
    ceilings: Callable[[], Ceilings | None] = measure_ceilings,
    earlier: Result | None = None,
) -> Result:
    """Measure the groups and write `path` after each, so that an interruption loses one group at most.

    Parameters
    ----------
    groups : sequence of Group
    path : Path
    turns : int
    listener : callable
        Is given events as those of a run.
    command : str
        For the record.
    ceilings : callable
        Measures the machine; called before all and after all.
    earlier : Result, optional
        Of the same code: its groups are kept, and not measured again.

    Raises
    ------
    UsageError
        If the file cannot be written, or the earlier result is of other code.
    """
    begun, created = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    measured: list[Timing] = []
    versions = {"main": package_versions(MAIN_PACKAGES)}
    if earlier is not None:
        _require_same_code(earlier, path)
        groups, measured = _left(groups, earlier)
        begun, created = begun - earlier.seconds, earlier.created
        versions = {**earlier.versions, **versions}
        if not groups:
            return earlier
    listener({"event": "run", "run": "benchmark", "jobs": len(groups)})
    inherited = {name: value for name, value in switches_in_force().items() if name not in ALLOCATOR_VARIABLES}
    about = (hardware() | inherited, source_revision())
    first = most = _larger(ceilings(), earlier.ceilings if earlier is not None else None)
    result = _result(created, begun, command, about, versions, most, measured, complete=False)
    _write(path, result)
    for number, group in enumerate(groups, start=1):
        start = time.monotonic()
        listener({"event": "job-start", "job": group.name})
        found, theirs = measure_group(group, turns=turns, listener=listener)
        if number == len(groups):
            most = _larger(first, ceilings())
        measured += found
        for environment, packages in theirs.items():
            versions.setdefault(environment, {}).update(packages)
        result = _result(created, begun, command, about, versions, most, measured, complete=number == len(groups))
        _write(path, result)
        bad = [one.engine for one in found if one.status == "failed"]
        listener(
            {
                "event": "job-end",
                "job": group.name,
                "status": "error" if bad else "ok",
                "reason": f"failed: {', '.join(bad)}" if bad else "",
                "seconds": time.monotonic() - start,
            }
        )
    return result


def _require_same_code(earlier: Result, path: Path) -> None:
    now = source_revision().get("commit")
    if earlier.revision.get("commit") != now:
        raise UsageError(
            f"--resume: {path} was measured at commit {earlier.revision.get('commit', 'unknown')[:12]}, not this one; "
            "move it away, or name another --result"
        )


def _left(groups: Sequence[Group], earlier: Result) -> tuple[list[Group], list[Timing]]:
    """Groups that are still to be measured, and what is kept of the others; one in which an engine failed is again."""
    left: list[Group] = []
    kept: list[Timing] = []
    for group in groups:
        found = [earlier.of(seat.workload, seat.engine.name, group.allocator) for seat in group.seats]
        there = [one for one in found if one is not None and one.status != "failed"]
        if len(there) == len(group.seats):
            kept += there
        else:
            left.append(group)
    return left, kept


def _larger(first: Ceilings | None, second: Ceilings | None) -> Ceilings | None:
    """The larger of each rate: what disturbs a measurement makes it smaller."""
    if first is None or second is None:
        return first or second
    return Ceilings(
        flops_one_core=max(first.flops_one_core, second.flops_one_core),
        flops_all_cores=max(first.flops_all_cores, second.flops_all_cores),
        bytes_one_core=max(first.bytes_one_core, second.bytes_one_core),
        bytes_all_cores=max(first.bytes_all_cores, second.bytes_all_cores),
    )


def _result(
    created: str,
    begun: float,
    command: str,
    about: tuple[dict[str, str], dict[str, str]],
    versions: dict[str, dict[str, str]],
    ceilings: Ceilings | None,
    measured: Sequence[Timing],
    *,
    complete: bool,
) -> Result:
    return with_rows(
        Result(
            format=FORMAT,
            created=created,
            seconds=round(time.monotonic() - begun, 1),
            complete=complete,
            command=command,
            revision=about[1],
            hardware=about[0],
            versions=versions,
            ceilings=ceilings,
            measured=tuple(measured),
        )
    )


def _write(path: Path, result: Result) -> None:
    try:
        write_result(path, result)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another file with --result") from None
