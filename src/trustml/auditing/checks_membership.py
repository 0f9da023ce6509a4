"""Whether training examples can be told from the hold-out by what a model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trustml.attacks.catalogue import ATTACKS, References
from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.membership import (
    FPRS,
    QUESTIONS,
    Outcome,
    Verdict,
    attack_membership,
    verdict_of,
    verdict_of_curves,
)
from trustml.attacks.roc import Roc, auc_estimate, tpr_at_fpr
from trustml.attacks.task_signals import unfit_attacks
from trustml.attacks.tops import Tops
from trustml.attribution.asking import Doubles
from trustml.auditing.findings import measured_figure
from trustml.auditing.result import Finding, Measurement, RocCounts, Severity
from trustml.data.dataset import Ints
from trustml.errors import DataError
from trustml.measures.membership import TPRS
from trustml.models.tasks import DEFAULT_TASK, Task, facts_of
from trustml.privacy.statement import at_least, at_most

FEWEST = 10
_NO_BOUND = (
    "Who is in the training set was not decided by coin flips for this audit, so no lower bound of epsilon follows."
)

_UNSEEN = AttackEstimate(value=None, low=None, high=None, confidence=0.0, n=0, note="needs scores of single examples")


@dataclass(frozen=True, kw_only=True)
class AttackedClaim:
    """What the attacks found.

    Attributes
    ----------
    findings : tuple of Finding
        One an attack; one more where only attacks that look at labels find something.
    curves : tuple of RocCounts
    verdict : Verdict
    """

    findings: tuple[Finding, ...]
    curves: tuple[RocCounts, ...]
    verdict: Verdict


def check_membership(
    train_logits: Doubles,
    train_labels: Ints | Doubles,
    holdout_logits: Doubles,
    holdout_labels: Ints | Doubles,
    *,
    references: References | None,
    confidence: float,
    alike: bool,
    subject: str,
    probabilities: bool = False,
    groups: Ints | None = None,
    shared: tuple[Ints, Ints | Doubles] | None = None,
    task: Task = DEFAULT_TASK,
) -> AttackedClaim:
    """Try every attack that these references allow.

    Parameters
    ----------
    train_logits, train_labels, holdout_logits, holdout_labels : arrays of shape (n, c), (n,), (m, c) and (m,)
        Labels are whole numbers; of a regression all are (n, 1) and (m, 1).
    references : References, optional
        For the training examples, then the hold-out.
    confidence : float
        Of all that is decided together (Bonferroni).
    alike : bool
        Whether the two sets could not be told apart without the model.
    subject, task : str and Task
        Name of the model, and what it is asked.
    probabilities : bool
        Whether logits are logarithms of probabilities that the model gave.
    groups : int array of shape (n + m,), optional
        The same number for copies of one example.
    shared : pair of int arrays of shape (k,), optional
        Places among the training examples of hold-out examples that were left out as they are there, and their labels.

    Raises
    ------
    DataError
        If there are too few examples.
    """
    if min(len(train_labels), len(holdout_labels)) < FEWEST:
        raise DataError(
            f"{len(train_labels)} members and {len(holdout_labels)} non-members are too few; give {FEWEST} or more"
        )
    places, labels = shared if shared is not None else (np.zeros(0, np.int64), train_labels[:0])
    if references is not None and len(places):
        references = References(
            logits=np.concatenate([references.logits, references.logits[:, places]], axis=1),
            members=np.concatenate([references.members, references.members[:, places]], axis=1),
        )
    if groups is not None:
        groups = np.concatenate([groups, np.full(len(places), -1)])
    outcomes = attack_membership(
        np.concatenate([train_logits, holdout_logits, train_logits[places]]),
        np.concatenate([train_labels, holdout_labels, labels]),
        np.repeat([True, False], [len(train_labels), len(holdout_labels) + len(places)]),
        references,
        normalised=probabilities,
        task=task,
        groups=groups,
        shared=len(places),
    )
    verdict = verdict_of(outcomes, confidence=confidence)
    findings = [_finding(outcome, verdict, alike=alike, subject=subject) for outcome in outcomes]
    return AttackedClaim(
        findings=(*findings, *_labels_alone(verdict, subject=subject), *_unfit(task, subject=subject)),
        verdict=verdict,
        curves=tuple(RocCounts.of(outcome.roc, subject=subject, attack=outcome.attack) for outcome in outcomes),
    )


def _unfit(task: Task, *, subject: str) -> list[Finding]:
    """Say which attacks the task has no signals for."""
    reasons: dict[str, list[str]] = {}
    for name, why in unfit_attacks(task).items():
        reasons.setdefault(why, []).append(name)
    if not reasons:
        return []
    told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    return [
        Finding(
            id="membership.unfit",
            check="membership",
            severity="not checked",
            title=f"Not checked: {sum(map(len, reasons.values()))} attacks, which are not for a {facts_of(task).title}",
            subject=subject,
            how=f"{told}.",
            would_change="nothing: the others rank examples by their errors, squared or absolute alike",
        )
    ]


def findings_of_curves(
    curves: Sequence[RocCounts], *, confidence: float, subject: str
) -> tuple[list[Finding], Verdict]:
    """Conclude again from the curves of one model; what needs its answers themselves is left out of the findings.

    Raises
    ------
    UsageError
        If a curve is none.
    """
    rocs = {one.attack: one.roc for one in curves}
    verdict = verdict_of_curves(rocs, error=(1 - confidence) / QUESTIONS)
    findings = [
        _finding(
            Outcome(
                attack=attack,
                references=0,
                scores=np.zeros(0),
                roc=roc,
                auc=auc_estimate(roc),
                tprs={fpr: tpr_at_fpr(roc, fpr) for fpr in FPRS},
                advantage=_UNSEEN,
                class_aucs={},
                exposed=(),
            ),
            verdict,
            alike=True,
            subject=subject,
        )
        for attack, roc in rocs.items()
    ]
    return [*findings, *_labels_alone(verdict, subject=subject)], verdict


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


def exposed_words(tops: Tops) -> str:
    """Say whom an attack exposes, as a clause after its name."""
    others = "any non-member"
    if tops.false_positives:
        others = f"all but {tops.false_positives} of {tops.of_non_members} non-members"
    distinct = " distinct" if tops.distinct else ""
    surer = f"puts {tops.members} of {tops.of_members}{distinct} members before {others}"
    return f"{surer}, more than chance allows (p = {tops.p_value:.1g})"


def _labels_alone(verdict: Verdict, *, subject: str) -> list[Finding]:
    """Note that what is found hangs on the labels."""
    blind = [name for name in verdict.bounds if not ATTACKS[name].labels]
    seeing = [name for name in verdict.told if ATTACKS[name].labels]
    if not blind or not seeing or set(blind) & {*verdict.told, *verdict.exposing, *verdict.reversed}:
        return []
    return [
        Finding(
            id="membership.labels",
            check="membership",
            severity="note",
            title=f"Only attacks that look at labels find something: {len(seeing)} of them, and none of the "
            f"{len(blind)} that look at outputs alone",
            subject=subject,
            how="A model that remembers is surer of its training examples, whatever their labels are. One that is as "
            "sure of both sets and right more often on one may have remembered labels; or those of the hold-out are "
            "wrong, in another order, or made in another way.",
            would_change="a look at the labels of the hold-out: are they in the order of its inputs?",
        )
    ]


def _conclusion(outcome: Outcome, verdict: Verdict) -> tuple[Severity, str, str]:
    """Severity, title and what would change it."""
    name, title = outcome.attack, ATTACKS[outcome.attack].title
    low, high = verdict.bounds[name], verdict.uppers[name]
    value, tops = outcome.auc.value, verdict.tops[name]
    less = "less overfitting or private training; a hold-out from the same source, if it is not"
    also = f"; it {exposed_words(tops)}" if name in verdict.exposing else ""
    if name in verdict.told:
        return "risk", f"{title} tells members from others: AUC {value:.3f}, at least {at_least(low, 3)}{also}", less
    if name in verdict.reversed:
        why = "members differ the other way round" if verdict.told else "the sets differ, perhaps exchanged"
        return (
            "risk",
            f"{title} puts members below others: AUC {value:.3f}, at most {at_most(high, 3)}: {why}{also}",
            "train and holdout given the right way round; a hold-out from the same source, no easier than the "
            "training examples",
        )
    if name in verdict.exposing:
        return "risk", f"{title} {exposed_words(tops)}, though AUC is {value:.3f}: a few members are exposed", less
    return (
        "pass",
        f"{title} finds no membership: AUC {value:.3f}; it could be as high as {at_most(high, 3)}",
        "more examples, reference models, or a stronger attack: no attack that fails proves privacy",
    )


def _finding(outcome: Outcome, verdict: Verdict, *, alike: bool, subject: str) -> Finding:
    attack, tops = ATTACKS[outcome.attack], verdict.tops[outcome.attack]
    both = auc_estimate(outcome.roc, confidence=2 * verdict.each - 1)
    severity, title, would_change = _conclusion(outcome, verdict)
    caution = (
        ""
        if alike
        else " The two sets differ even without the model (finding data.shift or data.labels): an attack may have "
        "found that."
    )
    return Finding(
        id=f"membership.{outcome.attack}",
        check="membership",
        severity=severity,
        title=title,
        subject=subject,
        measured=(
            Measurement(
                measure="membership_auc",
                value=both.value,
                low=verdict.bounds[outcome.attack],
                high=verdict.uppers[outcome.attack],
                confidence=2 * verdict.each - 1,
                n=both.n,
                note=f"each end one-sided at {verdict.each:.6g}, Bonferroni over {len(verdict.bounds)} attacks, each "
                f"with a test of its surest examples beside both ends; {both.note}",
            ),
            *(measured_figure(TPRS[fpr], tpr) for fpr, tpr in outcome.tprs.items() if fpr in TPRS),
            measured_figure("membership_advantage", outcome.advantage),
            exposed_figure(tops),
        ),
        how=f"{attack.paper}. {_counted(outcome.roc)}; "
        + (f"{outcome.references} reference models. " if outcome.references else "no reference model. ")
        + (f"{outcome.note}. " if outcome.note else "")
        + _NO_BOUND
        + caution,
        would_change=would_change,
    )


def _counted(roc: Roc) -> str:
    """Say how many examples there are, and how many distinct ones."""
    said = f"{roc.members} training and {roc.non_members} hold-out examples"
    if roc.distinct is not None:
        said += (
            f", {roc.distinct.members} and {roc.distinct.non_members} of them distinct: no bound or test is surer "
            "than that of distinct ones"
        )
    if roc.shared is not None:
        said += f"; nor than with {roc.shared.non_members - roc.non_members} that are in both sets and were left out"
    return said


def exposed_figure(tops: Tops, *, label: str = "") -> Measurement:
    """Give the members that an attack is surest of as a figure of a finding: a number, nobody's name."""
    return Measurement(
        measure="members_exposed",
        value=tops.members,
        n=tops.of_members,
        note=f"members above all but {tops.false_positives} of {tops.of_non_members} non-members; "
        f"p = {tops.p_value:.3g}, exact (hypergeometric), over all thresholds tried (Carlini et al., arXiv 2112.03570)",
        label=label,
    )
