"""Rows on canaries and games: what was shown of epsilon, what was claimed, and what could have been shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trustml.attacks.attainable import BoundMethod, attainable_at_claim, ceiling_all_correct
from trustml.attacks.bounds import Bound, gaussian_estimate, many_run_bound, one_run_bound
from trustml.errors import DataError
from trustml.measures.evidence import Evidence
from trustml.measures.measure import Row
from trustml.plan.job import CanaryJob, GameJob
from trustml.privacy.accounting import Epsilon, epsilon_of, gaussian_epsilon
from trustml.privacy.ledger import read_ledger
from trustml.record.schema import JobRecord

LARGEST_ESTIMATE = 50.0
"""Above this an estimate is not shown: it rests on the far tails of scores that are not Gaussian there."""


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """An audit with its bound or estimate, and the claim it is set against."""

    record: JobRecord
    subject: str
    claim: float
    claim_note: str
    delta: float
    confidence: float
    size: int
    method: BoundMethod
    bound: Bound | None
    estimate: float | None = None


def audited_rows(evidence: Evidence) -> list[Row]:
    """Give the rows of every canary audit and every game that the scenario asked for."""
    rows: list[Row] = []
    for record in evidence.manifest.jobs:
        if record.kind not in ("canary", "game"):
            continue
        job = evidence.run.job(record.id)
        assert isinstance(job, CanaryJob | GameJob)
        subject = _subject(job)
        if record.status != "ok":
            why = f"the job ended {record.status}: {record.reason}"
        elif not evidence.run.file(job.output).is_file():
            why = "its scores are under private/, which is not at hand"
        else:
            why = ""
        rows += _absent(evidence, record, subject, why) if why else _rows(evidence, record, job, subject)
    return rows


def _subject(job: CanaryJob | GameJob) -> str:
    if isinstance(job, CanaryJob):
        return f"{job.canaries.kind} canaries"
    return f"game, planted: {job.game.fault}" if job.game.fault else "game"


def _rows(evidence: Evidence, record: JobRecord, job: CanaryJob | GameJob, subject: str) -> list[Row]:
    try:
        if isinstance(job, CanaryJob):
            shown = _canaries(evidence, record, job, subject)
        else:
            shown = _game(evidence, record, job, subject)
    except DataError as error:
        return _absent(evidence, record, subject, str(error))
    rows = [
        evidence.row(
            "claimed_epsilon", shown.claim, record=record, subject=subject, n=shown.size, note=shown.claim_note
        )
    ]
    if shown.estimate is not None and shown.estimate > LARGEST_ESTIMATE:
        note = f"absent: beyond {LARGEST_ESTIMATE:g}: with the canary and without it, scores hardly overlap"
        rows.append(evidence.row("epsilon_estimate", None, record=record, subject=subject, n=shown.size, note=note))
    elif shown.estimate is not None:
        note = "Gaussian scores are assumed: an estimate, never a bound, and no ground for a violation"
        rows.append(
            evidence.row("epsilon_estimate", shown.estimate, record=record, subject=subject, n=shown.size, note=note)
        )
    if shown.bound is None:
        return rows
    level = f"{shown.confidence:.0%} confidence; delta={shown.delta:g}; {shown.method}"
    rows.append(
        evidence.row(
            "audited_epsilon",
            shown.bound.epsilon,
            record=record,
            subject=subject,
            n=shown.size,
            note=f"a lower bound (>=) at {level}: {shown.bound.method}; {shown.bound.thresholds}",
        )
    )
    ceiling = ceiling_all_correct(shown.size, delta=shown.delta, confidence=shown.confidence, method=shown.method)
    rows.append(evidence.row("ceiling_all_correct", ceiling, record=record, subject=subject, n=shown.size, note=level))
    if math.isfinite(shown.claim) and shown.claim > 0:
        ideal = attainable_at_claim(
            shown.claim, shown.delta, shown.size, confidence=shown.confidence, method=shown.method, repetitions=50
        )
        rows.append(
            evidence.row(
                "attainable_at_claim",
                ideal.median,
                record=record,
                subject=subject,
                n=shown.size,
                interval=(ideal.low, ideal.high),
                note=f"median and 90 % range of {ideal.repetitions} simulated audits at the claim; {level}",
            )
        )
    return rows


def _canaries(evidence: Evidence, record: JobRecord, job: CanaryJob, subject: str) -> _Shown:
    arrays = evidence.run.arrays(job.output)
    scores, included = arrays["scores"], arrays["included"].astype(bool)
    assert job.training.mechanism is not None
    delta = float(getattr(job.training.regime, "delta", 0.0))
    charges = read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
    claim: Epsilon | None = epsilon_of(charges, delta=delta) if charges else None
    estimated = job.canaries.kind == "random update"
    bound = None
    if not estimated:
        bound = one_run_bound(scores, included, delta=delta, confidence=job.canaries.confidence, name=job.id)
    return _Shown(
        record=record,
        subject=subject,
        claim=claim.value if claim is not None else math.inf,
        claim_note=f"of the training with canaries, from its ledger; delta={delta:g}; "
        + (f"relation: {claim.relation}; accountant: {claim.accountant}" if claim is not None else "it has no ledger"),
        delta=delta,
        confidence=job.canaries.confidence,
        size=len(scores),
        method="one run",
        bound=bound,
        estimate=gaussian_estimate(scores[included], scores[~included], delta=delta, name=job.id),
    )


def _game(evidence: Evidence, record: JobRecord, job: GameJob, subject: str) -> _Shown:
    arrays = evidence.run.arrays(job.output)
    present, absent = arrays["present"], arrays["absent"]
    claim = gaussian_epsilon(job.game.noise_multiplier**-2, delta=job.delta)
    return _Shown(
        record=record,
        subject=subject,
        claim=claim,
        claim_note=f"of one private step with noise multiplier {job.game.noise_multiplier:g} on a batch that all are "
        f"in; delta={job.delta:g}; relation: add or remove one; Gaussian mechanism",
        delta=job.delta,
        confidence=job.game.confidence,
        size=len(present),
        method="many runs",
        bound=many_run_bound(present, absent, delta=job.delta, confidence=job.game.confidence, name=job.id),
        estimate=gaussian_estimate(present, absent, delta=job.delta, name=job.id),
    )


def _absent(evidence: Evidence, record: JobRecord, subject: str, why: str) -> list[Row]:
    return [evidence.row("audited_epsilon", None, record=record, subject=subject, n=0, note=f"absent: {why}")]
