"""Findings of the conformance suite as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from trustml.conformance.findings import CheckResult


def print_findings(out: Console, findings: Sequence[CheckResult], *, everything: bool) -> None:
    """Print one line for each subject, and every check that failed; or every check."""
    summary = Table(title="conformance", title_justify="left")
    summary.add_column("subject")
    summary.add_column("checks passed", justify="right")
    summary.add_column("failed")
    for subject in dict.fromkeys(finding.subject for finding in findings):
        own = [finding for finding in findings if finding.subject == subject]
        failed = [finding.check for finding in own if not finding.passed]
        summary.add_row(subject, f"{len(own) - len(failed)} of {len(own)}", "; ".join(failed) or "-")
    out.print(summary)
    shown = [finding for finding in findings if everything or not finding.passed]
    for finding in shown:
        sign = {"passed": "ok    ", "failed": "FAILED", "not decided": "OPEN  "}[finding.verdict]
        diagnosis = f": {finding.diagnosis}" if finding.diagnosis else ""
        out.print(
            f"{sign} {finding.subject}: {finding.check}{_figures(finding)}{diagnosis}", soft_wrap=True, markup=False
        )


def _figures(finding: CheckResult) -> str:
    if finding.confidence is not None:
        value, low, high = (
            "none" if part is None else f"{part:.4g}" for part in (finding.value, finding.low, finding.high)
        )
        return f" ({value} of what is declared, {finding.confidence:.1%} interval {low} to {high})"
    if finding.measured is None:
        return ""
    return f" (measured {finding.measured:.3g}, allowed {finding.allowed:.3g})"
