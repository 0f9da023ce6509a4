"""Findings that every family of checks can come to."""

from __future__ import annotations

from trustml.auditing.result import Finding
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
