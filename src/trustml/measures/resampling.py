"""Intervals of figures of held-out examples: the bootstrap over examples, by resamples that all models share.

A statistic takes how often each example counts, for many resamples at once, so that nothing is sorted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Doubles: TypeAlias = npt.NDArray[np.float64]
Statistic: TypeAlias = Callable[[Doubles], Doubles]
"""Weights (resamples, n) to a number for each resample; NaN where it has none."""

RESAMPLES = 200
_AT_ONCE = 2**21
"""Weights that are held at once."""


def estimates(statistics: Mapping[str, Statistic], *, examples: int) -> dict[str, tuple[float, float, float]]:
    """Give each statistic of all examples, and the 2.5th and 97.5th percentile over resamples.

    Parameters
    ----------
    statistics : mapping of str to Statistic
    examples : int

    Returns
    -------
    dict of str to (float, float, float)
        Value, low, high. The resamples follow from the number of examples alone, and are shared by all statistics.
    """
    whole = np.ones((1, examples))
    found: dict[str, list[Doubles]] = {name: [] for name in statistics}
    generator = np.random.default_rng([examples, RESAMPLES])
    at_once = max(1, _AT_ONCE // examples)
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        rows = generator.integers(examples, size=(count, examples)) + examples * np.arange(count)[:, None]
        weights = np.bincount(rows.ravel(), minlength=count * examples).reshape(count, examples).astype(np.float64)
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    result = {}
    for name, statistic in statistics.items():
        values = np.concatenate(found[name])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
        result[name] = (float(statistic(whole)[0]), float(low), float(high))
    return result


def mean_of(values: Doubles) -> Statistic:
    """Mean of a value of each example."""
    return lambda weights: weights @ values / weights.sum(axis=1)


def roc_auc_of(scores: Doubles, positive: npt.NDArray[np.bool_]) -> Statistic:
    """Area under the ROC curve: the probability that a positive example scores higher, ties counting half."""
    grouped = _by_score(scores, positive)

    def statistic(weights: Doubles) -> Doubles:
        hits, misses = grouped(weights)
        below = np.cumsum(misses, axis=1) - misses / 2
        with np.errstate(invalid="ignore"):
            area: Doubles = (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))
        return area

    return statistic


def pr_auc_of(scores: Doubles, positive: npt.NDArray[np.bool_]) -> Statistic:
    """Area under the precision-recall curve as average precision: precisions weighted by the recall each adds."""
    grouped = _by_score(scores, positive)

    def statistic(weights: Doubles) -> Doubles:
        hits, misses = (part[:, ::-1] for part in grouped(weights))
        right, called = np.cumsum(hits, axis=1), np.cumsum(hits + misses, axis=1)
        with np.errstate(invalid="ignore"):
            precision = np.where(called > 0, right / np.maximum(called, 1e-300), 0.0)
            area: Doubles = (hits * precision).sum(axis=1) / hits.sum(axis=1)
        return area

    return statistic


def mean_over(parts: list[Statistic]) -> Statistic:
    """Mean over several statistics of those that have a number."""

    def statistic(weights: Doubles) -> Doubles:
        values = np.stack([part(weights) for part in parts])
        there = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            mean: Doubles = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
        return mean

    return statistic


def _by_score(scores: Doubles, positive: npt.NDArray[np.bool_]) -> Callable[[Doubles], tuple[Doubles, Doubles]]:
    """Weights of the positive and of the other examples at each score, lowest first."""
    order = np.argsort(scores, kind="stable")
    sorted_ = scores[order]
    starts = np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]])
    there = positive[order].astype(np.float64)

    def split(weights: Doubles) -> tuple[Doubles, Doubles]:
        own = weights[:, order]
        hits, misses = own * there, own * (1.0 - there)
        return np.add.reduceat(hits, starts, axis=1), np.add.reduceat(misses, starts, axis=1)

    return split
