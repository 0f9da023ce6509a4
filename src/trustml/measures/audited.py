"""Rows on canaries and games: what was shown of epsilon, what was claimed, and what could have been shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attacks.attainable import Attainable, BoundMethod, attainable_at_claim, ceiling_all_correct
from trustml.attacks.bounds import Bound, gaussian_estimate, many_run_bound, one_run_bound
from trustml.errors import DataError
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.row import About, Facts, Row
from trustml.plan.job import CanaryJob, GameJob
from trustml.privacy.accounting import Epsilon, epsilon_of, gaussian_epsilon
from trustml.privacy.bound_kinds import CLOSED_FORM
from trustml.privacy.ledger import ADD_OR_REMOVE, Charge, read_ledger
from trustml.record.schema import JobRecord

LARGEST_ESTIMATE = 50.0
"""Above this an estimate is not shown: it rests on the far tails of scores that are not Gaussian there."""


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """An audit with its bound or estimate, and the claim it is set against."""

    record: JobRecord
    subject: str
    claim: float
    claimed: About
    confidence: float
    size: int
    method: BoundMethod
    bound: Bound | None
    estimate: float | None = None
    planted: Facts = field(default_factory=dict)


def audited_rows(evidence: Evidence) -> list[Row]:
    """Give the rows of every canary audit and every game that the scenario asked for."""
    rows: list[Row] = []
    for record in evidence.manifest.jobs:
        if record.kind not in ("canary", "game"):
            continue
        job = evidence.run.job(record.id)
        assert isinstance(job, CanaryJob | GameJob)
        if isinstance(job, CanaryJob) and job.training.mechanism is None:
            continue  # without a claim there is no epsilon to be shown
        subject = _subject(job)
        if record.status != "ok":
            about = absent(f"the job ended {record.status}: {record.reason}")
        elif not evidence.run.file(job.output).is_file():
            about = absent("its scores are under private/, which is not at hand", not_at_hand=True)
        else:
            rows += _rows(evidence, record, job, subject)
            continue
        rows.append(evidence.row("audited_epsilon", None, record=record, subject=subject, n=0, about=about))
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
        return [evidence.row("audited_epsilon", None, record=record, subject=subject, n=0, about=absent(str(error)))]
    return _shown_rows(evidence, shown, _told(job))


def _told(job: CanaryJob | GameJob) -> Facts:
    """Give what kind of audit it is."""
    if isinstance(job, CanaryJob):
        return {"canaries": job.canaries.kind}
    return {"fault": job.game.fault} if job.game.fault else {}


def _shown_rows(evidence: Evidence, shown: _Shown, told: Facts) -> list[Row]:
    def row(measure: str, value: float | None, about: About, interval: tuple[float, float] | None = None) -> Row:
        planted = shown.planted if measure in ("audited_epsilon", "epsilon_estimate") else {}
        about = msgspec.structs.replace(about, facts={**told, **planted, **about.facts})
        return evidence.row(
            measure, value, record=shown.record, subject=shown.subject, n=shown.size, interval=interval, about=about
        )

    # What is shown is of the mechanism that the claim is of; whose number it is differs.
    terms = msgspec.structs.replace(shown.claimed, facts=_sampling_facts(shown.claimed))
    rows = [row("claimed_epsilon", shown.claim, shown.claimed)]
    if shown.estimate is not None and shown.estimate > LARGEST_ESTIMATE:
        reason = f"beyond {LARGEST_ESTIMATE:g}: with the canary and without it, scores hardly overlap"
        rows.append(row("epsilon_estimate", None, absent(reason)))
    elif shown.estimate is not None:
        about = msgspec.structs.replace(
            terms, accountant="Gaussian fit to the scores", facts={**terms.facts, "gaussian_scores": True}
        )
        rows.append(row("epsilon_estimate", shown.estimate, about))
    if shown.bound is None:
        return rows
    return rows + _bound_rows(shown, shown.bound, terms, row)


def _bound_rows(shown: _Shown, bound: Bound, terms: About, row: Callable[..., Row]) -> list[Row]:
    """Give the bound, and what it could have been."""
    delta = terms.delta if terms.delta is not None else 0.0
    about = msgspec.structs.replace(
        terms,
        verdict="violated" if bound.epsilon > shown.claim else "not refuted",
        confidence=shown.confidence,
        accountant=bound.method,
        facts={**terms.facts, "bound": "at least", "thresholds": bound.thresholds},
    )
    rows = [row("audited_epsilon", bound.epsilon, about)]
    level: Facts = {**terms.facts, "audit_confidence": shown.confidence}
    about = msgspec.structs.replace(terms, accountant=bound.method, facts=level)
    ceiling = ceiling_all_correct(shown.size, delta=delta, confidence=shown.confidence, method=shown.method)
    rows.append(row("ceiling_all_correct", ceiling, about))
    if math.isfinite(shown.claim) and shown.claim > 0:
        ideal = attainable_at_claim(
            shown.claim, delta, shown.size, confidence=shown.confidence, method=shown.method, repetitions=50
        )
        about = msgspec.structs.replace(
            about,
            interval="simulated audits",
            confidence=0.9,
            facts={**level, "repetitions": ideal.repetitions, **_by_draws(ideal)},
        )
        rows.append(row("attainable_at_claim", ideal.median, about, (ideal.low, ideal.high)))
    return rows


def _by_draws(ideal: Attainable) -> Facts:
    errors: Facts = {"monte_carlo_error": ideal.error, "ends_error": ideal.ends_error}
    return {name: error for name, error in errors.items() if error}


def _sampling_facts(about: About) -> Facts:
    return {name: about.facts[name] for name in ("secret_sampling", "largest_participation") if name in about.facts}


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
        claimed=_of_ledger(charges, claim, delta=delta),
        confidence=job.canaries.confidence,
        size=len(scores),
        method="one run",
        bound=bound,
        estimate=gaussian_estimate(scores[included], scores[~included], delta=delta, name=job.id),
        planted=planted_facts(arrays),
    )


def planted_facts(arrays: Mapping[str, npt.NDArray[Any]]) -> Facts:
    """Say how many canaries were planted, and how many of them no step learned from; nothing of older records."""
    if "joined" not in arrays:
        return {}
    there = arrays["included"].astype(bool)
    came = arrays["joined"][there] > 0
    reached = arrays["gradients"][there] > 0 if "gradients" in arrays else np.ones(len(came), np.bool_)
    return {
        "planted": len(came),
        "never_came": int((~came).sum()),
        "without_gradient": int((came & ~reached).sum()),
    }


def _of_ledger(charges: Sequence[Charge], claim: Epsilon | None, *, delta: float) -> About:
    if claim is None:
        return About(delta=delta, facts={"of": "of the training with canaries, which has no ledger"})
    secret = all(charge.secret_sampling for charge in charges)
    facts: Facts = {"of": "of the training with canaries, from its ledger", "secret_sampling": secret}
    if not secret:
        facts["largest_participation"] = max(charge.largest_participation for charge in charges)
    return About(
        delta=delta,
        privacy_unit=charges[0].unit,
        relation=claim.relation,
        sampling=charges[0].sampling,
        accountant=claim.accountant,
        facts=facts,
    )


def _game(evidence: Evidence, record: JobRecord, job: GameJob, subject: str) -> _Shown:
    arrays = evidence.run.arrays(job.output)
    present, absent = arrays["present"], arrays["absent"]
    claim = gaussian_epsilon(job.game.noise_multiplier**-2, delta=job.delta)
    return _Shown(
        record=record,
        subject=subject,
        claim=claim,
        claimed=About(
            delta=job.delta,
            privacy_unit="example",
            relation=ADD_OR_REMOVE,
            sampling="all",
            accountant=CLOSED_FORM,
            facts={"noise_multiplier": job.game.noise_multiplier},
        ),
        confidence=job.game.confidence,
        size=len(present),
        method="many runs",
        bound=many_run_bound(present, absent, delta=job.delta, confidence=job.game.confidence, name=job.id),
        estimate=gaussian_estimate(present, absent, delta=job.delta, name=job.id),
    )
