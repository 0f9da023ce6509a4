"""Empirical ROC curves as whole numbers, and what is read off them.

A curve is two tuples of cumulative counts. They say nothing of any single example, can be published, and everything
read off a curve here is computed from them alone, so that a reader can compute it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import (
    NOT_ESTIMABLE,
    AttackEstimate,
    auc_high,
    auc_low,
    check_confidence,
    share_high,
    share_low,
    widened,
)
from trustml.attacks.signals import Bools, Floats
from trustml.errors import UsageError

FEWEST_FALSE_POSITIVES = 10
"""A TPR at an FPR is reported only where the FPR allows at least so many false positives."""


@dataclass(frozen=True, kw_only=True)
class Roc:
    """For every threshold, from the strictest on, how many non-members and how many members lie at or above it.

    Attributes
    ----------
    false_positives, true_positives : tuple of int
        Cumulative counts; examples with equal scores come in together. The last are all non-members and all members;
        the point (0, 0) is understood.
    distinct : Roc, optional
        Where there are copies, the curve of one example of each group of them.
    shared : Roc, optional
        Where non-members that are members too were left out, the curve with them.

    Notes
    -----
    Everything that says how sure a figure is holds for all of these curves. Where all copies of an example were put on
    one side, `distinct` is right. Where examples repeat because few different ones exist, and each was put on a side
    by itself, the curve of all is: without those that are on both sides, rare ones are left among non-members alone.
    """

    false_positives: tuple[int, ...]
    true_positives: tuple[int, ...]
    distinct: Roc | None = None
    shared: Roc | None = None

    def __post_init__(self) -> None:
        false, true = np.array(self.false_positives), np.array(self.true_positives)
        if false.shape != true.shape or not false.size or false[-1] < 1 or true[-1] < 1:
            raise UsageError(
                "roc: counts of unequal length, or of no member or no non-member; give both of every point"
            )
        if false[0] < 0 or true[0] < 0 or (np.diff(false) < 0).any() or (np.diff(true) < 0).any():
            raise UsageError("roc: counts that fall; give cumulative counts, from the strictest threshold on")
        fewer, more = self.distinct, self.shared
        if fewer is not None and (fewer.members > self.members or fewer.non_members > self.non_members):
            raise UsageError("roc: more distinct examples than examples; give one of each group of copies")
        if more is not None and (more.members != self.members or more.non_members <= self.non_members):
            raise UsageError("roc: no examples were left out of its curve; give those that are on both sides too")

    @property
    def members(self) -> int:
        """How many members."""
        return self.true_positives[-1]

    @property
    def non_members(self) -> int:
        """How many non-members."""
        return self.false_positives[-1]

    @property
    def curves(self) -> tuple[Roc, ...]:
        """The curve by itself, then those that its bounds hold for too."""
        beside = tuple(one for one in (self.distinct, self.shared) if one is not None)
        return (replace(self, distinct=None, shared=None), *beside)


def roc_of_scores(
    scores: npt.NDArray[Any], members: npt.NDArray[Any], *, distinct: npt.NDArray[Any] | None = None
) -> Roc:
    """Count the empirical ROC curve.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,); the higher, the more likely a member. Infinite ones are allowed.
    members : numpy.ndarray
        Bool of shape (n,).
    distinct : numpy.ndarray, optional
        Bool of shape (n,): one example of each group of copies, among members and among others.

    Returns
    -------
    Roc
        One point for every different score.

    Raises
    ------
    UsageError
        For a NaN, other shapes, or where one of the two groups is empty.
    """
    values, inside = checked_scores(scores, members)
    fewer = None
    if distinct is not None and not distinct.all():
        fewer = roc_of_scores(values[distinct], inside[distinct])
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0.0, True)
    true = np.cumsum(inside[order])[last_of_tie]
    false = np.cumsum(~inside[order])[last_of_tie]
    return Roc(false_positives=tuple(false.tolist()), true_positives=tuple(true.tolist()), distinct=fewer)


def compress(roc: Roc) -> Roc:
    """Leave out the points that nothing read off the curve needs.

    Only the inner points of horizontal and vertical runs go: the area under the curve, its DeLong variance, every TPR
    at an FPR and the advantage stay exactly as they were. Points on a slope stay even where they are collinear, since
    a TPR at an FPR is never interpolated between thresholds.
    """
    false, true = np.array((0, *roc.false_positives)), np.array((0, *roc.true_positives))
    keep = np.ones(len(false), bool)
    flat, steep = np.diff(true) == 0, np.diff(false) == 0
    keep[1:-1] = ~((flat[:-1] & flat[1:]) | (steep[:-1] & steep[1:]))
    keep[0] = False
    return Roc(
        false_positives=tuple(false[keep].tolist()),
        true_positives=tuple(true[keep].tolist()),
        distinct=None if roc.distinct is None else compress(roc.distinct),
        shared=None if roc.shared is None else compress(roc.shared),
    )


def auc_of_counts(false_positives: Sequence[int], true_positives: Sequence[int]) -> float:
    """Area under a curve given by cumulative counts: exact but for the last division.

    Equal to the share of pairs of a member and a non-member that are in the right order, where ties count a half.
    """
    pairs = 2 * int(false_positives[-1]) * int(true_positives[-1])
    whole = np.int64 if pairs < 2**62 else object  # Python's own, which take longer
    false, true = (np.array([0, *map(int, counts)], whole) for counts in (false_positives, true_positives))
    return int(np.diff(false) @ (true[:-1] + true[1:])) / pairs


def delong_variance(roc: Roc) -> float:
    """Variance of the area under a curve (DeLong, DeLong & Clarke-Pearson, Biometrics 1988), from its counts.

    Returns
    -------
    float
        NaN where there are fewer than two members or non-members.
    """
    if min(roc.members, roc.non_members) < 2:
        return float("nan")
    false, true = np.array(roc.false_positives, np.float64), np.array(roc.true_positives, np.float64)
    non_members, members = np.diff(false, prepend=0.0), np.diff(true, prepend=0.0)
    above_members = 1.0 - (false - non_members / 2) / false[-1]
    above_others = (true - members / 2) / true[-1]
    return (
        _weighted_variance(above_members, members) / true[-1]
        + _weighted_variance(above_others, non_members) / (false[-1])
    )


def auc_estimate(roc: Roc, *, confidence: float = 0.95) -> AttackEstimate:
    """Area under a curve with its two-sided interval; see `trustml.attacks.estimates.auc_low` for how it is made."""
    if len(roc.curves) > 1:
        return widened([auc_estimate(one, confidence=confidence) for one in roc.curves])
    alpha = (1.0 - check_confidence(confidence)) / 2
    value, variance = auc_of_counts(roc.false_positives, roc.true_positives), delong_variance(roc)
    if np.isnan(variance):
        return AttackEstimate(value=value, confidence=confidence, n=roc.members + roc.non_members, note=NOT_ESTIMABLE)
    return AttackEstimate(
        value=value,
        low=auc_low(value, variance, positives=roc.members, negatives=roc.non_members, alpha=alpha),
        high=auc_high(value, variance, positives=roc.members, negatives=roc.non_members, alpha=alpha),
        confidence=confidence,
        n=roc.members + roc.non_members,
        interval="effective pairs",
        note="Clopper-Pearson at the effective number of pairs of DeLong's variance",
    )


def auc_lower_bound(roc: Roc, *, confidence: float) -> float:
    """One-sided lower bound of the area; 0 where there are fewer than two members or non-members."""
    if len(roc.curves) > 1:
        return min(auc_lower_bound(one, confidence=confidence) for one in roc.curves)
    variance = delong_variance(roc)
    if np.isnan(variance):
        return 0.0
    return auc_low(
        auc_of_counts(roc.false_positives, roc.true_positives),
        variance,
        positives=roc.members,
        negatives=roc.non_members,
        alpha=1.0 - check_confidence(confidence),
    )


def auc_upper_bound(roc: Roc, *, confidence: float) -> float:
    """One-sided upper bound of the area; 1 where there are fewer than two members or non-members."""
    if len(roc.curves) > 1:
        return max(auc_upper_bound(one, confidence=confidence) for one in roc.curves)
    variance = delong_variance(roc)
    if np.isnan(variance):
        return 1.0
    return auc_high(
        auc_of_counts(roc.false_positives, roc.true_positives),
        variance,
        positives=roc.members,
        negatives=roc.non_members,
        alpha=1.0 - check_confidence(confidence),
    )


def tpr_at_fpr(roc: Roc, fpr: float, *, confidence: float = 0.95) -> AttackEstimate:
    """Share of members found by the loosest threshold whose empirical FPR is at most `fpr`.

    Parameters
    ----------
    roc : Roc
    fpr : float
    confidence : float

    Returns
    -------
    AttackEstimate
        Without a value where there are fewer than 10 / `fpr` distinct non-members. The Clopper-Pearson interval is of
        the TPR at that threshold; how well the threshold keeps its FPR on other non-members is not in it.
    """
    if len(roc.curves) > 1:
        return widened([tpr_at_fpr(one, fpr, confidence=confidence) for one in roc.curves])
    if not 0.0 < fpr < 1.0:
        raise UsageError(f"fpr: {fpr} is not between 0 and 1; write 0.01 for 1 percent")
    alpha = (1.0 - check_confidence(confidence)) / 2
    n = roc.members + roc.non_members
    if not enough_for(fpr, roc.non_members):
        return AttackEstimate(value=None, confidence=confidence, n=n, note=NOT_ESTIMABLE)
    found = true_positives_at(roc, fpr)
    return AttackEstimate(
        value=found / roc.members,
        low=share_low(found, roc.members, alpha=alpha),
        high=share_high(found, roc.members, alpha=alpha),
        confidence=confidence,
        n=n,
        interval="clopper-pearson",
        note="Clopper-Pearson over the members, at the threshold chosen on these non-members",
    )


def enough_for(fpr: float, non_members: int) -> bool:
    """Whether so many non-members are enough to report a TPR at this FPR."""
    return non_members * fpr >= FEWEST_FALSE_POSITIVES - 1e-9


def true_positives_at(roc: Roc, fpr: float) -> int:
    """Members found by the loosest threshold whose empirical FPR is at most `fpr`, however few non-members."""
    return members_above(roc, allowed(fpr, roc.non_members))


def members_above(roc: Roc, limit: int) -> int:
    """Members at or above the loosest threshold with so many false positives at the most."""
    place = int(np.searchsorted(np.array(roc.false_positives), limit, side="right"))
    return roc.true_positives[place - 1] if place else 0


def allowed(fpr: float, non_members: int) -> int:
    """Most false positives that keep the empirical FPR at or below `fpr`."""
    return int(np.floor(fpr * non_members + 1e-9))


def checked_scores(scores: npt.NDArray[Any], members: npt.NDArray[Any]) -> tuple[Floats, Bools]:
    """Scores as float64 and members as bool, or a clear error."""
    values, inside = np.asarray(scores, np.float64), np.asarray(members)
    if values.ndim != 1 or inside.shape != values.shape or inside.dtype != np.bool_:
        raise UsageError(
            f"members: shape {inside.shape} of {inside.dtype} beside scores of shape {values.shape}; "
            "give one bool for every score"
        )
    if np.isnan(values).any():
        raise UsageError(f"scores: {int(np.isnan(values).sum())} are not a number; leave those examples out")
    if inside.all() or not inside.any():
        raise UsageError(
            f"members: {int(inside.sum())} of {len(inside)} are members; give both members and non-members"
        )
    return values, inside


def _weighted_variance(values: Floats, counts: Floats) -> float:
    mean = float((values * counts).sum() / counts.sum())
    return float((counts * (values - mean) ** 2).sum() / (counts.sum() - 1.0))
