"""Rows on whether a regime makes explanations worth less, and which kind of method is steadier."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from trustml.attribution.similarity import rank_directions
from trustml.catalogue.methods import METHODS
from trustml.compare.contrast import (
    LEAST_SEEDS,
    Agreements,
    Estimate,
    effect_of,
    effects_of_swaps,
    jackknife,
    p_value_of,
    paired,
)
from trustml.compare.estimate_rows import Cell, estimate_rows
from trustml.compare.floor import (
    BySeed,
    agreements_of,
    controls_of,
    own_explanations,
    reference_regime,
)
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.explanation_table import CHANGES
from trustml.measures.quality import per_example
from trustml.measures.row import Facts, Row
from trustml.plan.job import TrainJob


def worth_rows(evidence: Evidence) -> list[Row]:
    """Rows of every regime that was trained with at least three seeds."""
    regimes = [job.regime for _, job in evidence.trained() if isinstance(job, TrainJob)]
    reference = reference_regime(regimes)
    if reference is None:
        return []
    explanations = own_explanations(evidence)
    means = _Means()
    rows: list[Row] = []
    for (backend, title), by_regime in explanations.items():
        plain = by_regime.get(reference, {})
        for regime, others in by_regime.items():
            if regime == reference:
                continue
            against = {reference: plain} | {c: by_regime[c] for c in controls_of(evidence, regime) if c in by_regime}
            for other, group in against.items():
                rows += _change_rows(
                    evidence, means, others, group, names=(other, regime), backend=backend, method=title
                )
    for backend in {backend for backend, _ in explanations}:
        rows += _steadiness_rows(evidence, explanations, reference, backend=backend)
    return rows


def _change_rows(
    evidence: Evidence,
    means: _Means,
    others: BySeed,
    plain: BySeed,
    *,
    names: tuple[str, str],
    backend: str,
    method: str,
) -> list[Row]:
    """Change of each measure of faithfulness, seed by seed."""
    seeds = sorted(plain.keys() & others.keys())
    if len(seeds) < LEAST_SEEDS:
        return []
    rows = []
    for measure in CHANGES:
        values = [[means.of(group[seed]).get(measure) for seed in seeds] for group in (others, plain)]
        if any(value is None for group in values for value in group):
            continue
        estimate = paired(*(np.array(group, np.float64) for group in values))
        cell = Cell(
            run=evidence.manifest.run,
            backend=backend,
            regime=names[1],
            method=method,
            first=names[0],
            second=names[1],
        )
        facts: Facts = {"minuend": names[1], "subtrahend": names[0]}
        rows += estimate_rows(cell, f"change_of_{measure}", estimate, facts=facts)
    return rows


class _Means:
    """Mean over examples of each measure of an explanation, worked out once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, float]] = {}

    def of(self, explanation: Explanation) -> dict[str, float]:
        """Means of those measures that are defined for some example."""
        key = explanation.record.id, explanation.title
        if key not in self._found:
            values = per_example(explanation, explanation.by_definition)
            self._found[key] = {
                name: float(np.nanmean(array)) for name, array in values.items() if np.isfinite(array).any()
            }
        return self._found[key]


def _steadiness_rows(
    evidence: Evidence,
    explanations: dict[tuple[str, str], dict[str, BySeed]],
    reference: str,
    *,
    backend: str,
) -> list[Row]:
    """Effect on perturbation methods minus that on gradient methods, means over the methods of each kind."""
    kinds: dict[str, dict[str, list[Agreements]]] = defaultdict(lambda: defaultdict(list))
    for (own, _), by_regime in explanations.items():
        if own != backend or reference not in by_regime:
            continue
        for regime, others in by_regime.items():
            found = agreements_of(by_regime[reference], others, rank_directions) if regime != reference else None
            if found is not None:
                method = next(iter(others.values())).method
                kind = "perturbation" if METHODS[type(method)].needs == "forward" else "gradient"
                kinds[regime][kind].append(found)
    rows = []
    for regime, groups in kinds.items():
        if len(groups) < 2:
            continue
        estimate = _steadiness(groups["perturbation"], groups["gradient"])
        counts: Facts = {f"{kind}_methods": len(groups[kind]) for kind in ("perturbation", "gradient")}
        cell = Cell(
            run=evidence.manifest.run,
            backend=backend,
            regime=regime,
            method="perturbation ~ gradient",
            first=reference,
            second=regime,
        )
        rows += estimate_rows(cell, "explanation_steadiness", estimate, facts=counts)
    return rows


def _steadiness(perturbation: list[Agreements], gradient: list[Agreements]) -> Estimate:
    seeds = len(perturbation[0].cross)

    def statistic(kept: np.ndarray) -> float:
        first, second = (np.mean([effect_of(a, kept) for a in group]) for group in (perturbation, gradient))
        return float(first - second)

    swapped = [np.mean([effects_of_swaps(a) for a in group], axis=0) for group in (perturbation, gradient)]
    return jackknife(statistic, seeds, p_value=p_value_of(swapped[0] - swapped[1]))
