"""Rows on what every regime does to explanations, against the seed noise floor of the plain model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from trustml.attribution.similarity import Doubles, Floats, rank_directions, top_directions
from trustml.compare.contrast import LEAST_SEEDS, Agreements, Estimate, contrast, difference
from trustml.compare.estimate_rows import Cell, estimate_rows
from trustml.compare.parts import accuracy_trends, part_estimates
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.row import Row
from trustml.plan.job import TrainJob
from trustml.scenario.regimes import Plain, Regime

BySeed: TypeAlias = dict[int, Explanation]
"""Explanations by one method of the models of one regime, by seed."""


MEAN = "mean of methods"
"""In place of a method: agreements averaged over all methods of the run, so that there is one test a regime."""


def floor_rows(evidence: Evidence) -> list[Row]:
    """Rows of every method and regime that was trained with at least three seeds, and of the mean of methods."""
    regimes = {job.regime.title: job.regime for _, job in evidence.trained() if isinstance(job, TrainJob)}
    reference = reference_regime(list(regimes.values()))
    rows: list[Row] = []
    found: dict[tuple[str, str], dict[str, list[Agreements]]] = defaultdict(lambda: defaultdict(list))
    for (backend, method), by_regime in own_explanations(evidence).items():
        if reference is None or reference not in by_regime:
            continue
        for kind, directions in _DIRECTIONS.items():
            agreements = {
                title: agreed
                for title, others in by_regime.items()
                if title != reference
                and (agreed := agreements_of(by_regime[reference], others, directions)) is not None
            }
            for title, agreed in agreements.items():
                found[backend, kind][title].append(agreed)
            rows += _rows(evidence, agreements, reference=reference, backend=backend, method=method, kind=kind)
    for (backend, kind), by_title in found.items():
        means = {title: _mean(agreements) for title, agreements in by_title.items()}
        rows += _rows(evidence, means, reference=str(reference), backend=backend, method=MEAN, kind=kind)
        for one in () if kind else accuracy_trends(evidence, backend=backend):
            cell = Cell(
                run=evidence.manifest.run,
                backend=backend,
                regime=one.second,
                method="",
                first=one.first,
                second=one.second,
            )
            rows += estimate_rows(cell, one.measure, one.estimate, facts=one.facts)
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
        if isinstance(regime, Plain) and not regime.is_control:
            return regime.title
    return None


def agreements_of(plain: BySeed, other: BySeed, directions: Callable[[Floats], Doubles]) -> Agreements | None:
    """Agreements between the models of two regimes on their common seeds.

    An example on which an attribution is constant is left out of that pair's mean. None with fewer than three
    seeds, or where a pair has no example left.
    """
    seeds = sorted(plain.keys() & other.keys())
    if len(seeds) < LEAST_SEEDS:
        return None
    first, second = (
        np.stack([directions(group[seed].attributions[group[seed].by_definition]) for seed in seeds])
        for group in (plain, other)
    )
    found = Agreements(
        within_plain=_means(first, first), within_other=_means(second, second), cross=_means(first, second)
    )
    parts = (found.within_plain, found.within_other, found.cross)
    return found if all(np.isfinite(part).all() for part in parts) else None


def _rows(
    evidence: Evidence, agreements: dict[str, Agreements], *, reference: str, backend: str, method: str, kind: str
) -> list[Row]:
    """Rows of all regimes by one method."""

    def cell_of(first: str, second: str) -> Cell:
        run = evidence.manifest.run
        return Cell(run=run, backend=backend, regime=second, method=method, first=first, second=second)

    rows: list[Row] = []
    for title, agreed in agreements.items():
        found = contrast(agreed)
        parts: dict[str, Estimate] = {f"explanation_effect{kind}": found.effect}
        if not kind:
            parts |= {
                "explanation_floor": found.floor,
                "explanation_same_seed": found.same_seed,
                "explanation_within_regime": found.within_other,
            }
            for control in controls_of(evidence, title) & agreements.keys():
                if len(agreements[control].cross) == len(agreed.cross):
                    parts["explanation_effect_beyond_accuracy"] = difference(agreed, agreements[control])
        cell = cell_of(reference, title)
        rows += [row for measure, estimate in parts.items() for row in estimate_rows(cell, measure, estimate)]
    for one in () if kind else part_estimates(evidence, agreements):
        rows += estimate_rows(cell_of(one.first, one.second), one.measure, one.estimate, facts=one.facts)
    return rows


def _mean(agreements: Sequence[Agreements]) -> Agreements:
    return Agreements(
        within_plain=np.mean([a.within_plain for a in agreements], axis=0),
        within_other=np.mean([a.within_other for a in agreements], axis=0),
        cross=np.mean([a.cross for a in agreements], axis=0),
    )


_DIRECTIONS: dict[str, Callable[[Floats], Doubles]] = {"": rank_directions, "_top": top_directions}
"""Ending of the measure's name, and what agreement is computed from."""


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
