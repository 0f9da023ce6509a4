"""Rows about explanations: complete or not, and how far libraries, regimes and seeds agree."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np

from trustml.measures.agreement import (
    Floats,
    max_abs_difference,
    mean_with_interval,
    spearman,
    topk_overlap,
)
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.measure import Row
from trustml.record.schema import JobRecord

SEEDS_FOR_A_CLAIM = 3

_RAW_TF_EXPLAIN = (
    "tf-explain returns the mean gradient along the path: the factor (input - baseline) of the definition is "
    "missing, and both ends of the path weigh in full"
)


def attribution_rows(evidence: Evidence) -> list[Row]:
    """All rows about explanations."""
    rows: list[Row] = []
    by_subject: dict[str, list[Explanation]] = defaultdict(list)
    for explanation in evidence.explanations:
        by_subject[explanation.job.subject].append(explanation)
        rows += _completeness_rows(evidence, explanation)
    for explanations in by_subject.values():
        rows += _library_rows(evidence, explanations)
    rows += _model_rows(evidence)
    return rows


def completeness_errors(explanation: Explanation, targets: np.ndarray, *, variant: str) -> tuple[Floats, Floats]:
    """Per example: |sum of attributions - change of the target logit|, and |that change|."""
    rows = np.arange(len(targets))
    change = explanation.logits[rows, targets] - explanation.baseline_logits[rows, targets]
    total = explanation.attributions[variant].reshape(len(targets), -1).sum(axis=1)
    return np.abs(total - change), np.abs(change)


def _completeness_rows(evidence: Evidence, explanation: Explanation) -> list[Row]:
    rows = []
    for variant in explanation.attributions:
        errors, changes = completeness_errors(explanation, evidence.heldout["targets"], variant=variant)
        scale = float(changes.mean())
        name = explanation.name(variant)
        if not scale:
            note = "absent: the logit does not change between baseline and input"
            rows.append(
                evidence.row(
                    "attribution_completeness_error",
                    None,
                    record=explanation.record,
                    subject=name,
                    n=0,
                    note=note,
                )
            )
            continue
        note = f"{explanation.job.method.n_steps} steps; interval: 5th and 95th percentile over examples"
        if name == "tf-explain":
            note += f"; {_RAW_TF_EXPLAIN}"
        rows.append(
            evidence.row(
                "attribution_completeness_error",
                errors.mean() / scale,
                record=explanation.record,
                subject=name,
                n=len(errors),
                interval=(float(np.quantile(errors, 0.05)) / scale, float(np.quantile(errors, 0.95)) / scale),
                note=note,
            )
        )
    return rows


def _library_rows(evidence: Evidence, explanations: list[Explanation]) -> list[Row]:
    """Libraries compared on the same weights."""
    rows: list[Row] = []
    for explanation in explanations:
        for one, other in itertools.combinations(explanation.attributions, 2):
            rows += _pair_rows(evidence, (explanation, one), (explanation, other))
    for first, second in itertools.combinations(explanations, 2):
        for one, other in itertools.product(first.attributions, second.attributions):
            rows += _pair_rows(evidence, (first, one), (second, other))
        scale = max(1.0, float(np.abs(first.logits).max()))
        difference = float(np.abs(first.logits - second.logits).max())
        rows.append(
            evidence.row(
                "logit_relative_difference",
                difference / scale,
                record=_subject_record(evidence, first),
                subject=f"{first.record.backend} ~ {second.record.backend}",
                n=len(first.logits),
                note="same weights, same inputs",
            )
        )
    return rows


def _pair_rows(evidence: Evidence, first: tuple[Explanation, str], second: tuple[Explanation, str]) -> list[Row]:
    (one, one_variant), (other, other_variant) = first, second
    arrays = one.attributions[one_variant], other.attributions[other_variant]
    names = one.name(one_variant), other.name(other_variant)
    note = "same weights"
    if "tf-explain" in names:
        note += f"; {_RAW_TF_EXPLAIN}"
    elif "tf-explain (completed)" in names:
        note += "; what is left is the quadrature: tf-explain weighs all points alike, both ends included"
    return _agreement_rows(
        evidence,
        arrays,
        record=_subject_record(evidence, one),
        subject=" ~ ".join(names),
        note=note,
        with_difference=True,
    )


def _model_rows(evidence: Evidence) -> list[Row]:
    """Models compared: other regime, other framework, other seed; each by its own backend."""
    own = [e for e in evidence.explanations if e.record.backend == _subject_record(evidence, e).backend]
    seeds = {e.record.seed for e in own}
    caveat = (
        f"descriptive: {len(seeds)} seed{'s' if len(seeds) > 1 else ''}, a claim needs {SEEDS_FOR_A_CLAIM}; "
        if len(seeds) < SEEDS_FOR_A_CLAIM
        else ""
    )
    rows: list[Row] = []
    for one, other in itertools.combinations(own, 2):
        a, b = one.record, other.record
        if a.seed == b.seed and a.backend == b.backend:
            variant = _by_definition(one)
            subject, what = f"{a.regime} ~ {b.regime} ({one.name(variant)})", "two regimes"
        elif a.seed == b.seed and a.regime == b.regime:
            subject, variant, what = (
                f"{a.backend} ~ {b.backend} (common)",
                "common",
                "trained apart, same start",
            )
        elif a.backend == b.backend and a.regime == b.regime:
            variant = _by_definition(one)
            subject = f"seed {a.seed} ~ seed {b.seed} ({one.name(variant)})"
            what = "noise floor: same regime, other seed"
        else:
            continue
        rows += _agreement_rows(
            evidence,
            (one.attributions[variant], other.attributions[variant]),
            record=_subject_record(evidence, one),
            subject=subject,
            note=f"{caveat}{what}",
            with_difference=False,
        )
    return rows


def _by_definition(explanation: Explanation) -> str:
    """Give the library's variant that follows the definition of the method."""
    return "completed" if "completed" in explanation.attributions else "native"


def _agreement_rows(
    evidence: Evidence,
    arrays: tuple[Floats, Floats],
    *,
    record: JobRecord,
    subject: str,
    note: str,
    with_difference: bool,
) -> list[Row]:
    rows = []
    for measure, values in (
        ("attribution_agreement_spearman", spearman(*arrays)),
        ("attribution_topk_overlap", topk_overlap(*arrays)),
    ):
        mean = mean_with_interval(values)
        if mean is None:
            absent = f"absent: an attribution is constant in every example; {note}"
            rows.append(evidence.row(measure, None, record=record, subject=subject, n=0, note=absent))
            continue
        rows.append(
            evidence.row(
                measure,
                mean.value,
                record=record,
                subject=subject,
                n=mean.n,
                interval=(mean.low, mean.high),
                note=f"{note}; bootstrap 95 % over examples",
            )
        )
    if with_difference:
        value = max_abs_difference(*arrays)
        rows.append(
            evidence.row(
                "attribution_max_abs_difference",
                value if np.isfinite(value) else None,
                record=record,
                subject=subject,
                n=len(arrays[0]),
                note=note if np.isfinite(value) else f"absent: all attributions are zero; {note}",
            )
        )
    return rows


def _subject_record(evidence: Evidence, explanation: Explanation) -> JobRecord:
    return next(record for record in evidence.manifest.jobs if record.id == explanation.job.subject)
