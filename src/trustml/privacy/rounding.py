"""What float32 adds to the sensitivity of a sum of clipped vectors."""

from __future__ import annotations

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of one rounding to float32."""


def summation_rounding(terms: int) -> float:
    """Bound how far rounding moves the difference of two neighbouring float32 sums, in clipping norms.

    Adding `terms` vectors one by one, each of the clipping norm and all in one direction, rounds sums of ``k`` clipping
    norms by at most ``k * u`` each. Taken as independent and of mean zero (Higham and Mary, SIAM J. Sci. Comput. 41(5),
    2019) the errors of the two sums differ by ``sqrt(2) * u * terms**1.5 / 3`` in standard deviation; the bound is
    twice that. Blocked sums, as libraries take them, err less. It is no worst case: whoever may choose every example
    of a batch can make all roundings go one way, which is among the floating-point attacks that no epsilon covers.

    Parameters
    ----------
    terms : int
        Examples of a batch, or clients of a cohort.

    Returns
    -------
    float
        Such as 2.4e-4 for 256 examples. Noise is made larger by this share, so that the epsilon of the stated noise
        multiplier holds for the sum as it is computed.
    """
    return UNIT_ROUNDOFF * float(terms) ** 1.5


def drawn_noise(noise_multiplier: float, *, terms: int) -> float:
    """Give the noise multiplier to draw with, so that the stated one holds for a sum that is rounded."""
    return noise_multiplier * (1 + summation_rounding(terms))
