"""A whole benchmark: the machine, group after group, the machine again, and the file written after each group."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trustml.errors import UsageError
from trustml.plan.switches import ALLOCATOR_VARIABLES, switches_in_force
from trustml.record.provenance import MAIN_PACKAGES, hardware, package_versions, source_revision
from trustml_bench.machine import measure_ceilings
from trustml_bench.process import PACKAGE
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
        Measured in the same way: all of it is kept but for groups that are measured again.

    Raises
    ------
    UsageError
        If the file cannot be written, or the earlier result was measured in another way.
    """
    begun = time.monotonic()
    new = _nothing_yet(command, turns)
    if earlier is not None:
        _require_same(earlier, new, path)
        groups = _left(groups, earlier)
        begun -= earlier.seconds
        new = msgspec.structs.replace(earlier, command=command if earlier.complete and groups else earlier.command)
    completes = new.command == command
    if earlier is not None and not groups:
        if completes and not earlier.complete:  # by a call that chose what was missing
            new = msgspec.structs.replace(new, complete=True)
            _write(path, new)
        return new
    listener({"event": "run", "run": "benchmark", "jobs": len(groups)})
    result = msgspec.structs.replace(new, complete=False, ceilings=_larger(ceilings(), new.ceilings))
    _write(path, result)
    for number, group in enumerate(groups, start=1):
        start, at = time.monotonic(), _now("milliseconds")
        listener({"event": "job-start", "job": group.name})
        found, theirs = measure_group(group, turns=turns, listener=listener)
        last = number == len(groups)
        result = msgspec.structs.replace(
            result,
            seconds=round(time.monotonic() - begun, 1),
            complete=last and completes,
            versions=_with_versions(result.versions, theirs, path),
            ceilings=_larger(result.ceilings, ceilings() if last else None),
            measured=_with_timings(result.measured, [msgspec.structs.replace(one, begun=at) for one in found]),
        )
        _write(path, result)
        listener(_ended(group, found, seconds=time.monotonic() - start))
    return result


def _nothing_yet(command: str, turns: int) -> Result:
    """A result of this code on this machine, in which nothing was measured."""
    inherited = {name: value for name, value in switches_in_force().items() if name not in ALLOCATOR_VARIABLES}
    return Result(
        format=FORMAT,
        created=_now("seconds"),
        seconds=0.0,
        complete=False,
        command=command,
        repeats=turns,
        revision=source_revision(also=PACKAGE),
        hardware=hardware() | inherited,
        versions={"main": package_versions(MAIN_PACKAGES)},
        ceilings=None,
        measured=(),
    )


def _ended(group: Group, found: Sequence[Timing], *, seconds: float) -> dict[str, Any]:
    """What a listener is told of a group that was measured."""
    bad = [one.engine for one in found if one.status == "failed"]
    status, reason = ("error", f"failed: {', '.join(bad)}") if bad else ("ok", "")
    return {"event": "job-end", "job": group.name, "status": status, "reason": reason, "seconds": seconds}


def _require_same(earlier: Result, new: Result, path: Path) -> None:
    """Refuse to go on with what was measured in another way: times of both would stand beside each other."""
    revisions = (earlier.revision, new.revision)
    if any("commit" not in one for one in revisions):
        differs = "nothing says which code measured it, as outside of a git checkout"
    elif earlier.revision["commit"] != new.revision["commit"]:
        differs = f"it was measured at commit {earlier.revision['commit'][:12]}, not this one"
    elif any(one.get("changed_files") != "0" for one in revisions):
        differs = "files of trustml were changed and not committed, then or now, so the code may be another"
    elif earlier.repeats != new.repeats:
        differs = f"it was measured with --repeats {earlier.repeats or 'unknown'}, not {new.repeats}"
    else:
        differs = _difference(earlier.hardware, new.hardware) or _difference(
            earlier.versions.get("main", {}), new.versions["main"]
        )
    if differs:
        raise UsageError(f"--resume: {path} cannot be continued: {differs}; move it away, or name another --result")


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first fact of two that differs, in words; empty where none does."""
    for name in sorted({*before, *now}):
        then, here = before.get(name, "not there"), now.get(name, "not there")
        if then != here:
            return f"{name} was {then}, and is {here}"
    return ""


def _left(groups: Sequence[Group], earlier: Result) -> list[Group]:
    """Groups that are still to be measured: those in which an engine is missing, failed or took its turns alone."""
    left: list[Group] = []
    for group in groups:
        found = [earlier.of(seat.workload, seat.engine.name, group.allocator) for seat in group.seats]
        there = [one for one in found if one is not None and one.status != "failed"]
        if len(there) < len(group.seats) or len({one.begun for one in there}) > 1:
            left.append(group)
    return left


def _with_timings(before: Sequence[Timing], found: Sequence[Timing]) -> tuple[Timing, ...]:
    """All timings, of which new ones take the place of those of the same engine, workload and allocator."""
    again = {(one.workload, one.engine, one.allocator) for one in found}
    return (*(one for one in before if (one.workload, one.engine, one.allocator) not in again), *found)


def _with_versions(
    before: dict[str, dict[str, str]], found: dict[str, dict[str, str]], path: Path
) -> dict[str, dict[str, str]]:
    """Versions of all environments; one that was changed meanwhile measures something else."""
    for environment, packages in found.items():
        known = before.get(environment, {})
        both = known.keys() & packages.keys()
        if differs := _difference({name: known[name] for name in both}, {name: packages[name] for name in both}):
            raise UsageError(f"{path}: {environment} was changed meanwhile: {differs}; name another --result")
    return before | {environment: before.get(environment, {}) | packages for environment, packages in found.items()}


def _now(timespec: str) -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec=timespec)


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


def _write(path: Path, result: Result) -> None:
    try:
        write_result(path, with_rows(result))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another file with --result") from None
