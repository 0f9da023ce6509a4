"""Rules for the mean of a function over (0, 1): points, and weights that sum to one.

``n`` counts points, that is forward and backward passes through a network, not the spaces between them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Doubles


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Where to look and how much each look counts.

    Attributes
    ----------
    points : float64 array of shape (n,), ascending, in [0, 1]
    weights : float64 array of shape (n,)
        Positive; they sum to one.
    """

    points: Doubles
    weights: Doubles


def left(n: int) -> Rule:
    """Riemann sum from the left, for n >= 1: exact for constants."""
    return Rule(points=np.arange(n) / n, weights=np.full(n, 1 / n))


def right(n: int) -> Rule:
    """Riemann sum from the right, as equation 3 of Sundararajan et al. (arXiv 1703.01365), for n >= 1."""
    return Rule(points=np.arange(1, n + 1) / n, weights=np.full(n, 1 / n))


def midpoint(n: int) -> Rule:
    """Middle of n equal intervals, for n >= 1: exact up to degree 1."""
    return Rule(points=(np.arange(n) + 0.5) / n, weights=np.full(n, 1 / n))


def trapezoid(n: int) -> Rule:
    """Both ends and n - 2 points between, the ends at half the weight, for n >= 2: exact up to degree 1."""
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return Rule(points=np.linspace(0, 1, n), weights=weights)


def gauss_legendre(n: int) -> Rule:
    """Zeros of the Legendre polynomial, for n >= 1: exact up to degree 2 n - 1, the most that n points can."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return Rule(points=(1 + points) / 2, weights=weights / 2)


def clenshaw_curtis(n: int) -> Rule:
    """Extremes of the Chebyshev polynomial, for n >= 2: exact up to degree n - 1; half the points of 2 n - 1."""
    points = (1 - np.cos(np.pi * np.arange(n) / (n - 1))) / 2
    return Rule(points=points, weights=_interpolatory(points))


PATTERSON_SIZES = (3, 7, 15, 31)
"""How many points the nested rules of :func:`patterson` have."""

_ADDED_POINTS = (
    (0.0, 0.7745966692414834),
    (0.4342437493468026, 0.9604912687080203),
    (0.2233866864289669, 0.6211029467372264, 0.8884592328722570, 0.9938319632127550),
    (
        *(0.1124889431331866, 0.3311353932579768, 0.5313197436443756, 0.7024962064915271),
        *(0.8367259381688687, 0.9296548574297401, 0.9815311495537401, 0.9990981249676676),
    ),
)
"""What each nested rule adds to the one before, on (-1, 1) and without the mirror images."""


@functools.cache
def patterson(n: int) -> Rule:
    """Gauss-Legendre of 3 points and its optimal extensions to 7, 15 and 31: each rule holds the one before.

    Exact up to degree 5, 11, 23 and 47 (Patterson, Mathematics of Computation 22, 1968; the 7 points are those of
    Kronrod). A point of one rule is the same number in the next.

    Raises
    ------
    ValueError
        For any other number of points.
    """
    if n not in PATTERSON_SIZES:
        raise ValueError(f"Patterson's rules have {', '.join(map(str, PATTERSON_SIZES))} points, not {n}")
    known = [point for level in _ADDED_POINTS[: PATTERSON_SIZES.index(n) + 1] for point in level]
    points = (1 + np.array(sorted({sign * point for point in known for sign in (-1, 1)}))) / 2
    return Rule(points=points, weights=_interpolatory(points))


def _interpolatory(points: Doubles) -> Doubles:
    """Weights that make the mean of every polynomial of degree below n exact."""
    means = np.zeros(len(points))
    means[0] = 1  # of the Legendre polynomials over the interval
    values = np.polynomial.legendre.legvander(2 * points - 1, len(points) - 1)
    return np.linalg.solve(values.T, means).astype(np.float64)
