"""Rows on what every regime does to explanations, against the seed noise floor of the plain model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from trustml.attribution.similarity import Doubles, Floats, rank_directions, top_directions
from trustml.compare.contrast import LEAST_SEEDS, Agreements, Estimate, contrast, difference
from trustml.compare.estimate_rows import Cell, estimate_rows
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.measure import Row
from trustml.plan.job import TrainJob
from trustml.scenario.regimes import Plain, Regime

BySeed: TypeAlias = dict[int, Explanation]
"""Explanations by one method of the models of one regime, by seed."""


def floor_rows(evidence: Evidence) -> list[Row]:
    """Rows of every method and regime that was trained with at least three seeds."""
    regimes = {job.regime.title: job.regime for _, job in evidence.trained() if isinstance(job, TrainJob)}
    rows: list[Row] = []
    reference = reference_regime(list(regimes.values()))
    for (backend, _), by_regime in own_explanations(evidence).items():
        if reference is None or reference not in by_regime:
            continue
        for title, others in by_regime.items():
            if title != reference:
                rows += _regime_rows(evidence, reference, by_regime, regimes[title], others, backend=backend)
    return rows


def own_explanations(evidence: Evidence) -> dict[tuple[str, str], dict[str, BySeed]]:
    """Explanations of models by their own backend; by (backend, method), then regime, then seed."""
    found: dict[tuple[str, str], dict[str, BySeed]] = defaultdict(lambda: defaultdict(dict))
    for explanation in evidence.explanations:
        record = explanation.record
        if record.backend == evidence.subject_record(explanation).backend and not explanation.is_control:
            found[record.backend, explanation.title][record.regime][record.seed] = explanation
    return found


def reference_regime(regimes: Sequence[Regime]) -> str | None:
    """Title of the first plain regime that trains to its own end on true labels."""
    for regime in regimes:
        if isinstance(regime, Plain) and not regime.stop_at and not regime.random_labels:
            return regime.title
    return None


def agreements_of(plain: BySeed, other: BySeed, directions: Callable[[Floats], Doubles]) -> Agreements | None:
    """Agreements between the models of two regimes on their common seeds; None with fewer than three of them.

    An example on which an attribution is constant is left out of that pair's mean.
    """
    seeds = sorted(plain.keys() & other.keys())
    if len(seeds) < LEAST_SEEDS:
        return None
    first, second = (
        np.stack([directions(group[seed].attributions[group[seed].by_definition]) for seed in seeds])
        for group in (plain, other)
    )
    return Agreements(
        within_plain=_means(first, first), within_other=_means(second, second), cross=_means(first, second)
    )


def _regime_rows(
    evidence: Evidence,
    reference: str,
    by_regime: dict[str, BySeed],
    regime: Regime,
    others: BySeed,
    *,
    backend: str,
) -> list[Row]:
    plain = by_regime[reference]
    ranks = agreements_of(plain, others, rank_directions)
    tops = agreements_of(plain, others, top_directions)
    if ranks is None or tops is None or not (np.isfinite(ranks.cross).all() and np.isfinite(tops.cross).all()):
        return []
    example = next(iter(others.values()))
    subject = f"{reference} ~ {regime.title} ({example.name(example.by_definition)})"
    found = contrast(ranks)
    parts: dict[str, Estimate] = {
        "explanation_effect": found.effect,
        "explanation_effect_top": contrast(tops).effect,
        "explanation_floor": found.floor,
        "explanation_same_seed": found.same_seed,
        "explanation_within_regime": found.within_other,
    }
    for title, control in by_regime.items():
        if title in controls_of(evidence, regime.title):
            stopped = agreements_of(plain, control, rank_directions)
            if stopped is not None and len(stopped.cross) == len(ranks.cross):
                parts["explanation_effect_beyond_accuracy"] = difference(ranks, stopped)
    cell = Cell(run=evidence.manifest.run, backend=backend, regime=regime.title, subject=subject, method=example.title)
    return [row for measure, estimate in parts.items() for row in estimate_rows(cell, measure, estimate)]


def controls_of(evidence: Evidence, title: str) -> set[str]:
    """Titles of plain regimes that stop at this one's accuracy."""
    return {
        job.regime.title
        for _, job in evidence.trained()
        if isinstance(job.regime, Plain) and job.regime.stop_at == title
    }


def _means(first: Doubles, second: Doubles) -> Doubles:
    """Mean over examples of the products of directions (S, n, d): shape (S, S)."""
    found = np.empty((len(first), len(second)))
    for i, one in enumerate(first):
        products = np.einsum("nd,snd->sn", one, second)
        defined = np.isfinite(products)
        counts = defined.sum(axis=1)
        sums = np.where(defined, products, 0.0).sum(axis=1)
        found[i] = np.divide(sums, counts, out=np.full(len(second), np.nan), where=counts > 0)
    return found
