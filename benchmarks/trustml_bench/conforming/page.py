"""``docs/conformance.md``, made from what was found of every engine."""

from __future__ import annotations

import html
from collections.abc import Sequence

from trustml.conformance.findings import CheckResult
from trustml_bench.conforming.catalogue import ENGINES, PeerEngine, Suite
from trustml_bench.conforming.faults import FAULTS, Fault
from trustml_bench.conforming.results import CheckedEngine

_HEAD = """# Other libraries under the conformance suite

This page is made by `trustml conformance --engine all --result benchmarks/results/conformance.json --write-docs
docs/conformance.md`; nothing in it is written by hand. `--from FILE` makes it again from a result. Every engine is
driven as its documentation drives it, in a process of its own, and looked at from outside: examples or clients go in, a
private gradient or new weights come out. Your own step takes the same checks by `trustml.conformance.check_step`.

A check that failed is no verdict on a library: it says that the mechanism, *used so*, is not the one whose epsilon is
computed for Poisson sampling of a declared size. What is made for cohorts of a fixed size fails the divisor, for
example, and is right where exactly so many clients always come. `-` is a check that does not apply: micro-batches are
asked where the engine takes a batch in parts in a way that its documentation shows.
"""
_TITLES: dict[Suite, str] = {"step": "Steps of DP-SGD", "rounds": "Federated rounds"}
_SIGNS = {"passed": "ok", "failed": "**FAILED**", "not decided": "open"}


def conformance_page(checked: Sequence[CheckedEngine]) -> str:
    """Make the page."""
    found = {one.engine: one for one in checked}
    known = [engine for engine in ENGINES if engine.name in found]
    parts = [_HEAD, _overview(known, found)]
    for suite, title in _TITLES.items():
        those = [engine for engine in known if engine.suite == suite and found[engine.name].findings]
        if those:
            parts += [f"## {title}: check by check", *(_matrix(those, found))]
    parts += ["## What failed, and why", *(_diagnoses(found[engine.name]) for engine in known)]
    parts += [_FAULTS_HEAD, *map(_fault, FAULTS)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


_FAULTS_HEAD = """## Faults found, each with a program that shows it

Each program needs the library alone, prints one line and ends with code 3 while the fault is there; `make test-all`
runs those whose library trustml is installed with. They were found by this suite, or by comparing the three frameworks
with one another ([what we found out about the libraries](findings.md)). Where trustml uses the library, it goes round
the fault."""


def _overview(engines: Sequence[PeerEngine], found: dict[str, CheckedEngine]) -> str:
    rows = ["| engine | versions | driven by | checks passed |", "|---|---|---|---|"]
    for engine in engines:
        one = found[engine.name]
        versions = _plain(", ".join(f"{name} {version}" for name, version in one.versions.items()))
        passed = f"{sum(finding.passed for finding in one.findings)} of {len(one.findings)}"
        rows.append(f"| {engine.name} | {versions} | {engine.driven} | {_plain(one.problem) or passed} |")
    return "\n".join(rows)


def _matrix(engines: Sequence[PeerEngine], found: dict[str, CheckedEngine]) -> list[str]:
    checks = dict.fromkeys(finding.check for engine in engines for finding in found[engine.name].findings)
    rows = [f"| check | {' | '.join(engine.name for engine in engines)} |", "|---" * (len(engines) + 1) + "|"]
    for check in checks:
        cells = [_cell([one for one in found[engine.name].findings if one.check == check]) for engine in engines]
        rows.append(f"| {_plain(check)} | {' | '.join(cells)} |")
    return ["\n".join(rows)]


def _cell(findings: Sequence[CheckResult]) -> str:
    """One sign for all networks; the worst, with how many."""
    if not findings:
        return "-"
    verdicts = [finding.verdict for finding in findings]
    worst = next(verdict for verdict in ("failed", "not decided", "passed") if verdict in verdicts)
    share = f" {verdicts.count(worst)} of {len(verdicts)}" if len(set(verdicts)) > 1 else ""
    return _SIGNS[worst] + share


def _diagnoses(one: CheckedEngine) -> str:
    failed = [finding for finding in one.findings if not finding.passed]
    if one.problem:
        return f"### {one.engine}\n\nDid not run: {_plain(one.problem)}"
    if not failed:
        return f"### {one.engine}\n\nNothing."
    lines = [f"- {_plain(one.subject)}: {_plain(one.check)}{_measured(one)}: {_plain(one.diagnosis)}" for one in failed]
    return f"### {one.engine}\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """Text of a result, which a library's error or a stranger's file may have said, as Markdown that says it."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("`", "'")


def _measured(finding: CheckResult) -> str:
    if finding.measured is not None and finding.allowed is not None:
        return f" (measured {finding.measured:.3g}, allowed {finding.allowed:.3g})"
    return "" if finding.value is None else f" ({finding.value:.3g} of what is declared)"


def _fault(fault: Fault) -> str:
    title, text = fault.told()
    found = f"Found in: {', '.join(fault.engines)}. " if fault.engines else ""
    where = f"Program: `benchmarks/reproductions/{fault.path.name}`, environment {fault.environment}."
    return f"### {title}\n\n{text}\n\n{found}{where}"
