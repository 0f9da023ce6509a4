"""Rows on what models remember: canary sequences, training texts that come out, columns of training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.attributes import Guessed, guessed, imputer
from trustml.attacks.exposure import Exposure, exposure_of
from trustml.attacks.extraction import Extracted, extracted
from trustml.errors import DataError
from trustml.measures.attacked_examples import no_baseline
from trustml.measures.audited import planted_facts
from trustml.measures.evidence import Evidence
from trustml.measures.guessing import guessed_at_most
from trustml.measures.notes import absent
from trustml.measures.resampling import draws_as_before
from trustml.measures.row import About, Facts, IntervalKind, Row, Verdict
from trustml.plan.job import CanaryJob, TrainJob
from trustml.record.schema import JobRecord
from trustml.scenario.attacks import SEQUENCES, AttributeInference, Extraction
from trustml.scenario.read import from_plain

EXPOSURE, LARGEST, EXTRACTION = "canary_exposure", "canary_exposure_largest", "extraction_rate"
GUESSED = "attribute_inference_rate"
OVER_BOTH: IntervalKind = "t over canaries and sequences"
GIVEN_SEQUENCES: IntervalKind = "t over canaries"
"""Of records of before it was seen that the sequences that canaries are ranked among are drawn as well."""
_NOT_AT_HAND = "what it is made of is under private/, which is not at hand"


def remembered_rows(evidence: Evidence) -> list[Row]:
    """Exposure of canary sequences, and the share of texts that a model goes on with, each beside its control."""
    rows = []
    for record in evidence.manifest.jobs:
        if record.kind == "canary":
            job = evidence.run.job(record.id)
            if isinstance(job, CanaryJob) and job.canaries.kind == SEQUENCES:
                rows += _of_canaries(evidence, record, job)
    wanted = from_plain(evidence.manifest.scenario).attacks
    for record, trained in evidence.trained():
        if wanted.extraction is not None:
            rows += _of_texts(evidence, record, trained, wanted.extraction)
        if wanted.attributes is not None:
            rows += _of_columns(evidence, record, trained, wanted.attributes)
    return rows


def _of_canaries(evidence: Evidence, record: JobRecord, job: CanaryJob) -> list[Row]:
    subject = f"{SEQUENCES} canaries"

    def nothing(about: About) -> list[Row]:
        return [evidence.row(EXPOSURE, None, record=record, subject=subject, n=0, about=about)]

    if record.status != "ok":
        return nothing(absent(f"the job ended {record.status}: {record.reason}"))
    if not evidence.run.file(job.output).is_file():
        return nothing(absent(_NOT_AT_HAND, not_at_hand=True))
    arrays = evidence.run.arrays(job.output)
    try:
        found = exposure_of(
            arrays["losses"], arrays["included"].astype(bool), arrays["reference_losses"], as_before=draws_as_before()
        )
    except DataError as error:
        return nothing(absent(str(error)))
    facts: Facts = {"untrained": found.others, "untrained_value": found.untrained, "p_of": "Mann-Whitney"}
    facts |= {"sequences": found.references, "most_bits": found.most}
    facts |= planted_facts(arrays)
    if found.high is None:
        facts["open_above"] = True
    rows = [
        evidence.row(
            EXPOSURE,
            found.mean,
            record=record,
            subject=subject,
            n=found.trained,
            interval=(found.low, found.high),
            about=About(
                verdict=_verdict(found.p_value, job.canaries.confidence),
                p_value=found.p_value,
                confidence=0.95,
                interval=GIVEN_SEQUENCES if draws_as_before() else OVER_BOTH,
                facts=facts,
            ),
        )
    ]
    return [*rows, _largest(evidence, record, subject, found)]


def _largest(evidence: Evidence, record: JobRecord, subject: str, found: Exposure) -> Row:
    if found.extrapolated is None or found.extrapolated_untrained is None:
        about = absent(f"losses of random sequences follow no skew-normal law (Kolmogorov-Smirnov p = {found.fit:.1g})")
    else:
        about = About(
            facts={
                "untrained": found.others,
                "untrained_value": found.extrapolated_untrained,
                "sequences": found.references,
                "skew_normal": found.fit,
            }
        )
    return evidence.row(LARGEST, found.extrapolated, record=record, subject=subject, n=found.trained, about=about)


def _of_texts(evidence: Evidence, record: JobRecord, job: TrainJob, wanted: Extraction) -> list[Row]:
    subject = f"{wanted.length} tokens after {wanted.prefix}"

    def nothing(about: About) -> list[Row]:
        return [evidence.row(EXTRACTION, None, record=record, subject=subject, n=0, about=about)]

    if (why := _why_not_asked(evidence, record, job, job.extracted)) is not None:
        return nothing(why)
    arrays = evidence.run.arrays(job.extracted)
    try:
        found = extracted(arrays["train_right"], arrays["test_right"], length=wanted.length)
    except DataError as error:
        return nothing(absent(str(error)))
    return [_beside(evidence, record, EXTRACTION, subject, found, confidence=wanted.confidence)]


def _why_not_asked(evidence: Evidence, record: JobRecord, job: TrainJob, file: str) -> About | None:
    """Why a model has no answers to look at; None where it has."""
    if record.status != "ok":
        return absent(f"training ended {record.status}: {record.reason}")
    if not file or not evidence.run.file(file).is_file():
        return absent(_NOT_AT_HAND, not_at_hand=True)
    return no_baseline(evidence, job.regime)


def _beside(
    evidence: Evidence,
    record: JobRecord,
    measure: str,
    subject: str,
    found: Extracted | Guessed,
    *,
    confidence: float,
    facts: Facts | None = None,
) -> Row:
    """Share of what was trained on, beside that of what was not."""
    own, others = found.members, found.others
    assert own.low is not None and own.high is not None and others.value is not None
    told: Facts = {"untrained": others.n, "untrained_value": others.value, "p_of": "Fisher", "how": own.note}
    return evidence.row(
        measure,
        own.value,
        record=record,
        subject=subject,
        n=own.n,
        interval=(own.low, own.high),
        about=About(
            verdict=_verdict(found.p_value, confidence),
            pair="members and held-out",
            first="members",
            second="held-out",
            p_value=found.p_value,
            confidence=own.confidence,
            interval="clopper-pearson",
            facts=told | (facts or {}),
        ),
    )


def _of_columns(evidence: Evidence, record: JobRecord, job: TrainJob, wanted: AttributeInference) -> list[Row]:
    """Rows of one model, a column each; the more columns there are, the surer each has to be."""

    def nothing(column: str, about: About) -> Row:
        return evidence.row(GUESSED, None, record=record, subject=column, n=0, about=about)

    if (why := _why_not_asked(evidence, record, job, job.attributed)) is not None:
        return [nothing(column, why) for column in wanted.columns]
    arrays = evidence.run.arrays(job.attributed)
    places = evidence.run.arrays(job.attribute_values)
    each = 1 - (1 - wanted.confidence) / len(wanted.columns)
    rows = []
    for number, column in enumerate(wanted.columns):
        try:
            found = _guessed(arrays, places[f"places.{number}"], number, evidence.once(_imputers))
        except DataError as error:
            rows.append(nothing(column, absent(str(error))))
            continue
        facts = _without_the_model(evidence, record, found)
        rows.append(_beside(evidence, record, GUESSED, column, found, confidence=each, facts=facts))
    return rows


def _guessed(
    arrays: dict[str, npt.NDArray[Any]],
    places: npt.NDArray[Any],
    number: int,
    imputers: dict[int, Callable[[Any], npt.NDArray[np.int64]]],
) -> Guessed:
    """Compare what is guessed of one column; rows that know it without the model are the same for all models."""
    if number not in imputers:
        imputers[number] = imputer(*_without_column(arrays, places, number, "known"))
    own, values = _without_column(arrays, places, number, "train")
    _, others = _without_column(arrays, places, number, "test")
    fits = [arrays[f"{name}_fits.{number}"][arrays[f"{name}_true.{number}"] >= 0] for name in ("train", "test")]
    known = arrays[f"known_true.{number}"]
    return guessed((fits[0], values), (fits[1], others), known=known[known >= 0], imputed=imputers[number](own))


def _without_column(
    arrays: dict[str, npt.NDArray[Any]], places: npt.NDArray[Any], number: int, name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Rows of one set whose value is known, without their column and with their labels; and the values."""
    true = arrays[f"{name}_true.{number}"]
    rest = np.delete(arrays[f"{name}_inputs"], places, axis=1)
    labels = arrays[f"{name}_labels"].reshape(len(rest), -1)
    return np.concatenate([rest, labels], axis=1)[true >= 0].astype(np.float32), true[true >= 0]


def _imputers(evidence: Evidence) -> dict[int, Callable[[Any], npt.NDArray[np.int64]]]:
    """What was learnt to impute each column by, as it is first asked for."""
    return {}


def _without_the_model(evidence: Evidence, record: JobRecord, found: Guessed) -> Facts:
    """What is guessed of the same rows without the model, and the most that its epsilon allows beyond that."""
    imputed, others = found.imputed, found.others
    assert imputed.value is not None and imputed.high is not None and others.high is not None
    facts: Facts = {"imputed": imputed.value, "commonest": found.commonest, "values": found.values}
    chance = max(imputed.high, others.high, found.commonest)
    facts |= guessed_at_most(evidence, record, unit="example", chance=chance)
    return facts


def _verdict(p_value: float, confidence: float) -> Verdict:
    return "above guessing" if p_value <= 1 - confidence else "not above guessing"
