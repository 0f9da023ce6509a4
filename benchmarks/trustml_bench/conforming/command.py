"""What ``trustml conformance --engine`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trustml.conformance.findings import CheckResult
from trustml.errors import UsageError
from trustml.record.files import write_atomic
from trustml_bench.conforming.catalogue import ENGINES, PeerEngine
from trustml_bench.conforming.page import conformance_page as conformance_page
from trustml_bench.conforming.results import CheckedEngine, suite_digest
from trustml_bench.conforming.results import read_checked as read_checked
from trustml_bench.conforming.run import check_engine

EVERY = "all"


def chosen(names: Sequence[str]) -> list[PeerEngine]:
    """Find engines by their names.

    Raises
    ------
    UsageError
        If there is none of a name.
    """
    known = {engine.name: engine for engine in ENGINES}
    unknown = [name for name in names if name not in known and name != EVERY]
    if unknown:
        raise UsageError(f"--engine: {unknown[0]!r} is none; there are {EVERY}, {', '.join(known)}")
    return [engine for engine in ENGINES if EVERY in names or engine.name in names]


def findings_of(checked: CheckedEngine) -> list[CheckResult]:
    """Findings of an engine; one that did not run is not decided."""
    if not checked.problem:
        return list(checked.findings)
    check, problem = "the engine runs", checked.problem
    return [CheckResult(check=check, passed=False, decided=False, diagnosis=problem, subject=checked.engine)]


def outdated(checked: Sequence[CheckedEngine]) -> list[str]:
    """Name the engines whose findings another state of the suite made."""
    return [one.engine for one in checked if one.findings and one.suite != suite_digest()]


def check_engines(
    names: Sequence[str], *, kept: Path | None, tell: Callable[[str], None] = lambda line: None
) -> list[CheckedEngine]:
    """Check engines one after another, and keep what is found after each; give all that is known then.

    Engines of an earlier result stay in it, also those that cannot run here.
    """
    wanted = chosen(names)
    found = {one.engine: one for one in read_checked(kept)} if kept is not None and kept.exists() else {}
    for engine in wanted:
        tell(f"checking {engine.name}: some minutes")
        checked = check_engine(engine)
        if checked.problem and engine.name in found and not found[engine.name].problem:
            tell(f"{engine.name} did not run, what was found before stays: {checked.problem}")
        else:
            found[engine.name] = checked
        if kept is not None:
            write_atomic(kept, msgspec.json.format(msgspec.json.encode(list(found.values())), indent=1) + b"\n")
    return [found[engine.name] for engine in ENGINES if engine.name in found]
