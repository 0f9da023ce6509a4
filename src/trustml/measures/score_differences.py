"""How much better one model is than another on the same held-out examples: what a regime or a framework costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.measures.accuracy import outputs_of, wilson_interval
from trustml.measures.evidence import Evidence
from trustml.measures.resampling import Statistic, estimates, mean_of
from trustml.measures.row import About, IntervalKind, PairKind, Row
from trustml.models.answers import in_unit, right, right_steps
from trustml.models.losses import Doubles
from trustml.models.tasks import Labels, NextToken, Regression
from trustml.record.schema import JobRecord

Booleans: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Difference:
    value: float
    low: float
    high: float
    interval: IntervalKind
    p_value: float | None = None


def difference_rows(evidence: Evidence) -> list[Row]:
    """Compare every two models that differ in their regime alone, or in their framework alone; one row a pair."""
    done = [record for record, _ in evidence.trained() if record.status == "ok"]
    rows = []
    for one, other in itertools.combinations(done, 2):
        pair = _pair(one, other)
        if pair is None:
            continue
        kind, first, second = pair
        found = _difference(evidence, one, other)
        if found is None:
            continue
        about = About(
            pair=kind, first=first, second=second, interval=found.interval, confidence=0.95, p_value=found.p_value
        )
        rows.append(
            evidence.row(
                "score_difference",
                found.value,
                record=one,
                subject=f"{first} ~ {second} ({one.backend if kind == 'two regimes' else one.regime})",
                n=len(evidence.heldout["test_labels"]),
                interval=(found.low, found.high),
                about=about,
            )
        )
    return rows


def _pair(one: JobRecord, other: JobRecord) -> tuple[PairKind, str, str] | None:
    if one.seed != other.seed:
        return None
    if one.backend == other.backend:
        return "two regimes", one.regime, other.regime
    if one.regime == other.regime:
        return "trained apart", one.backend, other.backend
    return None


def _difference(evidence: Evidence, one: JobRecord, other: JobRecord) -> _Difference | None:
    """Score of the second less that of the first; None where a regression has nothing to explain."""
    task = evidence.task
    (first, labels), (second, _) = outputs_of(evidence, one), outputs_of(evidence, other)
    if isinstance(task, Regression):
        true, a, b = (in_unit(task, part)[:, 0] for part in (labels, first, second))
        value, low, high = estimates({"": _explained_more(true, a, b)}, examples=len(true))[""]
        if not math.isfinite(value):
            return None
        return _Difference(value=value, low=low, high=high, interval="bootstrap over examples")
    if isinstance(task, NextToken):
        steps = (labels > 0).sum(axis=1).astype(np.float64)
        more = (right_steps(second, labels) - right_steps(first, labels)).sum(axis=1)
        found = estimates({"": lambda weights: weights @ more / (weights @ steps)}, examples=len(labels))
        value, low, high = found[""]
        return _Difference(value=value, low=low, high=high, interval="bootstrap over examples")
    shares = right(task, first, labels), right(task, second, labels)
    if isinstance(task, Labels):
        value, low, high = estimates({"": mean_of(shares[1] - shares[0])}, examples=len(labels))[""]
        return _Difference(value=value, low=low, high=high, interval="bootstrap over examples")
    hits = shares[0] > 0, shares[1] > 0
    low, high = paired_interval(*hits)
    value = float(hits[1].mean() - hits[0].mean())
    return _Difference(value=value, low=low, high=high, interval="newcombe", p_value=mcnemar(*hits))


def _explained_more(true: Doubles, first: Doubles, second: Doubles) -> Statistic:
    """Difference of two R2 of the same targets."""
    centred, squares = true - true.mean(), (first - true) ** 2 - (second - true) ** 2

    def statistic(weights: Doubles) -> Doubles:
        count = weights.sum(axis=1)
        spread = weights @ centred**2 - (weights @ centred) ** 2 / count
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Doubles = np.where(spread > 0, weights @ squares / spread, np.nan)
        return found

    return statistic


def mcnemar(first: Booleans, second: Booleans) -> float:
    """Exact two-sided p-value that two models are as often right (McNemar, Psychometrika 1947; binomial)."""
    from scipy import stats

    better, worse = int((second & ~first).sum()), int((first & ~second).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def paired_interval(first: Booleans, second: Booleans) -> tuple[float, float]:
    """Interval of the difference of two proportions of the same examples, 95 %: the second less the first.

    Newcombe's method 10 (Statistics in Medicine 1998, 17:2635), the square-and-add of two Wilson intervals with the
    correlation of the pairs; it is no point where no pair differs.

    Parameters
    ----------
    first, second : bool arrays of shape (n,)
    """
    count = len(first)
    a, d = int((first & second).sum()), int((~first & ~second).sum())
    b, c = int((second & ~first).sum()), int((first & ~second).sum())
    p, q = (a + b) / count, (a + c) / count  # of the second, of the first
    (low_p, high_p), (low_q, high_q) = wilson_interval(a + b, count), wilson_interval(a + c, count)
    product = float(a * d - b * c)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if product > 0:
        product = max(product - count / 2, 0.0)
    phi = product / math.sqrt(margins) if margins else 0.0
    below, above = p - low_p, high_p - p
    lower, upper = q - low_q, high_q - q
    low = (p - q) - math.sqrt(max(0.0, below**2 - 2 * phi * below * upper + upper**2))
    high = (p - q) + math.sqrt(max(0.0, lower**2 - 2 * phi * lower * above + above**2))
    return max(-1.0, low), min(1.0, high)
