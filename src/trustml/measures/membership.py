"""Rows on membership inference: every attack on every model, and every attack on all models of a regime."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attacks.advantage import split_advantage
from trustml.attacks.catalogue import References
from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.membership import Outcome, attack_membership, verdict_of_curves
from trustml.attacks.membership import Verdict as Membership
from trustml.attacks.pooled import pool_targets
from trustml.attacks.task_signals import unfit_attacks
from trustml.errors import UsageError
from trustml.measures.attacked_examples import copies, labels_of_all, unseen
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent, not_applicable
from trustml.measures.row import About, Facts, IntervalKind, Row, Verdict
from trustml.models.answers import score
from trustml.models.tasks import NextToken, Regression
from trustml.plan.attack_files import attack_file, members_file, shadow_id
from trustml.plan.attacking import SHADOW_BACKEND
from trustml.plan.job import TrainJob
from trustml.record.curves import RocCounts
from trustml.record.schema import JobRecord
from trustml.scenario.attacks import MembershipInference
from trustml.scenario.read import from_plain

TPRS = {0.01: "membership_tpr_at_1_percent_fpr", 0.001: "membership_tpr_at_0_1_percent_fpr"}
HALVINGS = "halvings"
"""The fact of how many random halvings a figure is the mean over."""
DISTINCT = "distinct_members"
"""The fact that members, or others, hold copies: bounds are those of distinct examples where these are wider."""
_SUBJECT = "members ~ held-out"


@dataclass(frozen=True, kw_only=True)
class AttackedModel:
    """One model under all attacks.

    Attributes
    ----------
    record : JobRecord
    outcomes : list of Outcome
        Empty where it could not be attacked.
    members : bool array of shape (n,)
        Over training and then held-out examples, of those that are kept.
    groups : int array of shape (n,)
        Of the same examples: the same number for copies of one.
    kept : bool array
        All training examples, and of the held-out ones those that the model's start was not trained on.
    training_accuracy : float
        NaN for a regression.
    why_not : str
    not_at_hand : bool
        Whether that is because its scores were left out.
    """

    record: JobRecord
    outcomes: list[Outcome]
    members: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    training_accuracy: float = float("nan")
    why_not: str = ""
    not_at_hand: bool = False


def attacked_models(evidence: Evidence) -> list[AttackedModel]:
    """Attack every model that the scenario wants attacked and that left its scores.

    The scores are under ``private/``; without that folder every model is given with the reason it was not attacked.
    """
    if wanted_attacks(evidence) is None:
        return []
    found = []
    for record, job in evidence.trained():
        missing = not job.scores or not evidence.run.file(job.scores).is_file()
        why_not = "the model's answers on its training examples are under private/, which is not at hand"
        if record.status != "ok":
            why_not = f"training ended {record.status}: {record.reason}"
        elif not missing:
            why_not = ""
        outcomes: list[Outcome] = []
        kept, members, groups, accuracy = np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, np.int64), float("nan")
        if not why_not:
            train = evidence.run.arrays(job.scores)["train_logits"]
            test = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
            if not isinstance(evidence.task, Regression):
                accuracy = score(evidence.task, train, labels_of_all(evidence)[: len(train)])
            try:
                kept = unseen(evidence, job.regime)
                members, groups = np.flatnonzero(kept) < len(train), evidence.once(copies)[kept]
                outcomes = attacked(evidence, job, train, test)
            except UsageError as error:
                why_not = str(error)
        found.append(
            AttackedModel(
                record=record,
                outcomes=outcomes,
                members=members,
                groups=groups,
                kept=kept,
                training_accuracy=accuracy,
                why_not=why_not,
                not_at_hand=missing and record.status == "ok",
            )
        )
    return found


def attacked(
    evidence: Evidence, job: TrainJob, train: npt.NDArray[np.float32], test: npt.NDArray[np.float32]
) -> list[Outcome]:
    """Attack what answers so on all training and unseen held-out examples, by the shadow models of its regime, if any.

    Raises
    ------
    UsageError
        If it cannot be attacked.
    """
    kept = unseen(evidence, job.regime)
    return attack_membership(
        np.concatenate([train, test])[kept],
        labels_of_all(evidence)[kept],
        np.flatnonzero(kept) < len(train),
        _references(evidence, job.regime.title),
        task=evidence.task,
        groups=evidence.once(copies)[kept],
        names=evidence.manifest.data.class_names if isinstance(evidence.task, NextToken) else (),
    )


def wanted_attacks(evidence: Evidence) -> MembershipInference | None:
    """What the scenario wants of membership inference."""
    return from_plain(evidence.manifest.scenario).attacks.membership


def curves_of(models: Iterable[AttackedModel]) -> list[RocCounts]:
    """Give the ROC curves that are published: counts alone."""
    return [
        RocCounts.of(outcome.roc, subject=model.record.id, attack=outcome.attack)
        for model in models
        for outcome in model.outcomes
    ]


def exposed_examples(models: Iterable[AttackedModel]) -> dict[str, npt.NDArray[np.int64]]:
    """Give the members that attacks are surest of, highest score first: secret, as it tells of single examples.

    Returns
    -------
    dict
        ``<model>|<attack>`` to places among the training examples.
    """
    return {
        f"{model.record.id}|{outcome.attack}": np.array(outcome.exposed, np.int64)
        for model in models
        for outcome in model.outcomes
    }


def attacked_rows(evidence: Evidence) -> list[Row]:
    """Rows of :func:`membership_rows` for the models of the run."""
    return membership_rows(evidence, evidence.once(attacked_models))


def halved_once(evidence: Evidence, row: Row, *, with_copies: bool) -> Row:
    """Give an advantage as it was recorded before there were several halvings, from the same scores.

    Parameters
    ----------
    evidence : Evidence
    row : Row
        The advantage over many halvings.
    with_copies : bool
        Whether copies were kept in one half.
    """
    model = next(one for one in evidence.once(attacked_models) if one.record.id == row.job)
    outcome = next(one for one in model.outcomes if one.attack == row.method)
    assert row.confidence is not None
    found = split_advantage(
        outcome.scores,
        model.members,
        groups=model.groups if with_copies else None,
        confidence=row.confidence,
        halvings=1,
    )
    return msgspec.structs.replace(row, value=found.value, low=found.low, high=found.high)


def membership_rows(evidence: Evidence, models: list[AttackedModel]) -> list[Row]:
    """AUC, its corrected lower bound, TPR at low FPR and advantage; then TPR over all models of a regime."""
    wanted = wanted_attacks(evidence)
    if wanted is None:
        return []
    rows: list[Row] = []
    for model in models:
        if model.outcomes:
            rows += _model_rows(evidence, model, confidence=wanted.confidence)
        else:
            about = absent(model.why_not, not_at_hand=model.not_at_hand)
            for measure, subject in (("training_accuracy", "training"), ("membership_auc", _SUBJECT)):
                rows.append(evidence.row(measure, None, record=model.record, subject=subject, n=0, about=about))
    groups: dict[tuple[str, str], list[AttackedModel]] = {}
    for model in models:
        if model.outcomes:
            groups.setdefault((model.record.backend, model.record.regime), []).append(model)
    for group in groups.values():
        rows += _pooled_rows(evidence, group)
    return rows


def _model_rows(evidence: Evidence, model: AttackedModel, *, confidence: float) -> list[Row]:
    # `confidence` is that of the lower bounds, which rows hold; audits ask two further questions of the curves
    verdict = verdict_of_curves({one.attack: one.roc for one in model.outcomes}, error=1.0 - confidence)
    accuracy, trained = model.training_accuracy, int(model.members.sum())
    known = not np.isnan(accuracy)
    about = About() if known else not_applicable("a regression has no accuracy")
    value, of = (accuracy, trained) if known else (None, 0)
    rows = [evidence.row("training_accuracy", value, record=model.record, subject="training", n=of, about=about)]
    rows += [
        evidence.row(
            "membership_auc",
            None,
            record=model.record,
            subject=_SUBJECT,
            method=name,
            n=0,
            about=not_applicable(reason),
        )
        for name, reason in unfit_attacks(evidence.task).items()
    ]
    for outcome in model.outcomes:
        facts: Facts = {"references": outcome.references} if outcome.references else {}
        if outcome.note:
            facts["made_do"] = outcome.note
        if not model.kept.all():
            facts["seen_left_out"] = int((~model.kept).sum())
        facts |= _copies_in(outcome)
        figures = [("membership_auc", outcome.auc), ("membership_advantage", outcome.advantage)]
        figures += [(TPRS[fpr], estimate) for fpr, estimate in outcome.tprs.items()]
        rows += [_row(evidence, name, estimate, outcome, model, facts) for name, estimate in figures]
        bound = verdict.bounds[outcome.attack]
        rows.append(
            evidence.row(
                "membership_auc_at_least",
                bound,
                record=model.record,
                subject=_SUBJECT,
                method=outcome.attack,
                n=outcome.auc.n,
                about=_of_pair(
                    verdict="above guessing" if bound > 0.5 else "not above guessing",
                    confidence=verdict.each,
                    facts={
                        **facts,
                        "attacks": len(model.outcomes),
                        "together": confidence,
                        **_beside(verdict, outcome),
                    },
                ),
            )
        )
    return rows + _class_rows(evidence, model, verdict.strongest)


def _beside(verdict: Membership, outcome: Outcome) -> Facts:
    """Tell what the lower bound of an AUC does not show, where there is something."""
    found: Facts = {}
    if outcome.attack in verdict.exposing:
        tops = verdict.tops[outcome.attack]
        found |= {"exposed": tops.members, "exposed_among": tops.false_positives, "exposed_p": tops.p_value}
    if outcome.attack in verdict.reversed:
        found["at_most"] = verdict.uppers[outcome.attack]
    return found


def _copies_in(outcome: Outcome) -> Facts:
    once = outcome.roc.distinct
    return {} if once is None else {DISTINCT: once.members, "distinct_others": once.non_members}


def _class_rows(evidence: Evidence, model: AttackedModel, strongest: str) -> list[Row]:
    names = evidence.manifest.data.class_names
    outcome = next(one for one in model.outcomes if one.attack == strongest)
    return [
        evidence.row(
            "membership_auc_of_class",
            estimate.value,
            record=model.record,
            subject=f"class {names[label]}",
            method=strongest,
            n=estimate.n,
            interval=_interval(estimate),
            about=_about(estimate, {"class_name": names[label], **_copies_in(outcome)}),
        )
        for label, estimate in outcome.class_aucs.items()
    ]


def _row(
    evidence: Evidence, name: str, estimate: AttackEstimate, outcome: Outcome, model: AttackedModel, facts: Facts
) -> Row:
    return evidence.row(
        name,
        estimate.value,
        record=model.record,
        subject=_SUBJECT,
        method=outcome.attack,
        n=estimate.n,
        interval=_interval(estimate),
        about=_about(estimate, facts),
    )


def _about(estimate: AttackEstimate, facts: Facts) -> About:
    """Give how an estimate was made as columns; `facts` are told with it."""
    if estimate.value is None:
        return _of_pair(verdict="absent", facts={**facts, "reason": estimate.note})
    if estimate.low is None:
        return _of_pair(facts={**facts, "no_interval": estimate.note})
    if estimate.splits:
        facts = {**facts, HALVINGS: estimate.splits, "monte_carlo_error": estimate.error}
    return _of_pair(confidence=estimate.confidence, interval=estimate.interval, facts={**facts, "how": estimate.note})


def _of_pair(
    *,
    verdict: Verdict = "",
    confidence: float | None = None,
    interval: IntervalKind = "",
    facts: Facts,
) -> About:
    return About(
        verdict=verdict,
        pair="members and held-out",
        first="members",
        second="held-out",
        confidence=confidence,
        interval=interval,
        facts=facts,
    )


def _pooled_rows(evidence: Evidence, group: list[AttackedModel]) -> list[Row]:
    if len(group) < 2:
        return []
    record = group[0].record
    rows = []
    for number, outcome in enumerate(group[0].outcomes):
        pooled = pool_targets(
            [model.outcomes[number].scores for model in group],
            [model.members for model in group],
            examples=[model.groups for model in group],
            fprs=tuple(TPRS),
        )
        figures = [("membership_auc", pooled.auc)] + [(TPRS[fpr], pooled.tprs[fpr]) for fpr in TPRS]
        for name, estimate in figures:
            row = evidence.row(
                name,
                estimate.value,
                record=None,
                subject=f"{record.regime}: {_SUBJECT}",
                method=outcome.attack,
                n=estimate.n,
                interval=_interval(estimate),
                about=_about(estimate, {"models": len(group), **_copies_in(outcome)}),
            )
            rows.append(_of_regime(row, record))
    return rows


def _of_regime(row: Row, record: JobRecord) -> Row:
    return msgspec.structs.replace(row, backend=record.backend, regime=record.regime)


def _interval(estimate: AttackEstimate) -> tuple[float, float] | None:
    return (estimate.low, estimate.high) if estimate.low is not None and estimate.high is not None else None


def _references(evidence: Evidence, regime: str) -> References | None:
    """Give the shadow models of a regime, if there are any."""
    name = shadow_id(SHADOW_BACKEND, regime)
    done = any(record.id == name and record.status == "ok" for record in evidence.manifest.jobs)
    if not done or not evidence.run.file(attack_file(name)).is_file():
        return None
    logits = evidence.run.arrays(attack_file(name))["logits"]
    return References(logits=logits, members=evidence.run.arrays(members_file(regime))["members"].astype(bool))
