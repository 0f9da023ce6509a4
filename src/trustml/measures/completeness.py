"""Rows on completeness: whether attributions add up to the change of the logit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.catalogue.entries import ENTRIES
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.measure import Row

RAW_TF_EXPLAIN = (
    "tf-explain returns the mean gradient along the path: the factor (input - baseline) of the definition is "
    "missing, and both ends of the path weigh in full"
)


def completeness_rows(evidence: Evidence) -> list[Row]:
    """One row for each variant of each explanation that is complete by its definition."""
    return [
        _row(evidence, explanation, variant)
        for explanation in evidence.explanations
        if ENTRIES[type(explanation.method)].complete and explanation.baseline_logits is not None
        for variant in explanation.attributions
    ]


def completeness_errors(
    explanation: Explanation, *, variant: str
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Per example: |sum of attributions - change of the target logit|, and |that change|."""
    if explanation.baseline_logits is None:
        raise ValueError(f"{explanation.title} has no baseline")
    rows = np.arange(len(explanation.targets))
    targets = explanation.targets
    change = explanation.logits[rows, targets] - explanation.baseline_logits[rows, targets]
    total = explanation.totals[variant].astype(np.float64)
    return np.abs(total - change), np.abs(change)


def _row(evidence: Evidence, explanation: Explanation, variant: str) -> Row:
    errors, changes = completeness_errors(explanation, variant=variant)
    scale = float(changes.mean())
    name = explanation.name(variant)
    note = "interval: 5th and 95th percentile over examples"
    steps = getattr(explanation.method, "n_steps", None)
    if steps is not None:
        note = f"{steps} steps; {note}"
    if name == "tf-explain":
        note += f"; {RAW_TF_EXPLAIN}"
    return evidence.row(
        "attribution_completeness_error",
        errors.mean() / scale if scale else None,
        record=explanation.record,
        subject=name,
        method=explanation.title,
        n=len(errors) if scale else 0,
        interval=tuple(np.quantile(errors, [0.05, 0.95]) / scale) if scale else None,
        note=note if scale else "absent: the logit does not change between baseline and input",
    )
