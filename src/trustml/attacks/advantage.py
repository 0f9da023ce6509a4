"""Membership advantage: TPR - FPR at one threshold, without the luck of having chosen it on the same examples.

The best of all thresholds flatters: for P members, N non-members and scores that know nothing its TPR - FPR is
sqrt(pi / 8) sqrt(1/P + 1/N) on average (a one-sided Kolmogorov-Smirnov statistic), not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import (
    NOT_ESTIMABLE,
    AttackEstimate,
    check_confidence,
    share_high,
    share_low,
    widened,
)
from trustml.attacks.roc import checked_scores, roc_of_scores
from trustml.attacks.signals import Bools, Floats
from trustml.data.copies import one_of_each


def split_advantage(
    scores: npt.NDArray[Any],
    members: npt.NDArray[Any],
    *,
    groups: npt.NDArray[Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> AttackEstimate:
    """TPR - FPR at a threshold chosen on other examples (membership advantage: Yeom et al., CSF 2018, 1709.01604).

    Members and non-members are halved at random; the best threshold of each half is applied to the other.

    Parameters
    ----------
    scores, members : numpy.ndarray
        Shape (n,).
    groups : numpy.ndarray, optional
        Integers of shape (n,), the same for copies of one example, of which no member shares one with another: copies
        stay in one half, and the interval is stretched over that of one of each.
    confidence : float
        Of an interval that takes half of the error for each of the two shares (Clopper-Pearson). The halves' chosen
        thresholds are taken as given.
    seed : int
        Of the halving.

    Returns
    -------
    AttackEstimate
        It may be negative, as any estimate of zero may. Without a value below four members or non-members.
    """
    values, inside = checked_scores(scores, members)
    alpha = (1.0 - check_confidence(confidence)) / 4
    total, others = int(inside.sum()), int((~inside).sum())
    if min(total, others) < 4:
        return AttackEstimate(value=None, confidence=confidence, n=len(values), note=NOT_ESTIMABLE)
    generator = np.random.default_rng(seed)
    half = np.zeros(len(values), bool)
    for group in (np.flatnonzero(inside), np.flatnonzero(~inside)):
        if groups is None:
            half[generator.permutation(group)[: len(group) // 2]] = True
        else:
            numbers = generator.permutation(np.unique(groups[group]))
            half[np.isin(groups, numbers[: len(numbers) // 2])] = True
    true = false = 0
    for fitted, tested in ((half, ~half), (~half, half)):
        called = values[tested] >= _best_threshold(values[fitted], inside[fitted])
        true += int((called & inside[tested]).sum())
        false += int((called & ~inside[tested]).sum())
    found = AttackEstimate(
        value=true / total - false / others,
        low=share_low(true, total, alpha=alpha) - share_high(false, others, alpha=alpha),
        high=share_high(true, total, alpha=alpha) - share_low(false, others, alpha=alpha),
        confidence=confidence,
        n=len(values),
        interval="clopper-pearson",
        note="threshold chosen on one half of the examples, applied to the other; Clopper-Pearson of both shares",
    )
    if groups is None:
        return found
    once = one_of_each(groups)
    return widened([found, split_advantage(values[once], inside[once], confidence=confidence, seed=seed)])


def _best_threshold(scores: Floats, members: Bools) -> float:
    """Lowest score that is still called a member where TPR - FPR is largest; infinite if nobody should be."""
    distinct = np.unique(scores)[::-1]
    roc = roc_of_scores(scores, members)
    gaps = np.array(roc.true_positives) / roc.members - np.array(roc.false_positives) / roc.non_members
    best = int(np.argmax(gaps))
    return float(distinct[best]) if gaps[best] > 0.0 else float("inf")
