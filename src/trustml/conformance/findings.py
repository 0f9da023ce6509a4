"""What a check found."""

from __future__ import annotations

import math

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check.

    Parameters
    ----------
    check : str
        What was checked.
    passed : bool
    measured, allowed : float
        The figure, and the largest one that passes; NaN where there is none (``null`` in JSON).
    diagnosis : str
        What is most likely wrong; empty where the check passed.
    subject : str
        Which model or setting was checked.
    """

    check: str
    passed: bool
    measured: float | None = None
    allowed: float | None = None
    diagnosis: str = ""
    subject: str = ""


def bounded(check: str, measured: float, allowed: float, *, diagnosis: str) -> Finding:
    """Pass where ``measured <= allowed``; what is not finite fails."""
    finite = math.isfinite(measured)
    passed = finite and measured <= allowed
    return Finding(
        check=check,
        passed=passed,
        measured=measured if finite else None,
        allowed=allowed,
        diagnosis="" if passed else diagnosis,
    )
