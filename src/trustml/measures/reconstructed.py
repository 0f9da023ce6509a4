"""Rows on what is made again: rows in updates of clients, typical inputs of classes, and what populations were like."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.populations import told
from trustml.attacks.reconstruction import Found, Likeness, inverted, likeness, rows_found
from trustml.errors import DataError
from trustml.measures.attacked_examples import no_baseline
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.row import About, Facts, Row, Verdict
from trustml.plan.attack_files import population_file
from trustml.plan.job import ReconstructionJob, ShadowJob, TrainJob
from trustml.plan.mechanism import joint_noise
from trustml.privacy.reconstruction import most_guessed_of_gaussian
from trustml.record.schema import JobRecord
from trustml.scenario.attacks import GradientInversion, ModelInversion, PropertyInference
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.read import from_plain

FOUND, NEARNESS, TYPICAL, PROPERTY = (
    "reconstruction_rate",
    "reconstruction_psnr",
    "model_inversion_likeness",
    "property_inference_rate",
)
_MOMENTS = {"first": "first round", "last": "after training"}
_VIEWS = {"sent": "as sent", "noisy": "with the round's noise"}
_ATTACKS = {"exact": "by the first layer", "optimised": "by optimisation", "matched": "by trying rows"}
_NOT_AT_HAND = "what it is made of is under private/, which is not at hand"


def reconstructed_rows(evidence: Evidence) -> list[Row]:
    """Rows in updates and typical inputs of each attacked model; how often the share of a property is told."""
    rows: list[Row] = []
    trained = {record.id: record for record, _ in evidence.trained()}
    for record in evidence.manifest.jobs:
        if record.kind == "reconstruction":
            job = evidence.run.job(record.id)
            assert isinstance(job, ReconstructionJob)
            rows += _of_model(evidence, record, job, model=trained[job.subject])
        elif record.kind == "shadow":
            job = evidence.run.job(record.id)
            if isinstance(job, ShadowJob) and job.members == population_file(record.regime):
                rows.append(_of_population(evidence, record, job))
    return rows


def _of_model(evidence: Evidence, record: JobRecord, job: ReconstructionJob, *, model: JobRecord) -> list[Row]:
    why = _why_nothing(evidence, record, job.output)
    asked = [(FOUND, "updates")] if job.gradients is not None else []
    asked += [(TYPICAL, "typical inputs")] if job.inversion is not None else []
    if why is not None:
        return [evidence.row(measure, None, record=model, subject=of, n=0, about=why) for measure, of in asked]
    arrays = evidence.run.arrays(job.output)
    rows: list[Row] = []
    if job.gradients is not None:
        rows += _of_updates(evidence, arrays, job, job.gradients, model=model)
    if job.inversion is not None:
        seen = no_baseline(evidence, job.regime)
        if seen is not None:
            rows.append(evidence.row(TYPICAL, None, record=model, subject="typical inputs", n=0, about=seen))
        else:
            rows.append(_of_classes(evidence, arrays, job.inversion, model=model))
    return rows


def _why_nothing(evidence: Evidence, record: JobRecord, file: str) -> About | None:
    if record.status != "ok":
        return absent(f"the job ended {record.status}: {record.reason}")
    return None if evidence.run.file(file).is_file() else absent(_NOT_AT_HAND, not_at_hand=True)


def _of_updates(
    evidence: Evidence,
    arrays: dict[str, npt.NDArray[Any]],
    job: ReconstructionJob,
    asked: GradientInversion,
    *,
    model: JobRecord,
) -> list[Row]:
    """Rows of each attack on each kind of update; the more there are, the surer each has to be."""
    kinds = [
        (moment, view, attack)
        for moment in _MOMENTS
        for view in _VIEWS
        for attack in _ATTACKS
        if f"{moment}.{view}.{attack}.correlation" in arrays
    ]
    each = 1 - (1 - asked.confidence) / max(1, len(kinds))
    rows: list[Row] = []
    for moment, view, attack in kinds:
        name = f"{moment}.{view}.{attack}"
        subject = f"{_MOMENTS[moment]}, {_VIEWS[view]}, {_ATTACKS[attack]}"
        moved = int(arrays[f"{moment}.moved"])
        near, error = arrays[f"{name}.correlation"], arrays.get(f"{name}.error")
        try:
            found = rows_found(near, sets=arrays.get("sets", np.zeros(len(near), np.int64)))
            if not moved:
                raise DataError("no update moved a weight, so that nothing was tried")
        except DataError as nothing:
            rows.append(evidence.row(FOUND, None, record=model, subject=subject, n=0, about=absent(str(nothing))))
            continue
        facts: Facts = {"among": round(1 / found.chance), "rows_each": asked.rows, "moved": moved}
        facts |= _bounds(evidence, job, view, chance=found.chance)
        if view == "sent" and isinstance(job.regime, DPFedAvg):
            facts["trusted"] = True
        like = None if error is None else likeness(near, error, span=float(arrays[f"{moment}.span"]))
        rows.append(_found(evidence, found, like, subject, facts, confidence=each, model=model))
        if like is not None:
            about = About(
                confidence=0.95,
                interval="t over updates",
                facts={"nearest_other": round(1 / found.chance), "untrained_value": like.nearest_other},
            )
            ends, n = (like.low, like.high), len(near)
            rows.append(
                evidence.row(NEARNESS, like.decibels, record=model, subject=subject, n=n, interval=ends, about=about)
            )
    return rows


def _found(
    evidence: Evidence,
    found: Found,
    like: Likeness | None,
    subject: str,
    facts: Facts,
    *,
    confidence: float,
    model: JobRecord,
) -> Row:
    own, control = found.own, found.control
    assert own.low is not None and own.high is not None and control.value is not None
    told_of: Facts = {"untrained": control.n, "untrained_value": control.value, "p_of": found.law, **facts}
    if like is not None:
        told_of |= {"likeness": like.correlation, "control_likeness": like.control}
    about = About(
        verdict=_verdict(found.p_value, confidence),
        p_value=found.p_value,
        confidence=own.confidence,
        interval="clopper-pearson",
        facts=told_of,
    )
    ends = (own.low, own.high)
    return evidence.row(FOUND, own.value, record=model, subject=subject, n=own.n, interval=ends, about=about)


def _bounds(evidence: Evidence, job: ReconstructionJob, view: str, *, chance: float) -> Facts:
    """Bound what all of a round tells of a client in it, exactly: the ledger's bound is of one that may not be."""
    if view != "noisy":
        return {}
    subject = evidence.run.job(job.subject)
    assert isinstance(subject, TrainJob) and subject.mechanism is not None
    return {"round_at_most": most_guessed_of_gaussian(noise_multiplier=joint_noise(subject.mechanism), chance=chance)}


