"""How much better one model is than another on the same held-out examples: what a regime or a framework costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.measures.accuracy import examples_seen, outputs_of, wilson_interval
from trustml.measures.evidence import Evidence
from trustml.measures.resampling import Estimate, Statistic, estimates, mean_ends
from trustml.measures.row import About, Facts, IntervalKind, PairKind, Row
from trustml.models.answers import in_unit, right, right_steps
from trustml.models.losses import AnyArray, Doubles
from trustml.models.tasks import Labels, NextToken, Regression, Task
from trustml.record.choices import are_paired
from trustml.record.schema import JobRecord

Booleans: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """Score of the second of two models less that of the first.

    Attributes
    ----------
    value, low, high : float
    interval : IntervalKind
    p_value : float, optional
    """

    value: float
    low: float
    high: float
    interval: IntervalKind
    p_value: float | None = None
    ends_error: float = 0.0

    @property
    def facts(self) -> Facts:
        """What is to be told of the interval."""
        return {"ends_error": self.ends_error} if self.ends_error else {}


def difference_rows(evidence: Evidence) -> list[Row]:
    """Compare every two models that differ in their regime alone, or in their framework alone; one row a pair."""
    done = [record for record, _ in evidence.trained() if record.status == "ok"]
    rows, paired, seen = [], are_paired(evidence.manifest), examples_seen(evidence)
    for one, other in itertools.combinations(done, 2):
        pair = _pair(one, other)
        if pair is None or not paired(one.regime, other.regime):
            continue
        kind, first, second = pair
        known = max(seen[one.id], seen[other.id])
        found = _difference(evidence, one, other)
        if found is None:
            continue
        about = About(
            pair=kind,
            first=first,
            second=second,
            interval=found.interval,
            confidence=0.95,
            p_value=found.p_value,
            facts={**found.facts, **({"held_out_seen": known} if known else {})},
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


def _difference(evidence: Evidence, one: JobRecord, other: JobRecord) -> ScoreDifference | None:
    (first, labels), (second, _) = outputs_of(evidence, one), outputs_of(evidence, other)
    return model_difference(evidence.task, first, second, labels)


def model_difference(task: Task, first: AnyArray, second: AnyArray, labels: AnyArray) -> ScoreDifference | None:
    """Score of the second outputs less that of the first; None where a regression has nothing to explain."""
    if isinstance(task, Regression):
        true, a, b = (in_unit(task, part)[:, 0] for part in (labels, first, second))
        more = estimates({"": _explained_more(true, a, b)}, examples=len(true))[""]
        if not math.isfinite(more.value):
            return None
        return _of_estimate(more)
    if isinstance(task, NextToken):
        steps = (labels > 0).sum(axis=1).astype(np.float64)
        hits = (right_steps(second, labels) - right_steps(first, labels)).sum(axis=1)
        gained = estimates({"": lambda weights: weights @ hits / (weights @ steps)}, examples=len(labels))
        return _of_estimate(gained[""])
    shares = right(task, first, labels), right(task, second, labels)
    if isinstance(task, Labels):
        gain = shares[1] - shares[0]
        low, high = mean_ends(gain)
        return ScoreDifference(value=float(gain.mean()), low=low, high=high, interval="exact bootstrap over examples")
    hits = shares[0] > 0, shares[1] > 0
    low, high = paired_interval(*hits)
    value = float(hits[1].mean() - hits[0].mean())
    return ScoreDifference(value=value, low=low, high=high, interval="newcombe", p_value=mcnemar(*hits))


def _of_estimate(found: Estimate) -> ScoreDifference:
    return ScoreDifference(
        value=found.value,
        low=found.low,
        high=found.high,
        interval="bootstrap over examples",
        ends_error=found.ends_error,
    )


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
