"""Findings that every family of checks can come to."""

from __future__ import annotations

from trustml.attacks.estimates import AttackEstimate
from trustml.auditing.result import Finding, Measurement
from trustml.errors import TrustmlError


def not_checked(check: str, what: str, *, why: str, would_change: str = "", claim: str = "") -> Finding:
    """Say that something was asked for and could not be looked at."""
    return Finding(
        id=f"{check}.{what}",
        check=check,
        severity="not checked",
        title=f"Not checked: {why}",
        claim=claim,
        reason=why,
        would_change=would_change or "fix what is named, and audit again",
    )


def reason(error: BaseException) -> str:
    """One line on an error."""
    lines = str(error).strip().splitlines() or ["no message"]
    return lines[0][:400] if isinstance(error, TrustmlError) else f"{type(error).__name__}: {lines[0]}"[:400]


def measured_figure(measure: str, estimate: AttackEstimate) -> Measurement:
    """Give an estimate as the figure behind a finding."""
    return Measurement(
        measure=measure,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence if estimate.low is not None else None,
        n=estimate.n,
        note=estimate.note,
        splits=estimate.splits,
        monte_carlo_error=estimate.error if estimate.splits else None,
    )
