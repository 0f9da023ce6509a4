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
    over_splits,
    shares_low,
    widened,
)
from trustml.attacks.roc import checked_scores
from trustml.attacks.signals import Bools
from trustml.data.copies import one_of_each

HALVINGS = 15


def split_advantage(
    scores: npt.NDArray[Any],
    members: npt.NDArray[Any],
    *,
    groups: npt.NDArray[Any] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    halvings: int = HALVINGS,
) -> AttackEstimate:
    """TPR - FPR at a threshold chosen on other examples (membership advantage: Yeom et al., CSF 2018, 1709.01604).

    Members and non-members are halved at random, again and again; the best threshold of each half is applied to the
    other.

    Parameters
    ----------
    scores, members : numpy.ndarray
        Shape (n,).
    groups : numpy.ndarray, optional
        Integers of shape (n,), the same for copies of one example, of which no member shares one with another: copies
        stay in one half, and the interval is stretched over that of one of each.
    confidence : float
        Of an interval that takes half of the error for each of the two shares (Clopper-Pearson), and half of that
        again for taking the median over halvings. Chosen thresholds are taken as given.
    seed : int
        Of the halvings.
    halvings : int
        1 gives the figure that was recorded before there were several: of the first, without a median's price.

    Returns
    -------
    AttackEstimate
        The mean over the halvings, with its Monte-Carlo error. It may be negative, as any estimate of
        zero may. Without a value below four members or non-members.
    """
    values, inside = checked_scores(scores, members)
    alpha = (1.0 - check_confidence(confidence)) / (4 if halvings == 1 else 8)
    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    sides = [np.unique(numbers[side]) for side in (inside, ~inside)]
    if min(map(len, sides)) < 4:
        return AttackEstimate(value=None, confidence=confidence, n=len(values), note=NOT_ESTIMABLE)
    generator = np.random.default_rng(seed)
    order = np.argsort(-values, kind="stable")
    ranked, who, numbers = values[order], inside[order], numbers[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    caught = []
    for _ in range(halvings):
        half = np.zeros(len(values), bool)
        for own in sides:
            half[generator.permutation(own)[: len(own) // 2]] = True
        caught.append(_caught(half[numbers], who, last))
    true, false = np.array(caught).T
    total, others = int(inside.sum()), int((~inside).sum())
    found = over_splits(
        true / total - false / others,
        shares_low(true, total, alpha=alpha) + shares_low(others - false, others, alpha=alpha) - 1.0,
        1.0 - shares_low(total - true, total, alpha=alpha) - shares_low(false, others, alpha=alpha),
        confidence=confidence,
        n=len(values),
        interval="clopper-pearson",
        note=f"thresholds chosen on one half of the examples, applied to the other, mean over {halvings} halvings; "
        "medians of their ends, Clopper-Pearson of both shares",
    )
    if groups is None:
        return found
    once = one_of_each(groups)
    return widened(
        [found, split_advantage(values[once], inside[once], confidence=confidence, seed=seed, halvings=halvings)]
    )


def _caught(half: Bools, members: Bools, last: Bools) -> tuple[int, int]:
    """Members and others above the best threshold of the half that they are not in; highest scores first.

    `last` says of which examples the next one has a lower score: a threshold takes all of one score or none.
    """
    true = false = 0
    for fitted in (half, ~half):
        found, wrong = np.cumsum(fitted & members), np.cumsum(fitted & ~members)
        gaps = np.where(last, found / found[-1] - wrong / wrong[-1], -1.0)
        best = int(np.argmax(gaps))
        if gaps[best] > 0.0:
            called = ~fitted[: best + 1]
            true += int((called & members[: best + 1]).sum())
            false += int((called & ~members[: best + 1]).sum())
    return true, false
