"""A figure with its interval, and the intervals of shares and of areas under ROC curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

Floats: TypeAlias = npt.NDArray[np.float64]
EstimateInterval: TypeAlias = Literal["", "clopper-pearson", "effective pairs", "jackknife over models"]
NOT_ESTIMABLE = "not estimable at this n"


@dataclass(frozen=True, kw_only=True)
class AttackEstimate:
    """One measured figure.

    Attributes
    ----------
    value : float, optional
        None where it cannot be estimated; then `note` says why.
    low, high : float, optional
        Ends of the two-sided interval.
    confidence : float
        Of the interval.
    n : int
        Examples behind it.
    interval : {"", "clopper-pearson", "effective pairs", "jackknife over models"}
        How it was made; empty where there is none.
    note : str
        The same in words, or why there is no value.
    splits : int
        Random splits of the examples that it is the mean over; 0 where none was drawn.
    error : float
        Monte-Carlo error of that mean: the standard error over the splits that were drawn, of the same examples.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    n: int = 0
    interval: EstimateInterval = ""
    note: str = ""
    splits: int = 0
    error: float = 0.0


def check_confidence(confidence: float) -> float:
    """Give back a confidence strictly between 0 and 1; raises UsageError otherwise."""
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence: {confidence} is not between 0 and 1; write 0.95 for 95 percent")
    return confidence


def widened(estimates: Sequence[AttackEstimate]) -> AttackEstimate:
    """Stretch the interval of the first over those of others, of distinct examples; none where one has none.

    Parameters
    ----------
    estimates : sequence of AttackEstimate
        The same figure of all examples, and of fewer or more of them.
    """
    first = estimates[0]
    if lacking := [one for one in estimates if one.value is None]:
        return replace(lacking[0], n=first.n)
    if lacking := [one for one in estimates if one.low is None]:
        return replace(lacking[0], value=first.value, n=first.n)
    return replace(
        first,
        low=min(one.low for one in estimates if one.low is not None),
        high=max(one.high for one in estimates if one.high is not None),
        note=f"{first.note}; stretched over those of {' and of '.join(f'{one.n}' for one in estimates[1:])} examples, "
        "as some are copies",
    )


def over_splits(
    values: Floats,
    lows: Floats,
    highs: Floats,
    *,
    confidence: float,
    n: int,
    interval: EstimateInterval,
    note: str,
) -> AttackEstimate:
    """One figure of many random splits of the same examples: the mean, between the medians of the splits' ends.

    Parameters
    ----------
    values, lows, highs : numpy.ndarray
        A split each, of shape (r,), with ends that are wrong with half of the probability that the result's may be.
    confidence : float
        Of the result.
    n, interval, note
        As in the result.

    Notes
    -----
    However splits hang together, the ends of half of them are wrong together with at most twice the probability that
    those of one are (Markov; Meinshausen, Meier & Buehlmann, JASA 2009). An average over splits has no such warrant:
    of quadratic statistics its upper tail is longer than the normal's.
    """
    count = len(values)
    middle = (count - 1) // 2
    return AttackEstimate(
        value=float(values.mean()),
        low=float(np.sort(lows)[middle]),
        high=float(np.sort(highs)[count - 1 - middle]),
        confidence=confidence,
        n=n,
        interval=interval,
        note=note,
        splits=count,
        error=float(values.std(ddof=1) / count**0.5) if count > 1 else 0.0,
    )


def share_of(successes: int, trials: int, *, confidence: float, what: str) -> AttackEstimate:
    """A share with its two-sided Clopper-Pearson interval; `what` was counted."""
    alpha = (1.0 - check_confidence(confidence)) / 2
    return AttackEstimate(
        value=successes / trials,
        low=share_low(successes, trials, alpha=alpha),
        high=share_high(successes, trials, alpha=alpha),
        confidence=confidence,
        n=trials,
        interval="clopper-pearson",
        note=f"Clopper-Pearson over the {what}",
    )


def share_low(successes: float, trials: float, *, alpha: float) -> float:
    """Lower Clopper-Pearson bound of a share: too high with probability at most `alpha`.

    Parameters
    ----------
    successes, trials : float
        Whole numbers for a binomial; fractions are allowed for effective numbers of trials.
    alpha : float
        One-sided.

    Returns
    -------
    float
        Clopper & Pearson, Biometrika 1934, by quantiles of the beta distribution.
    """
    return float(shares_low(np.array(successes), trials, alpha=alpha))


def share_high(successes: float, trials: float, *, alpha: float) -> float:
    """Upper Clopper-Pearson bound of a share; see `share_low`."""
    return 1.0 - share_low(trials - successes, trials, alpha=alpha)


def shares_low(successes: npt.NDArray[Any], trials: float, *, alpha: float) -> Floats:
    """Lower bounds of many shares of so many trials; see `share_low`."""
    from scipy.stats import beta

    some = np.maximum(successes, 1e-9)
    found: Floats = np.where(successes <= 0, 0.0, beta.ppf(alpha, some, trials - some + 1))
    return found


def auc_low(auc: float, variance: float, *, positives: int, negatives: int, alpha: float) -> float:
    """Lower bound of an area under a ROC curve: too high with probability about `alpha`.

    Parameters
    ----------
    auc : float
    variance : float
        Of the estimate, by DeLong.
    positives, negatives : int
    alpha : float
        One-sided.

    Returns
    -------
    float

    Notes
    -----
    A normal interval with DeLong's variance has width zero for a perfect curve and covers too rarely near one. Here
    the variance gives an effective number of independent pairs, auc (1 - auc) / variance, and the bound is
    Clopper-Pearson's at that number (the device of Korn & Graubard, Survey Methodology 1998, for shares of clustered
    samples). The number is never above 3 PN / (P + N), what it is for scores that know nothing; for a perfect curve,
    whose variance is no information, it is min(P, N): so many disjoint pairs there are and all are in order, which
    makes the bound alpha ** (1 / min(P, N)), proved for any n.
    """
    if auc <= 0.0:
        return 0.0
    pairs = effective_pairs(auc, variance, positives=positives, negatives=negatives)
    return share_low(auc * pairs, pairs, alpha=alpha)


def auc_high(auc: float, variance: float, *, positives: int, negatives: int, alpha: float) -> float:
    """Upper bound of an area under a ROC curve; see `auc_low`."""
    return 1.0 - auc_low(1.0 - auc, variance, positives=positives, negatives=negatives, alpha=alpha)


def effective_pairs(auc: float, variance: float, *, positives: int, negatives: int) -> float:
    """Independent pairs that would leave the same variance; see `auc_low` for its limits."""
    if auc in (0.0, 1.0):
        return float(min(positives, negatives))
    most = 3.0 * positives * negatives / (positives + negatives)
    return most if variance <= 0.0 else min(most, auc * (1.0 - auc) / variance)


def quantile_error(draws: npt.NDArray[np.float64], share: float) -> float:
    """Monte-Carlo error of a quantile of draws: half of what lies within a standard error of its rank (binomial)."""
    if len(draws) < 2:
        return 0.0
    reach = math.sqrt(share * (1 - share) / len(draws))
    low, high = np.quantile(draws, [max(0.0, share - reach), min(1.0, share + reach)])
    return float(high - low) / 2
