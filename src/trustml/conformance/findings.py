"""What a check found."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["passed", "failed", "not decided"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check.

    Parameters
    ----------
    check : str
        What was checked.
    passed : bool
        False as well where the check could not be decided.
    measured, allowed : float
        The figure, and the largest one that passes; NaN where there is none (``null`` in JSON).
    diagnosis : str
        What is most likely wrong, or why it was not decided; empty where the check passed.
    subject : str
        Which model or setting was checked.
    value, low, high : float, optional
        A measured ratio, 1 where all is right, and its confidence interval; ``null`` in checks that are about
        something else, and where an end is infinite.
    confidence : float, optional
        Of that interval.
    decided : bool
        Whether enough was seen to tell.
    """

    check: str
    passed: bool
    measured: float | None = None
    allowed: float | None = None
    diagnosis: str = ""
    subject: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    decided: bool = True

    @property
    def verdict(self) -> Verdict:
        """Passed, failed, or not decided."""
        if not self.decided:
            return "not decided"
        return "passed" if self.passed else "failed"


def bounded(check: str, measured: float, allowed: float, *, diagnosis: str) -> CheckResult:
    """Pass where ``measured <= allowed``; what is not finite fails."""
    finite = math.isfinite(measured)
    passed = finite and measured <= allowed
    return CheckResult(
        check=check,
        passed=passed,
        measured=measured if finite else None,
        allowed=allowed,
        diagnosis="" if passed else diagnosis,
    )


def raised(check: str, error: Exception) -> CheckResult:
    """Fail a check in which the code under test raised an exception; of a long message its two ends are told."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ... ".join(dict.fromkeys(lines[:1] + lines[-1:]))
    return CheckResult(check=check, passed=False, diagnosis=f"raised {type(error).__name__}: {text}"[:300])
