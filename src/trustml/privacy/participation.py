"""Bounds from the number of batches that one example is in, which is binomial: at once, and for any figures.

*From above*: an observer who is also told in which batches the example is sees Gaussian mechanisms, so that delta is at
most the mean of theirs over that number (joint convexity). *From below*: two tests that anyone could make, one on how
many numbers exceed a threshold, the other on the sum of all. The second world's chance of a test to come out is bounded
from above (Chernoff; a normal tail), the first's from below.
"""

from __future__ import annotations

import math

import numpy as np

from trustml.privacy.pairs import Floats

_BLOCKS = 512
_THRESHOLDS = (0.5, 0.75, 1.0, 1.25)
_SLIP = 1e-9  # relative error that is charged for scipy's distributions
_HALVINGS = 100


def epsilon_by_participation(*, noise: float, rate: float, steps: int, delta: float) -> float:
    """Upper bound under adding or removing one, given the noise over the sensitivity."""
    from scipy.special import log_ndtr
    from scipy.stats import binom

    most = min(steps, _rarely_above(1e-3 * delta, steps, rate) + 1)
    edges = np.unique(np.linspace(0, most, min(most, _BLOCKS) + 1).astype(np.int64))
    rest = float(binom.sf(most, steps, rate)) if most < steps else 0.0
    below, above = binom.cdf(edges, steps, rate), binom.sf(edges, steps, rate)
    # each block counts as its largest; next to 1 the digits of a small chance are in what is left above
    chances = np.where(below[:-1] < 0.5, np.diff(below), above[:-1] - above[1:])
    # k Gaussian steps on one example are one step with sqrt(k) times the shift
    shift = np.sqrt(edges[1:]) / noise

    def delta_at(epsilon: float) -> float:
        # delta of the Gaussian mechanism (Balle and Wang, ICML 2018)
        first = np.exp(log_ndtr(shift / 2 - epsilon / shift))
        second = np.exp(epsilon + log_ndtr(-shift / 2 - epsilon / shift))
        return float(chances @ np.maximum(first - second + 1e-12 * first, 0.0)) * (1 + _SLIP) + rest * (1 + _SLIP)

    if delta_at(0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_at(high) > delta:
        low, high = high, 2 * high
        if high > 1e12:
            return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_at(middle) <= delta else (middle, high)
    return high


def _rarely_above(chance: float, steps: int, rate: float) -> int:
    """Least count that a binomial number exceeds with at most this chance.

    By halving: ``binom.isf`` warns that it "cannot bracket the root" for some chances of 1e-14.
    """
    from scipy.stats import binom

    low, high = -1, steps
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binom.sf(middle, steps, rate) <= chance else (middle, high)
    return high


def epsilon_of_counts(*, noise: float, rate: float, steps: int, delta: float) -> float:
    """Lower bound: how many of the numbers exceed a threshold."""
    from scipy.special import log_ndtr
    from scipy.stats import binom

    best = 0.0
    for threshold in _THRESHOLDS:
        log_false = float(log_ndtr(-threshold / noise))
        false, true = math.exp(log_false), math.exp(float(log_ndtr((1 - threshold) / noise)))
        # a number exceeds the threshold by chance, or moved by the example where it is in the batch
        hit = (1 - rate) * false + rate * true
        most = _rarely_above(min(1.0, 1.01 * delta), steps, hit)
        counts = np.unique(np.geomspace(1, max(1, most), 200).astype(np.int64)).astype(np.float64)
        told = binom.sf(counts - 1, steps, hit) * (1 - _SLIP) - delta
        best = max(best, _told_apart(told, _log_binomial_tail(counts, steps, log_false)))
    return best


def epsilon_of_sums(*, noise: float, rate: float, steps: int, delta: float) -> float:
    """Lower bound: the sum of all numbers."""
    from scipy.special import log_ndtr, ndtr
    from scipy.stats import binom

    wide = noise * math.sqrt(steps)
    least, most = steps - _rarely_above(1e-3 * delta, steps, 1 - rate), _rarely_above(1e-3 * delta, steps, rate)
    edges = np.unique(np.linspace(least, most + 1, min(most + 1 - least, _BLOCKS) + 1).astype(np.int64))
    below = binom.cdf(edges - 1, steps, rate)
    chances = np.maximum(np.diff(below), 0.0)  # each block counts as its smallest
    middle = steps * rate
    places = np.linspace(middle - 2 * wide, middle + 9 * wide + (most - middle), 400)
    told = ndtr((edges[:-1] - places[:, None]) / wide) @ chances * (1 - _SLIP) - 1e-15 - delta
    return _told_apart(told, log_ndtr(-places / wide) * (1 - _SLIP))


def _told_apart(told: Floats, log_false: Floats) -> float:
    good = told > 0
    return max(0.0, float((np.log(told[good]) - log_false[good]).max(initial=0.0)))


def _log_binomial_tail(counts: Floats, steps: int, log_chance: float) -> Floats:
    """Upper bound on the log-probability of at least so many successes (Chernoff)."""
    share = counts / steps
    chance = math.exp(log_chance)
    with np.errstate(divide="ignore", invalid="ignore"):
        others = np.where(share < 1, (1 - share) * (np.log1p(-share) - math.log1p(-chance)), 0.0)
        divergence = share * (np.log(share) - log_chance) + others
    return np.where(share > chance, -steps * divergence * (1 - _SLIP), 0.0)
