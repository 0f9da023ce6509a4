"""Rows on completeness: whether attributions add up to the change of the logit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.catalogue.methods import METHODS
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.row import About, Facts, IntervalKind, Row
from trustml.scenario.methods import IntegratedGradients

RAW_TF_EXPLAIN = (
    "tf-explain returns the mean gradient along the path: the factor (input - baseline) of the definition is "
    "missing, and both ends of the path weigh in full"
)


def is_raw_path_mean(explanation: Explanation, variant: str) -> bool:
    """Whether attributions are tf-explain's own integrated gradients, which lack a factor of the definition."""
    own = explanation.library == "tf-explain" and isinstance(explanation.method, IntegratedGradients)
    return own and variant == "native"


def completeness_rows(evidence: Evidence) -> list[Row]:
    """Rows for each variant of each explanation that is complete by its definition: its error, and its passes."""
    rows: list[Row] = []
    for explanation in evidence.explanations:
        if not METHODS[type(explanation.method)].complete or explanation.baseline_logits is None:
            continue
        rows += [_row(evidence, explanation, variant) for variant in explanation.attributions]
        rows += [_passes_row(evidence, explanation, variant) for variant in explanation.passes]
    return rows


def draws_rows(evidence: Evidence) -> list[Row]:
    """Rows on how far the numbers of methods that draw rest on their draws, where they were asked twice."""
    rows = []
    for explanation in evidence.explanations:
        if explanation.again is None:
            continue
        first, again = (
            array.reshape(len(array), -1).astype(np.float64)
            for array in (explanation.attributions["native"], explanation.again)
        )
        errors = np.sqrt(((first - again) ** 2).mean(axis=1) / 2)
        scale = float(np.sqrt(((first**2 + again**2) / 2).mean(axis=1)).mean())
        reason = "all attributions are zero"
        interval: IntervalKind = "5th to 95th percentile"
        rows.append(
            evidence.row(
                "attribution_monte_carlo_error",
                errors.mean() / scale if scale else None,
                record=explanation.record,
                subject=explanation.name("native"),
                method=explanation.title,
                n=len(errors) if scale else 0,
                interval=tuple(np.quantile(errors, [0.05, 0.95]) / scale) if scale else None,
                about=About(interval=interval) if scale else About(verdict="absent", facts={"reason": reason}),
            )
        )
    return rows


def completeness_errors(
    explanation: Explanation, *, variant: str
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Per example: |sum of attributions - change of the target logit|, and |that change|."""
    if explanation.baseline_logits is None:
        raise ValueError(f"{explanation.title} has no baseline")
    rows = np.arange(len(explanation.targets))
    targets = explanation.targets
    outcomes = explanation.logits if explanation.outcomes is None else explanation.outcomes
    change = outcomes[rows, targets] - explanation.baseline_logits[rows, targets]
    total = explanation.totals[variant].astype(np.float64)
    return np.abs(total - change), np.abs(change)


def _row(evidence: Evidence, explanation: Explanation, variant: str) -> Row:
    errors, changes = completeness_errors(explanation, variant=variant)
    scale = float(changes.mean())
    name = explanation.name(variant)
    facts: Facts = {"variant": variant}
    if explanation.quantity != "logit":
        facts["quantity"] = explanation.quantity
    steps = getattr(explanation.method, "n_steps", None)
    if steps is not None and not _wanted_error(explanation):
        facts["steps"] = steps
    if is_raw_path_mean(explanation, variant):
        facts["caveat"] = RAW_TF_EXPLAIN
    about = About(interval="5th to 95th percentile", facts=facts)
    if not scale:
        reason = f"the {explanation.quantity} does not change between baseline and input"
        about = About(verdict="absent", facts={"variant": variant, "reason": reason})
    return evidence.row(
        "attribution_completeness_error",
        errors.mean() / scale if scale else None,
        record=explanation.record,
        subject=name,
        method=explanation.title,
        n=len(errors) if scale else 0,
        interval=tuple(np.quantile(errors, [0.05, 0.95]) / scale) if scale else None,
        about=about,
    )


def _passes_row(evidence: Evidence, explanation: Explanation, variant: str) -> Row:
    passes, wanted = explanation.passes[variant], _wanted_error(explanation)
    facts: Facts = {"variant": variant}
    if not wanted:
        facts["points"] = "the same points for all examples"
    else:
        errors, changes = completeness_errors(explanation, variant=variant)
        missed = int((errors > wanted * changes).sum())
        way = "points one example at a time" if variant == "common" else _tried(explanation)
        facts |= {"wanted_error": wanted, "points": f"{way}; 2 forward passes an example beside them"}
        if missed:
            facts |= {"missed": missed, "examples": len(errors)}
    return evidence.row(
        "explain_passes",
        passes.mean(),
        record=explanation.record,
        subject=explanation.name(variant),
        method=explanation.title,
        n=len(passes),
        interval=tuple(np.quantile(passes, [0.05, 0.95])),
        about=About(interval="5th to 95th percentile", facts=facts),
    )


def _tried(explanation: Explanation) -> str:
    steps = ", ".join(map(str, explanation.tried))
    return f"all of {steps} steps, none of which holds the points of another" if steps else "the library's own rule"


def _wanted_error(explanation: Explanation) -> float:
    method = explanation.method
    return method.max_completeness_error if isinstance(method, IntegratedGradients) else 0.0
