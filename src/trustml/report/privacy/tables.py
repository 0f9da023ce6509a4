"""Ledgers, and what the conformance suite found, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from trustml.conformance.findings import CheckResult
from trustml.privacy.ledger import Charge


def print_ledger(out: Console, job: str, charges: Sequence[Charge]) -> None:
    """Print the charges of one model, blocks that differ in nothing but their steps as one line."""
    table = Table(title=f"{job}: {sum(charge.steps for charge in charges)} steps charged", title_justify="left")
    for name in ("attempt", "steps", "charges", "noise multiplier", "clipping norm", "sample rate"):
        table.add_column(name, justify="right")
    for name in ("sampling", "relation", "batches (sha256)"):
        table.add_column(name)
    for group in _groups(charges):
        first, last = group[0], group[-1]
        secret = "secret" if first.secret_sampling else "published"
        table.add_row(
            str(first.attempt),
            f"{first.first_step}-{last.end_step - 1}",
            str(len(group)),
            f"{first.noise_multiplier:.5g}",
            f"{first.clipping_norm:g}",
            f"{first.sample_rate:.5g}" + (f" of one of {first.groups} groups" if first.groups > 1 else ""),
            f"{first.sampling}, {secret}",
            first.relation,
            first.plan[:16],
        )
    out.print(table)


def _groups(charges: Sequence[Charge]) -> list[list[Charge]]:
    groups: list[list[Charge]] = []
    for charge in charges:
        last = groups[-1][-1] if groups else None
        if last is not None and (last.attempt, last.plan, last.end_step) == (
            charge.attempt,
            charge.plan,
            charge.first_step,
        ):
            groups[-1].append(charge)
        else:
            groups.append([charge])
    return groups


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
