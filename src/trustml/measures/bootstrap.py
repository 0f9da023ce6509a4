"""Percentile intervals of the bootstrap without drawing: what infinitely many resamples would give.

The sum of n draws from n values has their distribution convolved n times with itself, which is a power of its Fourier
transform; the ratio of two sums is below r where the sum of differences is below 0; order statistics of a resample are
binomial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]

_CELLS = 2**14
_REACH = 10.0
"""Standard errors on either side that are looked at; what lies beyond comes back at the other side."""
_HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class _Means:
    """Distribution of the mean of a resample.

    Attributes
    ----------
    places : float64 array of shape (cells,)
        Ascending.
    below : float64 array of shape (cells,)
        Probability of no more than each place.
    """

    places: Doubles
    below: Doubles


def mean_ends(values: Doubles, *, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the percentile interval of a mean, to about a fiftieth of its standard error.

    Parameters
    ----------
    values : float array of shape (n,)
    confidence : float
    """
    means = _means(values)
    if means is None:
        return float(values.mean()), float(values.mean())
    low, high = np.interp(_shares(confidence), means.below, means.places).clip(values.min(), values.max())
    return float(low), float(high)


def ratio_ends(above: Doubles, below: Doubles, *, confidence: float) -> tuple[float, float]:
    """Ends of the percentile interval of the ratio of two sums over the same examples.

    Parameters
    ----------
    above, below : float arrays of shape (n,)
        Not negative; the second not all zero.
    confidence : float
    """
    ratios = above[below > 0] / below[below > 0]
    least, most = float(ratios.min()), float(max(ratios.max(), above.sum() / below[below > 0].min()))

    def end(share: float) -> float:
        low, high = least, most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if _share_below_zero(above - middle * below) >= share else (middle, high)
        return high

    first, last = _shares(confidence)
    return end(float(first)), end(float(last))


def median_ends(values: Doubles, *, confidence: float) -> tuple[float, float]:
    """Ends of the percentile interval of a median, to the last digit.

    Parameters
    ----------
    values : float array of shape (n,)
    confidence : float
    """
    from scipy.special import gammaln, xlogy
    from scipy.stats import binom

    ordered, count = np.sort(values), len(values)
    ranks, middle = np.arange(count + 1), (count + 1) // 2
    # Probability that the middle one, of an even number the lower of the two, is among the smallest i.
    lower = np.diff(binom.sf(middle - 1, count, ranks / count))
    if count % 2:
        places, chances = ordered, lower
    else:
        i, j = ranks[:, None], ranks
        ways = gammaln(count + 1) - 2 * gammaln(middle + 1)
        # That it is, and the upper one is beyond the smallest j; differences of both are of the two alone.
        parted = np.exp(ways + xlogy(middle, i / count) + xlogy(middle, (count - j) / count))
        pairs = np.triu(-np.diff(np.diff(parted, axis=0), axis=1), 1)
        np.fill_diagonal(pairs, lower - pairs.sum(axis=1))
        places, chances = ((ordered[:, None] + ordered) / 2).ravel(), pairs.ravel()
    order = np.argsort(places, kind="stable")
    below = np.cumsum(chances[order])
    first, last = np.searchsorted(below, _shares(confidence)).clip(0, len(order) - 1)
    return float(places[order][first]), float(places[order][last])


def _shares(confidence: float) -> Doubles:
    return np.array([(1 - confidence) / 2, (1 + confidence) / 2])


def _share_below_zero(values: Doubles) -> float:
    """Probability that the mean of a resample is not above 0."""
    means = _means(values)
    if means is None:
        return float(values.mean() <= 0)
    return float(np.interp(0.0, means.places, means.below, left=0.0, right=1.0))


def _means(values: Doubles) -> _Means | None:
    """Distribution of the mean of a resample; None where all values are the same."""
    count, centre = len(values), float(values.mean())
    error = float(values.std()) / count**0.5
    if not error > abs(centre) * 1e-14:
        return None
    # Each draw is its way from the mean in cells of the sum, shared by two cells so that the mean stays as it is.
    cell = 2 * _REACH * error / _CELLS
    ways = (values - centre) / (count * cell)
    floors = np.floor(ways)
    upper = ways - floors
    cells = np.zeros(_CELLS)
    np.add.at(cells, floors.astype(np.int64) % _CELLS, (1 - upper) / count)
    np.add.at(cells, (floors.astype(np.int64) + 1) % _CELLS, upper / count)
    sums = np.fft.irfft(np.fft.rfft(cells) ** count, _CELLS)
    chances = np.roll(np.maximum(sums, 0.0), _CELLS // 2)
    below = np.cumsum(chances)
    places = centre + (np.arange(_CELLS) - _CELLS // 2) * cell
    return _Means(places=places, below=below / below[-1])
