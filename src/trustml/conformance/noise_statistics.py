"""Statistics of noise, in standard errors of a normal distribution.

A right mechanism fails a check of a single statistic once in 1 / :data:`ERROR` times, and a check of a ratio about as
rarely or more: its whole interval must lie more than :data:`MARGIN` off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.subject import Vector, norm_of

ERROR = 1e-6
"""Probability with which a right mechanism fails a check."""
PRECISION = 0.003
"""Largest standard error of a ratio of noise to its declared size that is taken for an answer."""
MARGIN = 0.01
"""A ratio fails where its whole interval lies below 1 - MARGIN or above 1 + MARGIN."""
CONFIDENCE = 0.999
_WIDTH = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Measured deviation of noise over the declared one.

    Attributes
    ----------
    value : float
        NaN where nothing was seen, or something that is not finite.
    low, high : float
        Ends of the interval of :data:`CONFIDENCE`.
    error : float
        Standard error, over the value.
    """

    value: float
    low: float
    high: float
    error: float


def allowed(statistics: int = 1) -> float:
    """Standard errors that pass where the largest of so many statistics is looked at."""
    return NormalDist().inv_cdf(1 - ERROR / (2 * statistics))


def numbers_needed(precision: float) -> int:
    """Count the independent normal numbers that fix their deviation to this standard error."""
    return math.ceil(0.5 / precision**2)


def ratio_of(mean_square: float, numbers: float) -> Ratio:
    """Estimate a deviation from the mean square of so many independent normal numbers.

    Parameters
    ----------
    mean_square : float
        Of noise over its declared deviation.
    numbers : float
        Effective ones, where they are correlated.
    """
    if numbers <= 0:
        return Ratio(value=math.nan, low=0.0, high=math.inf, error=math.inf)
    if not math.isfinite(mean_square):
        return Ratio(value=math.nan, low=0.0, high=math.inf, error=0.0)
    value = math.sqrt(max(mean_square, 0.0))
    spread = 2 / (9 * numbers)
    least, most = (1 - spread + sign * _WIDTH * math.sqrt(spread) for sign in (-1, 1))
    return Ratio(
        value=value,
        low=value * most**-1.5,
        high=value * least**-1.5 if least > 0 else math.inf,
        error=math.sqrt(0.5 / numbers),
    )


def sized(check: str, ratio: Ratio, *, diagnosis: str, precision: float = PRECISION, why: str = "") -> CheckResult:
    """Hold a ratio against 1: failed where its interval is plainly off, not decided where it is too wide to tell.

    Parameters
    ----------
    check : str
    ratio : Ratio
    diagnosis : str
        What is wrong if it is off.
    precision : float
        Standard error that must have been reached.
    why : str
        Why it was not, if it was not.
    """
    off = not math.isfinite(ratio.value) and ratio.error < math.inf
    off = off or ratio.high < 1 - MARGIN or ratio.low > 1 + MARGIN
    decided = off or ratio.error <= precision
    text = diagnosis if off else ""
    if not decided:
        text = f"not decided: the standard error is {ratio.error:.2%}, not {precision:.2%}; {why}"
    return CheckResult(
        check=check,
        passed=decided and not off,
        decided=decided,
        diagnosis=text,
        value=_finite(ratio.value),
        low=_finite(ratio.low),
        high=_finite(ratio.high),
        confidence=CONFIDENCE,
    )


def chi_square_errors(squares: float, degrees: float) -> float:
    """Standard errors by which a sum of squares of standard normal numbers is off (Wilson and Hilferty 1931)."""
    if degrees <= 0 or not math.isfinite(squares):
        return math.inf
    spread = 2 / (9 * degrees)
    return float(((max(squares, 0.0) / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def surprises(squares: npt.ArrayLike, degrees: npt.ArrayLike) -> Vector:
    """Standard errors by which sums of squares are off, at the least, however few the degrees.

    Chernoff's bound on the probability, so that what has no noise at all is as surprising as it should be: the cube
    root of a chi-square number is nearly normal, but not in the tails of a few degrees. Below 0 where there is too
    little.
    """
    degrees = np.asarray(degrees, np.float64)
    share = np.maximum(np.asarray(squares, np.float64) / np.maximum(degrees, 1e-300), 1e-300)
    nats = degrees / 2 * (share - 1 - np.log(share))
    return np.asarray(np.sign(share - 1) * np.sqrt(2 * np.maximum(nats, 0.0)))


def surprising(statistics: int = 1) -> float:
    """Give the largest of so many :func:`surprises` that passes."""
    return math.sqrt(2 * math.log(2 * statistics / ERROR))


def quietest(squares: Vector, count: float) -> tuple[float, int, int]:
    """Find the coordinate, or the run of 2, 4, 8, ... of them, with the most surprising lack of noise.

    Parameters
    ----------
    squares : float64 array of shape (coordinates,)
        Sums of squares of `count` normal numbers each.
    count : float

    Returns
    -------
    surprise : float
        Standard errors by which it has too little; :func:`surprising` of ``2 * coordinates`` pass.
    first, width : int
        Where it is.
    """
    worst, at, width, size = math.inf, 0, 1, 1
    while True:
        errors = surprises(squares, np.full(len(squares), count * size))
        if float(errors.min()) < worst:
            worst, at, width = float(errors.min()), int(errors.argmin()) * size, size
        if len(squares) < 2:
            return -worst, at, width
        squares = squares[: len(squares) // 2 * 2].reshape(-1, 2).sum(axis=1)
        size *= 2


def uncorrelated(check: str, pairs: Sequence[tuple[Vector, Vector]], diagnosis: str) -> CheckResult:
    """Compare correlations of vectors with what independent ones have."""
    worst = 0.0
    for one, two in pairs:
        length = norm_of(one) * norm_of(two)
        worst = max(worst, abs(float(one @ two)) / length * math.sqrt(len(one)) if length else math.inf)
    return bounded(check, worst, allowed(len(pairs)), diagnosis=diagnosis)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
