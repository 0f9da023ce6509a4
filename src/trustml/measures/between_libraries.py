"""Rows on explanations of the same weights: other library, same method."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import numpy.typing as npt

from trustml.measures.agreement import agreement_rows
from trustml.measures.completeness import RAW_TF_EXPLAIN, is_raw_path_mean
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.row import About, Facts, Row

Floats = npt.NDArray[np.floating]


def library_rows(evidence: Evidence) -> list[Row]:
    """Agreement of every two explanations of one model by one method, and of the frameworks' logits."""
    groups: dict[tuple[str, str], list[Explanation]] = defaultdict(list)
    for explanation in evidence.explanations:
        if not explanation.is_control:
            groups[explanation.job.subject, explanation.title].append(explanation)
    rows: list[Row] = []
    for explanations in groups.values():
        for explanation in explanations:
            for one, other in itertools.combinations(explanation.attributions, 2):
                rows += _pair_rows(evidence, (explanation, one), (explanation, other))
        for first, second in itertools.combinations(explanations, 2):
            for one, other in itertools.product(first.attributions, second.attributions):
                rows += _pair_rows(evidence, (first, one), (second, other))
    return [*rows, *_logit_rows(evidence)]


def _pair_rows(evidence: Evidence, first: tuple[Explanation, str], second: tuple[Explanation, str]) -> list[Row]:
    (one, one_variant), (other, other_variant) = first, second
    arrays = one.attributions[one_variant], other.attributions[other_variant]
    names = one.name(one_variant), other.name(other_variant)
    record = evidence.subject_record(one)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"{one.title}: {names[0]} has shape {arrays[0].shape}, {names[1]} {arrays[1].shape}")
    facts: Facts = {"first_variant": one_variant, "second_variant": other_variant}
    variants = [v for e, v in (first, second) if is_raw_path_mean(e, "native") and v != "common"]
    if "native" in variants:
        facts["caveat"] = RAW_TF_EXPLAIN
    elif "completed" in variants:
        facts["caveat"] = "what is left is the quadrature: tf-explain weighs all points alike, both ends included"
    return agreement_rows(
        evidence,
        arrays,
        record=record,
        subject=" ~ ".join(names),
        method=one.title,
        about=About(pair="same weights", first=names[0], second=names[1], facts=facts),
        with_difference=True,
        again=(_again(one, one_variant), _again(other, other_variant)) if one is not other else (None, None),
    )


def _again(explanation: Explanation, variant: str) -> Floats | None:
    return explanation.again if variant == "native" else None


def _logit_rows(evidence: Evidence) -> list[Row]:
    first_of: dict[str, dict[str, Explanation]] = defaultdict(dict)
    for explanation in evidence.explanations:
        first_of[explanation.job.subject].setdefault(explanation.record.backend, explanation)
    rows = []
    for by_backend in first_of.values():
        for first, second in itertools.combinations(by_backend.values(), 2):
            scale = max(1.0, float(np.abs(first.logits).max()))
            rows.append(
                evidence.row(
                    "logit_relative_difference",
                    float(np.abs(first.logits - second.logits).max()) / scale,
                    record=evidence.subject_record(first),
                    subject=f"{first.record.backend} ~ {second.record.backend}",
                    n=len(first.logits),
                    about=About(
                        pair="same weights",
                        first=first.record.backend,
                        second=second.record.backend,
                        facts={"inputs": "same inputs"},
                    ),
                )
            )
    return rows
