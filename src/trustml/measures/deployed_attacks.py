"""Whether an exported file tells more of who was in the training data than the model that was audited."""

from __future__ import annotations

from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.membership import Outcome, verdict_of_curves
from trustml.errors import UsageError
from trustml.measures.evidence import Evidence
from trustml.measures.membership import attacked, wanted_attacks
from trustml.measures.notes import absent
from trustml.measures.row import About, Facts, Row
from trustml.plan.job import TrainJob
from trustml.record.exports import EXPORTS, ExportRecord, members_answers, read_exports
from trustml.record.schema import JobRecord
from trustml.record.starts import seen_by_start
from trustml.record.store import job_record

_AUC, _BOUND = "deployed_membership_auc", "deployed_membership_auc_at_least"


def deployed_attack_rows(evidence: Evidence) -> list[Row]:
    """Rows of every exported file that was asked what its model was trained on."""
    return [row for exported in read_exports(evidence.run) if exported.attacked for row in _rows(evidence, exported)]


def _rows(evidence: Evidence, exported: ExportRecord) -> list[Row]:
    record, path = job_record(evidence.manifest, exported.model), members_answers(exported.name)
    job = evidence.run.job(record.id)
    assert isinstance(job, TrainJob)
    if not all(evidence.run.file(one).is_file() for one in (path, job.scores)):
        why = "what the file answers on training examples is under private/, which is not at hand"
        return [_absent(evidence, exported, record, why, not_at_hand=True)]
    file_train = evidence.run.arrays(path)["file.train_logits"]
    file_test = evidence.run.arrays(f"{EXPORTS}/{exported.name}/answers.npz")["file.held_out_logits"]
    own_train = evidence.run.arrays(job.scores)["train_logits"]
    own_test = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
    try:
        file, own = (
            attacked(evidence, job, train, test) for train, test in ((file_train, file_test), (own_train, own_test))
        )
    except UsageError as error:
        return [_absent(evidence, exported, record, str(error))]
    return _beside(evidence, exported, record, file, own, seen=seen_by_start(evidence.manifest, job.regime))


def _beside(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, file: list[Outcome], own: list[Outcome], *, seen: int
) -> list[Row]:
    """Give the attack that is strongest on the file, and what it finds on the model.

    `seen` held-out examples, which the start was trained on, were left out.
    """
    wanted = wanted_attacks(evidence)
    assert wanted is not None
    error = 1.0 - wanted.confidence
    verdicts = [verdict_of_curves({one.attack: one.roc for one in each}, error=error) for each in (file, own)]
    name = verdicts[0].strongest
    found, model = (next(one.auc for one in each if one.attack == name) for each in (file, own))
    facts: Facts = {"model_auc": model.value if model.value is not None else 0.0, "strongest_of": len(file)}
    facts |= {"seen_left_out": seen} if seen else {}
    at_least: Facts = {"model_at_least": verdicts[1].bounds[name], "attacks": len(file), "together": wanted.confidence}
    return [
        evidence.row(
            _AUC,
            found.value,
            record=record,
            subject=exported.title,
            method=name,
            n=found.n,
            interval=_interval(found),
            about=About(interval=found.interval, confidence=found.confidence, facts=facts),
        ),
        evidence.row(
            _BOUND,
            verdicts[0].bounds[name],
            record=record,
            subject=exported.title,
            method=name,
            n=found.n,
            about=About(
                verdict="above guessing" if verdicts[0].bounds[name] > 0.5 else "not above guessing",
                confidence=verdicts[0].each,
                facts=at_least,
            ),
        ),
    ]


def _interval(found: AttackEstimate) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def _absent(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, why: str, *, not_at_hand: bool = False
) -> Row:
    about = absent(why, not_at_hand=not_at_hand)
    return evidence.row(_AUC, None, record=record, subject=exported.title, n=0, about=about)
