"""Whether training examples can be told from the hold-out by what a model answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.attacks.catalogue import ATTACKS, References
from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.membership import Outcome, Verdict, attack_membership, verdict_of
from trustml.attacks.roc import auc_estimate
from trustml.attribution.asking import Doubles
from trustml.auditing.result import Finding, Measurement, RocCounts
from trustml.data.dataset import Ints
from trustml.errors import DataError
from trustml.measures.membership import TPRS

FEWEST = 10
_NO_BOUND = (
    "Who is in the training set was not decided by coin flips for this audit, so no lower bound of epsilon follows."
)


@dataclass(frozen=True, kw_only=True)
class AttackedClaim:
    """What the attacks found.

    Attributes
    ----------
    findings : tuple of Finding
        One an attack.
    curves : tuple of RocCounts
    """

    findings: tuple[Finding, ...]
    curves: tuple[RocCounts, ...]


def check_membership(
    train_logits: Doubles,
    train_labels: Ints,
    holdout_logits: Doubles,
    holdout_labels: Ints,
    *,
    references: References | None,
    confidence: float,
    alike: bool,
    subject: str,
) -> AttackedClaim:
    """Try every attack that these references allow.

    Parameters
    ----------
    train_logits, holdout_logits : float64 arrays of shape (n, c) and (m, c)
    train_labels, holdout_labels : int64 arrays of shape (n,) and (m,)
    references : References, optional
        For the training examples, then the hold-out.
    confidence : float
        Of all lower bounds together (Bonferroni).
    alike : bool
        Whether the two sets could not be told apart without the model.
    subject : str
        Name of the model.

    Raises
    ------
    DataError
        If there are too few examples.
    """
    if min(len(train_labels), len(holdout_labels)) < FEWEST:
        raise DataError(
            f"{len(train_labels)} members and {len(holdout_labels)} non-members are too few; give {FEWEST} or more"
        )
    outcomes = attack_membership(
        np.concatenate([train_logits, holdout_logits]),
        np.concatenate([train_labels, holdout_labels]),
        np.repeat([True, False], [len(train_labels), len(holdout_labels)]),
        references,
    )
    verdict = verdict_of(outcomes, confidence=confidence)
    return AttackedClaim(
        findings=tuple(_finding(outcome, verdict, alike=alike, subject=subject) for outcome in outcomes),
        curves=tuple(
            RocCounts(
                subject=subject,
                attack=outcome.attack,
                false_positives=outcome.roc.false_positives,
                true_positives=outcome.roc.true_positives,
            )
            for outcome in outcomes
        ),
    )


def without_references(count: int, *, why: str = "") -> Finding:
    """Say which attacks were not tried for want of reference models."""
    return Finding(
        id="membership.references",
        check="membership",
        severity="not checked",
        title=f"Not checked: attacks that compare with reference models ({why or 'none were asked for'})",
        how=f"LiRA and RMIA ask how {count} or so models of the same training answer with and without an example; they "
        "find exposed examples that no single threshold finds.",
        would_change="retrain=, a function of (inputs, labels, seed) that trains such a model; for scikit-learn "
        "references=16 alone. A model that passes without them may be flagged with them.",
    )


def _finding(outcome: Outcome, verdict: Verdict, *, alike: bool, subject: str) -> Finding:
    attack = ATTACKS[outcome.attack]
    both = auc_estimate(outcome.roc, confidence=2 * verdict.each - 1)
    low, high = verdict.bounds[outcome.attack], both.high if both.high is not None else 1.0
    found = low > 0.5
    title = (
        f"{attack.title} tells members from others: AUC {both.value:.3f}, at least {low:.3f}"
        if found
        else f"{attack.title} finds no membership: AUC {both.value:.3f}; it could be as high as {high:.3f}"
    )
    caution = (
        ""
        if alike
        else " The two sets differ even without the model (finding data.shift): an attack may have found that."
    )
    return Finding(
        id=f"membership.{outcome.attack}",
        check="membership",
        severity="risk" if found else "pass",
        title=title,
        subject=subject,
        measured=(
            Measurement(
                measure="membership_auc",
                value=both.value,
                low=low,
                high=high,
                confidence=2 * verdict.each - 1,
                n=both.n,
                note=f"each end one-sided at {verdict.each:.6g}, Bonferroni over {len(verdict.bounds)} attacks; "
                f"{both.note}",
            ),
            *(_measured(TPRS[fpr], tpr) for fpr, tpr in outcome.tprs.items() if fpr in TPRS),
            _measured("membership_advantage", outcome.advantage),
        ),
        how=f"{attack.paper}. {outcome.roc.members} training and {outcome.roc.non_members} hold-out examples; "
        + (f"{outcome.references} reference models. " if outcome.references else "no reference model. ")
        + (f"{outcome.note}. " if outcome.note else "")
        + _NO_BOUND
        + caution,
        would_change=(
            "less overfitting or private training; a hold-out from the same source, if it is not"
            if found
            else "more examples, reference models, or a stronger attack: no attack that fails proves privacy"
        ),
    )


def _measured(name: str, estimate: AttackEstimate) -> Measurement:
    return Measurement(
        measure=name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=estimate.confidence if estimate.low is not None else None,
        n=estimate.n,
        note=estimate.note,
    )
