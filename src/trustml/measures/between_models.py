"""Rows on explanations of different models, pair by pair: other regime, other framework, other seed.

They are descriptive. What a regime does to explanations, against what another seed does, says
:mod:`trustml.compare.floor`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict

from trustml.measures.agreement import agreement_rows
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.measure import Row

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
    count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    caveat = f"descriptive: {count}, a claim needs {SEEDS_FOR_A_CLAIM}; " if few else ""
    rows: list[Row] = []
    for title, group in own.items():
        for one, other in itertools.combinations(group, 2):
            found = _compared(one, other)
            if found is None:
                continue
            variant, subject, what = found
            rows += agreement_rows(
                evidence,
                (one.attributions[variant], other.attributions[variant]),
                record=one.record,
                subject=subject,
                method=title,
                note=f"{caveat}{what}",
                with_difference=False,
            )
    return rows


def _compared(one: Explanation, other: Explanation) -> tuple[str, str, str] | None:
    """Variant, subject and meaning of a pair; None where it differs in more than one thing."""
    a, b = one.record, other.record
    variant = one.by_definition
    if a.seed == b.seed and a.backend == b.backend:
        return variant, f"{a.regime} ~ {b.regime} ({one.name(variant)})", "two regimes"
    if a.seed == b.seed and a.regime == b.regime:
        if "common" not in one.attributions or "common" not in other.attributions:
            return None
        return "common", f"{a.backend} ~ {b.backend} (common)", "trained apart, same start"
    if a.backend == b.backend and a.regime == b.regime:
        name = f"seed {a.seed} ~ seed {b.seed} ({one.name(variant)})"
        return variant, name, "noise floor: same regime, other seed"
    return None