def _of_classes(
    evidence: Evidence, arrays: dict[str, npt.NDArray[Any]], asked: ModelInversion, *, model: JobRecord
) -> Row:
    subject = "typical inputs"
    try:
        found = inverted(arrays)
    except DataError as error:
        return evidence.row(TYPICAL, None, record=model, subject=subject, n=0, about=absent(str(error)))
    facts: Facts = {"untrained": found.controls, "untrained_value": found.others, "p_of": "Welch"}
    facts |= {"of_other_classes": found.of_others, "of_class_means": found.ceiling}
    about = About(
        verdict=_verdict(found.p_value, asked.confidence),
        p_value=found.p_value,
        confidence=0.95,
        interval="t over rows",
        facts=facts,
    )
    ends = (found.low, found.high)
    return evidence.row(TYPICAL, found.members, record=model, subject=subject, n=found.n, interval=ends, about=about)


def _of_population(evidence: Evidence, record: JobRecord, job: ShadowJob) -> Row:
    asked = from_plain(evidence.manifest.scenario).attacks.property_inference
    assert asked is not None
    subject = _property(asked)
    if (why := _why_nothing(evidence, record, job.output)) is not None:
        return evidence.row(PROPERTY, None, record=record, subject=subject, n=0, about=why)
    drawn, answers = evidence.run.arrays(job.members), evidence.run.arrays(job.output)["logits"]
    try:
        found = told(answers[:, drawn["probes"]], drawn["more"])
    except DataError as error:
        return evidence.row(PROPERTY, None, record=record, subject=subject, n=0, about=absent(str(error)))
    right = found.right
    assert right.low is not None and right.high is not None
    facts: Facts = {"exchanged": found.learnt, "untrained_value": found.control, "p_of": "Fisher"}
    facts |= {"rows_of_models": int(drawn["members"][0].sum()), "probes": len(drawn["probes"])}
    about = About(
        verdict=_verdict(found.p_value, asked.confidence),
        p_value=found.p_value,
        confidence=right.confidence,
        interval="clopper-pearson",
        facts=facts,
    )
    ends = (right.low, right.high)
    return evidence.row(PROPERTY, right.value, record=record, subject=subject, n=right.n, interval=ends, about=about)


def _property(asked: PropertyInference) -> str:
    what = f"a large {asked.column}" if asked.column else "classes " + ", ".join(map(str, asked.labels))
    if not asked.column and not asked.labels:
        what = "the first half of the classes"
    return f"{asked.shares[0]:g} or {asked.shares[1]:g} of rows with {what}"


def _verdict(p_value: float, confidence: float) -> Verdict:
    return "above guessing" if p_value <= 1 - confidence else "not above guessing"
