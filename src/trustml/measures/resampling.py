"""Intervals of figures of held-out examples: the bootstrap over examples, by resamples that all models share.

A statistic takes how often each example counts, for many resamples at once, so that nothing is sorted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import quantile_error
from trustml.measures import bootstrap
from trustml.measures.row import Facts, IntervalKind

Doubles: TypeAlias = npt.NDArray[np.float64]
Statistic: TypeAlias = Callable[[Doubles], Doubles]
"""Weights (resamples, n) to a number for each resample; NaN where it has none."""

RESAMPLES = 200
ENDS = (0.025, 0.975)
_DRAWN = ContextVar("whether ends of means are drawn as before they were exact", default=False)
_DRAWS_OF_EXPLANATIONS = 1000
BOOTSTRAPS: tuple[IntervalKind, ...] = ("bootstrap over examples", "exact bootstrap over examples")
FEWEST = 2
"""Examples below which a bootstrap has no interval."""
_AT_ONCE = 2**21
"""Weights that are held at once."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Attributes
    ----------
    value, low, high : float
        NaN where there is none.
    ends_error : float
        Monte-Carlo error of the ends: by how much, about, other resamples would move the less certain one.
    """

    value: float
    low: float
    high: float
    ends_error: float

    @property
    def facts(self) -> Facts:
        """What is to be told of the interval."""
        return {"ends_error": self.ends_error} if self.ends_error > 0 else {}


def estimates(statistics: Mapping[str, Statistic], *, examples: int) -> dict[str, Estimate]:
    """Give each statistic of all examples, and the 2.5th and 97.5th percentile over resamples.

    Parameters
    ----------
    statistics : mapping of str to Statistic
    examples : int

    Returns
    -------
    dict of str to Estimate
        The resamples follow from the number of examples alone, and are shared by all statistics.
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
        low, high = np.quantile(values, ENDS) if len(values) else (np.nan, np.nan)
        result[name] = Estimate(
            value=float(statistic(whole)[0]),
            low=float(low),
            high=float(high),
            ends_error=max(quantile_error(values, share) for share in ENDS),
        )
    return result


@contextmanager
def drawn_as_before() -> Iterator[None]:
    """Draw the ends of means as revisions did before these were exact, by their seeds: to verify what they wrote."""
    token = _DRAWN.set(True)
    try:
        yield
    finally:
        _DRAWN.reset(token)


def draws_as_before() -> bool:
    """Whether that is asked for; then a single example has ends too, both its value."""
    return _DRAWN.get()


def mean_ends(values: Doubles) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean of a figure of held-out examples: exact, but to verify drawn ones.

    Parameters
    ----------
    values : float64 array of shape (n,)
    """
    if not _DRAWN.get():
        return bootstrap.mean_ends(values)
    found = estimates({"": mean_of(values)}, examples=len(values))[""]
    return found.low, found.high


def explained_ends(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The same of what is known of explanations, for which other resamples were drawn.

    Parameters
    ----------
    values : float array of shape (n,)
    """
    if not _DRAWN.get():
        return bootstrap.mean_ends(values.astype(np.float64))
    draws = np.random.default_rng(0).choice(values, (_DRAWS_OF_EXPLANATIONS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, ENDS)
    return float(low), float(high)


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
        if len(starts) == len(order):  # no two scores are equal
            return hits, misses
        return np.add.reduceat(hits, starts, axis=1), np.add.reduceat(misses, starts, axis=1)

    return split
