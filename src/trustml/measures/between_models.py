"""Rows on explanations of different models, pair by pair: other regime, other framework, other seed.

They are descriptive. What a regime does to explanations, against what another seed does, says
:mod:`trustml.compare.floor`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

from trustml.measures.agreement import agreement_rows
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.row import About, Facts, PairKind, Row
from trustml.record.choices import are_paired

SEEDS_FOR_A_CLAIM = 3
_MOST_SEEDS = 3
"""With more seeds than this, single pairs are left out: the table says what they come to together."""


def model_rows(evidence: Evidence) -> list[Row]:
    """Agreement of every two models that differ in one thing, each explained by its own backend."""
    own: dict[str, list[Explanation]] = defaultdict(list)
    for explanation in evidence.explanations:
        if explanation.record.backend == evidence.subject_record(explanation).backend and not explanation.is_control:
            own[explanation.title].append(explanation)
    seeds = {explanation.record.seed for group in own.values() for explanation in group}
    if len(seeds) > _MOST_SEEDS:
        return []
    few = len(seeds) < SEEDS_FOR_A_CLAIM
    caveat: Facts = {"seeds": len(seeds), "seeds_for_a_claim": SEEDS_FOR_A_CLAIM} if few else {}
    rows: list[Row] = []
    paired = are_paired(evidence.manifest)
    for title, group in own.items():
        for one, other in itertools.combinations(group, 2):
            found = _compared(one, other)
            if found is None or not paired(one.record.regime, other.record.regime):
                continue
            rows += agreement_rows(
                evidence,
                (one.attributions[found.variant], other.attributions[found.variant]),
                record=one.record,
                subject=f"{found.first} ~ {found.second} ({found.name})",
                method=title,
                about=About(
                    pair=found.pair,
                    first=found.first,
                    second=found.second,
                    facts={**caveat, "variant": found.variant, "explained_by": found.name},
                ),
                with_difference=False,
            )
    return rows


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two models that differ in one thing: which, by what they are told apart, and what is compared of them."""

    pair: PairKind
    first: str
    second: str
    variant: str
    name: str


def _compared(one: Explanation, other: Explanation) -> _Pair | None:
    """Give what a pair differs in; None where it is more than one thing."""
    a, b = one.record, other.record
    variant = one.by_definition
    if a.seed == b.seed and a.backend == b.backend:
        return _Pair(pair="two regimes", first=a.regime, second=b.regime, variant=variant, name=one.name(variant))
    if a.seed == b.seed and a.regime == b.regime:
        if "common" not in one.attributions or "common" not in other.attributions:
            return None
        return _Pair(pair="trained apart", first=a.backend, second=b.backend, variant="common", name="common")
    if a.backend == b.backend and a.regime == b.regime:
        seeds = f"seed {a.seed}", f"seed {b.seed}"
        return _Pair(pair="two seeds", first=seeds[0], second=seeds[1], variant=variant, name=one.name(variant))
    return None
