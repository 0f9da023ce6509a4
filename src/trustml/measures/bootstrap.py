"""Percentile intervals of the bootstrap without drawing: what infinitely many resamples would give.

The sum of n draws from n values has their distribution convolved n times with itself, which is a power of its Fourier
transform; the ratio of two sums is below r where the sum of differences is below 0; order statistics of a resample are
binomial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]
Ranks: TypeAlias = npt.NDArray[np.int64]

_CELLS = 2**14
_EXAMPLES = 10_000
"""What so many cells are fine enough for: each draw is rounded, which spreads the sum by a sixth of a cell squared."""
_REACH = 10.0
"""Standard errors on either side that are looked at; what lies beyond comes back at the other side."""
_LAST_BITS = 2**12
"""Doubles apart, of 2**52 between a number and its double, that an end of a ratio may be off."""
_NEGLIGIBLE = 1e-18


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
    with np.errstate(over="ignore"):  # a resample may hold, beside zeros below, the least that is not
        most = min(max(ratios.max(), above.sum() / below[below > 0].min()), np.finfo(np.float64).max)

    def end(share: float) -> float:
        def reached(ratio: float) -> bool:
            scale = 1 + ratio  # else products of a large ratio overflow
            return _share_below_zero(above / scale - below * (ratio / scale)) >= share

        return _least(reached, float(ratios.min()), float(most), apart=_LAST_BITS)

    first, last = _shares(confidence)
    return end(float(first)), end(float(last))


def median_ends(values: Doubles, *, confidence: float) -> tuple[float, float]:
    """Ends of the percentile interval of a median, to the last digit.

    The order statistics of a resample are binomial; of an even number the median is the mean of two, whose joint law
    is summed for each lower one over all upper ones at once.

    Parameters
    ----------
    values : float array of shape (n,)
    confidence : float
    """
    from scipy.stats import binom

    ordered, count = np.sort(values), len(values)
    ranks, middle = np.arange(count + 1), (count + 1) // 2
    # Probability that the middle one, of an even number the lower of the two, is among the smallest i.
    lower = np.diff(binom.sf(middle - 1, count, ranks / count))
    if count % 2:
        first, last = np.searchsorted(np.cumsum(lower), _shares(confidence)).clip(0, count - 1)
        return float(ordered[first]), float(ordered[last])
    low, high = (_pair_end(ordered, lower, float(share)) for share in _shares(confidence))
    return low, high


def _pair_end(ordered: Doubles, lower: Doubles, share: float) -> float:
    """Least mean of the two middle ones of a resample that it is no more than with probability `share`."""
    from scipy.special import gammaln, xlogy

    count = len(ordered)
    middle, ranks = count // 2, np.flatnonzero(lower > _NEGLIGIBLE)
    ways = gammaln(count + 1) - 2 * gammaln(middle + 1)

    def parted(i: Ranks, j: Ranks) -> Doubles:
        """Probability that the lower one is among the smallest i, and the upper one is not among the smallest j."""
        found: Doubles = np.exp(ways + xlogy(middle, i / count) + xlogy(middle, (count - j) / count))
        return found

    def partners(place: float) -> tuple[Ranks, Ranks]:
        """Ranks of lower ones, and how many values are small enough to be the upper one beside each."""
        own = ranks[ordered[ranks] <= place]
        return own, np.searchsorted(ordered, 2 * place - ordered[own], side="right")

    def reached(place: float) -> bool:
        own, upto = partners(place)
        return float((lower[own] - parted(own + 1, upto) + parted(own, upto)).sum()) >= share

    own, upto = partners(_least(reached, float(ordered[0]), float(ordered[-1]), apart=1))
    return float(((ordered[own] + ordered[upto - 1]) / 2).max())


def _least(reached: Callable[[float], bool], low: float, high: float, *, apart: int) -> float:
    """Least double of the two and between at which a rising condition holds, to so many doubles.

    Halving their order, and not what lies between them, finds a number of any size beside one much larger.
    """
    if reached(low):
        return low
    first, last = _place_of(low), _place_of(high)
    while last - first > apart:
        middle = (first + last) // 2
        first, last = (first, middle) if reached(_double_at(middle)) else (middle, last)
    return _double_at(last)


def _place_of(number: float) -> int:
    """Place of a double among all of them, 0 for zero."""
    bits = int(np.float64(abs(number)).view(np.int64))
    return -bits if number < 0 else bits


def _double_at(place: int) -> float:
    number = float(np.int64(abs(place)).view(np.float64))
    return -number if place < 0 else number


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
    cells = _CELLS
    while cells / _CELLS < (count / _EXAMPLES) ** 0.5:
        cells *= 2
    # Each draw is its way from the mean in cells of the sum, shared by two cells so that the mean stays as it is.
    cell = 2 * _REACH * error / cells
    ways = (values - centre) / (count * cell)
    floors = np.floor(ways)
    upper = ways - floors
    drawn = np.zeros(cells)
    np.add.at(drawn, floors.astype(np.int64) % cells, (1 - upper) / count)
    np.add.at(drawn, (floors.astype(np.int64) + 1) % cells, upper / count)
    sums = np.fft.irfft(np.fft.rfft(drawn) ** count, cells)
    chances = np.roll(np.maximum(sums, 0.0), cells // 2)
    below = np.cumsum(chances)
    places = centre + (np.arange(cells) - cells // 2) * cell
    return _Means(places=places, below=below / below[-1])
