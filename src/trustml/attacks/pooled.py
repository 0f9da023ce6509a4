"""One attack on several models: figures over all of them, with the models as clusters.

A handful of targets is too few for a cluster bootstrap, which would draw from five values. Intervals are t-intervals
with (targets - 1) degrees of freedom from delete-one-target jackknife variances. The targets of one run are trained on
the same examples, and then a new set of examples would move them all together, which their spread does not show: with
`examples` given, the delete-a-group jackknife variance over examples is added (two-way clustering, Cameron, Gelbach &
Miller, JBES 2011, without the term that is subtracted there: never too narrow for it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import NOT_ESTIMABLE, AttackEstimate, check_confidence, share_high, share_low
from trustml.attacks.roc import auc_of_counts, checked_scores, enough_for, roc_of_scores, true_positives_at
from trustml.attacks.signals import Bools, Floats
from trustml.errors import UsageError

GROUPS = 20
"""Groups of examples that are left out one at a time."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Figures of one attack over all targets.

    Attributes
    ----------
    targets : int
    auc : AttackEstimate
        Mean of the targets' areas.
    tprs : dict
        From FPR to the TPR of one threshold for all targets, over the members of all.
    """

    targets: int
    auc: AttackEstimate
    tprs: dict[float, AttackEstimate]


def pool_targets(
    scores: Sequence[npt.NDArray[Any]],
    members: Sequence[npt.NDArray[Any]],
    *,
    examples: Sequence[npt.NDArray[Any]] | None = None,
    fprs: Sequence[float] = (0.001, 0.01),
    confidence: float = 0.95,
    seed: int = 0,
) -> Pooled:
    """Pool one attack's scores over targets.

    Parameters
    ----------
    scores : sequence of numpy.ndarray
        A target each, of shape (n_t,), on a scale they share: one threshold is used for all.
    members : sequence of numpy.ndarray
        Bool of the same shapes.
    examples : sequence of numpy.ndarray, optional
        Which example each score is of, where targets share examples or some are copies of others; of the same shapes.
        None: no two are the same.
    fprs : sequence of float
        A TPR is reported where there are at least 10 / FPR non-members over all targets.
    confidence : float
        Two-sided.
    seed : int
        Of the groups of examples.

    Returns
    -------
    Pooled
        With one target only, without intervals.

    Raises
    ------
    UsageError
        For unequal lengths or no target; and as `roc_of_scores`.
    """
    check_confidence(confidence)
    if not scores or len(scores) != len(members) or (examples is not None and len(examples) != len(scores)):
        raise UsageError(f"scores: of {len(scores)} targets beside members of {len(members)}; give both for each")
    checked = [checked_scores(one, who) for one, who in zip(scores, members, strict=True)]
    lengths = [len(values) for values, _ in checked]
    target = np.repeat(np.arange(len(checked)), lengths)
    every, inside = np.concatenate([one for one, _ in checked]), np.concatenate([who for _, who in checked])
    clusters = [target]
    distinct = np.arange(len(every))
    if examples is not None:
        if [len(one) for one in examples] != lengths:
            raise UsageError("examples: not as many as scores; give one for each score")
        names, place = np.unique(np.concatenate(list(examples)), return_inverse=True)
        distinct = np.unique(np.stack([target, place.reshape(-1)]), axis=1, return_index=True)[1]
        groups = np.random.default_rng(seed).permutation(len(names)) % min(GROUPS, len(names))
        clusters.append(groups[place])

    def estimate(statistic: Callable[[Floats, Bools, npt.NDArray[np.int64]], float]) -> AttackEstimate:
        found = int(inside[distinct].sum()) // len(checked)
        return _jackknife(statistic, every, inside, target, clusters, found, confidence=confidence)

    tprs = {}
    for fpr in fprs:
        if enough_for(fpr, int((~inside[distinct]).sum())):
            tprs[fpr] = estimate(partial(_tpr, fpr=fpr))
        else:
            tprs[fpr] = AttackEstimate(value=None, confidence=confidence, n=len(every), note=NOT_ESTIMABLE)
    return Pooled(targets=len(checked), auc=estimate(_mean_auc), tprs=tprs)


def _jackknife(
    statistic: Callable[[Floats, Bools, npt.NDArray[np.int64]], float],
    scores: Floats,
    members: Bools,
    target: npt.NDArray[np.int64],
    clusters: list[npt.NDArray[np.int64]],
    members_of_one: int,
    *,
    confidence: float,
) -> AttackEstimate:
    from scipy.stats import t

    value = statistic(scores, members, target)
    targets = len(np.unique(target))
    if targets < 2:
        return AttackEstimate(
            value=value, confidence=confidence, n=len(scores), note="one target: no spread between targets to go by"
        )
    variance = 0.0
    for labels in clusters:
        without = []
        for label in np.unique(labels):
            rest = labels != label
            if _both_in_every_target(members[rest], target[rest]):
                without.append(statistic(scores[rest], members[rest], target[rest]))
        count = len(without)
        if count > 1:
            variance += (count - 1) / count * float(((np.array(without) - np.mean(without)) ** 2).sum())
    if variance == 0.0:  # none found, or all, whatever is left out: the spread says nothing, the counts still do
        alone = (1.0 - confidence) / 2
        return AttackEstimate(
            value=value,
            low=share_low(value * members_of_one, members_of_one, alpha=alone),
            high=share_high(value * members_of_one, members_of_one, alpha=alone),
            confidence=confidence,
            n=len(scores),
            interval="clopper-pearson",
            note="no spread at all: Clopper-Pearson over the members of one target",
        )
    width = float(t.ppf((1.0 + confidence) / 2, targets - 1)) * variance**0.5
    return AttackEstimate(
        value=value,
        low=max(0.0, value - width),
        high=min(1.0, value + width),
        confidence=confidence,
        n=len(scores),
        interval="jackknife over models",
        note=f"t-interval of {targets - 1} degrees of freedom, jackknife over targets"
        + (" and over groups of examples" if len(clusters) > 1 else ""),
    )


def _both_in_every_target(members: Bools, target: npt.NDArray[np.int64]) -> bool:
    return all(members[target == one].any() and not members[target == one].all() for one in np.unique(target))


def _mean_auc(scores: Floats, members: Bools, target: npt.NDArray[np.int64]) -> float:
    areas = []
    for one in np.unique(target):
        roc = roc_of_scores(scores[target == one], members[target == one])
        areas.append(auc_of_counts(roc.false_positives, roc.true_positives))
    return float(np.mean(areas))


def _tpr(scores: Floats, members: Bools, target: npt.NDArray[np.int64], *, fpr: float) -> float:
    roc = roc_of_scores(scores, members)
    return true_positives_at(roc, fpr) / roc.members
