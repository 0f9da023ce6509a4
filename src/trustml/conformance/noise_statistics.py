"""Statistics of noise, in standard errors of a normal distribution.

A right mechanism passes a check but once in 1 / :data:`ERROR` times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from trustml.conformance.findings import Finding, bounded
from trustml.conformance.subject import Vector, norm_of

ERROR = 1e-6
"""Probability with which a right mechanism fails a check."""


def allowed(statistics: int = 1) -> float:
    """Standard errors that pass where the largest of so many statistics is looked at."""
    return NormalDist().inv_cdf(1 - ERROR / (2 * statistics))


def chi_square_errors(squares: float, degrees: float) -> float:
    """Standard errors by which a sum of squares of standard normal numbers is off (Wilson and Hilferty 1931)."""
    if degrees <= 0 or not math.isfinite(squares):
        return math.inf
    spread = 2 / (9 * degrees)
    return float(((max(squares, 0.0) / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def uncorrelated(check: str, pairs: Sequence[tuple[Vector, Vector]], diagnosis: str) -> Finding:
    """Compare correlations of vectors with what independent ones have."""
    worst = 0.0
    for one, two in pairs:
        length = norm_of(one) * norm_of(two)
        worst = max(worst, abs(float(one @ two)) / length * math.sqrt(len(one)) if length else math.inf)
    return bounded(check, worst, allowed(len(pairs)), diagnosis=diagnosis)
