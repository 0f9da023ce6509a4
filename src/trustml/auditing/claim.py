"""What the owner of a model says of it, as data."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from trustml.privacy.ledger import PrivacyUnit
from trustml.privacy.statement import at_most

Relation: TypeAlias = Literal["add-or-remove-one", "replace-one", "zero-out"]
ClaimedSampling: TypeAlias = Literal[
    "poisson", "cyclic poisson", "shuffle", "fixed", "in turn", "full batch", "published", "unknown"
]


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A privacy claim, and as much of the mechanism behind it as the claimant states.

    Parameters
    ----------
    epsilon : float
    delta : float
    unit : {"example", "user"}
        Unit of privacy.
    relation : {"add-or-remove-one", "replace-one", "zero-out"}
        Neighbouring relation.
    mechanism : str
        Such as ``DP-SGD``; words for the reader.
    noise_multiplier, sample_rate : float, optional
    steps : int, optional
    sampling : ClaimedSampling
        How batches are said to have been drawn; in turn: the same parts of the data, one after another, in one order;
        cyclic Poisson: from one fixed group of the data after another, `steps` of one group at the rate within it;
        published: at random, and no secret, so that nothing is amplified.
    loader : ClaimedSampling
        How the code really draws them, where it is known; another word than `sampling` is a mismatch.
    accountant : str
        Whose number epsilon is.
    """

    epsilon: float
    delta: float
    unit: PrivacyUnit = "example"
    relation: Relation = "add-or-remove-one"
    mechanism: str = "DP-SGD"
    noise_multiplier: float | None = None
    sample_rate: float | None = None
    steps: int | None = None
    sampling: ClaimedSampling = "unknown"
    loader: ClaimedSampling = "unknown"
    accountant: str = ""


def claim_words(claim: Claim) -> str:
    """Write a claim in one line, its epsilon rounded up to four decimals, or four digits where it is small."""
    digits = 4
    if 0 < claim.epsilon < 1:
        digits = max(digits, 3 - math.floor(math.log10(claim.epsilon)))
    epsilon = at_most(claim.epsilon, digits)
    return f"epsilon {epsilon} at delta {claim.delta:g}; unit: {claim.unit}; relation: {claim.relation}"
