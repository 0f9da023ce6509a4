"""Few members exposed with certainty: an exact test on the examples that an attack is surest of.

An area under the curve hardly moves where an attack is sure of one member in fifty and guesses at all others. Those few
are what counts (Carlini et al., S&P 2022, arXiv 2112.03570).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from trustml.attacks.roc import Roc, allowed, members_above

FPRS = (0.0, 0.001, 0.01)


@dataclass(frozen=True, kw_only=True)
class Tops:
    """Members that an attack puts above all but a few non-members.

    Attributes
    ----------
    members, of_members : int
        How many, and of how many.
    false_positives, of_non_members : int
        Non-members that are allowed among them, and of how many.
    p_value : float
        Chance of as many members where scores tell nothing, times the number of thresholds that were tried.
    distinct : bool
        Whether copies count once in all of these.
    """

    members: int
    of_members: int
    false_positives: int
    of_non_members: int
    p_value: float
    distinct: bool = False


def surest(roc: Roc) -> Tops:
    """Take the threshold at which the members above it are the least likely to be there by chance.

    Notes
    -----
    Where membership was drawn at random and scores do not depend on it, every order of members and non-members is as
    likely. At least t members stand above the non-member number r + 1 if and only if the first t + r examples hold r
    non-members at the most, whose number is hypergeometric: exact for any n. Examples of equal scores are counted
    only where all of them are above, which makes the test stricter. Thresholds are at no false positive and at
    FPRs of 0.1 and 1 percent, as far as these differ (Bonferroni). Where there are copies, the same is asked of the
    curves beside this one, and the largest chance is given.
    """
    from scipy.stats import hypergeom

    if len(roc.curves) > 1:
        asked = [dataclasses.replace(surest(one), distinct=one is roc.distinct) for one in roc.curves]
        return max(asked, key=lambda tops: tops.p_value)

    every = roc.members + roc.non_members
    limits = sorted({allowed(fpr, roc.non_members) for fpr in FPRS})
    found = []
    for limit in limits:
        members = members_above(roc, limit)
        chance = float(hypergeom.cdf(limit, every, roc.non_members, members + limit)) if members else 1.0
        found.append(
            Tops(
                members=members,
                of_members=roc.members,
                false_positives=limit,
                of_non_members=roc.non_members,
                p_value=min(1.0, len(limits) * chance),
            )
        )
    return min(found, key=lambda tops: tops.p_value)
