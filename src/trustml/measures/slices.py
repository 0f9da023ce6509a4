"""How good models are for each group of held-out examples, and how far groups are apart, before and after privacy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trustml.data.slices import read_slices
from trustml.measures.accuracy import outputs_of, told_of_seen, wilson_interval
from trustml.measures.bootstrap import mean_ends
from trustml.measures.evidence import Evidence
from trustml.measures.group_tests import groups_differ
from trustml.measures.resampling import Doubles, Statistic, estimates
from trustml.measures.row import About, Facts, Row
from trustml.models.answers import right
from trustml.models.tasks import Labels, NextToken
from trustml.record.schema import JobRecord, regimes_of

Groups = dict[str, npt.NDArray[np.bool_]]
FEWEST = 10
"""Examples of a group, below which it does not decide how far groups are apart."""


def slice_rows(evidence: Evidence) -> list[Row]:
    """Accuracy by group, its gap, and what each regime changes of the gap; nothing where no slices were asked for."""
    columns = evidence.manifest.scenario.get("slices", ())
    if not columns:
        return []
    slices = read_slices(columns, evidence.heldout)
    done = [record for record, _ in evidence.trained() if record.status == "ok"]
    hits = {record.id: right(evidence.task, *outputs_of(evidence, record)).astype(np.float64) for record in done}
    rows: list[Row] = []
    for column, groups in slices.items():
        large = {name: members for name, members in groups.items() if members.sum() >= FEWEST}
        for record in done:
            rows += [_group_row(evidence, record, column, name, hits[record.id][in_]) for name, in_ in groups.items()]
            if len(large) > 1:
                rows.append(_gap_row(evidence, record, column, large, hits[record.id]))
        if len(large) > 1:
            rows += _change_rows(evidence, done, column, large, hits)
    return told_of_seen(evidence, rows)


def _group_row(evidence: Evidence, record: JobRecord, column: str, name: str, hits: Doubles) -> Row:
    facts: Facts = {"slice": column, "group": name}
    if isinstance(evidence.task, Labels | NextToken):  # shares of labels or tokens, which hang together
        value, (low, high) = float(hits.mean()), mean_ends(hits)
        about = About(interval="exact bootstrap over examples", confidence=0.95, facts=facts)
    else:
        value, (low, high) = float(hits.mean()), wilson_interval(int(hits.sum()), len(hits))
        about = About(interval="wilson", confidence=0.95, facts=facts)
    return evidence.row(
        "slice_accuracy",
        value,
        record=record,
        subject=f"{column}: {name}",
        n=len(hits),
        interval=(low, high),
        about=about,
    )


def _gap_row(evidence: Evidence, record: JobRecord, column: str, groups: Groups, hits: Doubles) -> Row:
    found = estimates({"": _gap(groups, hits)}, examples=len(hits))[""]
    shares = _shares(groups, hits)
    best, worst = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    about = About(
        interval="bootstrap over examples",
        confidence=0.95,
        p_value=_p_value(groups, hits),
        first=worst,
        second=best,
        facts={
            "slice": column,
            "smallest_group": int(min(members.sum() for members in groups.values())),
            **found.facts,
        },
    )
    return evidence.row(
        "slice_gap",
        found.value,
        record=record,
        subject=column,
        n=len(hits),
        interval=(found.low, found.high),
        about=about,
    )


def _change_rows(
    evidence: Evidence, done: Sequence[JobRecord], column: str, groups: Groups, hits: dict[str, Doubles]
) -> list[Row]:
    """Gap of each model less that of the plain one of its framework and seed, on the same examples."""
    asked = regimes_of(evidence.manifest)
    plain = next((title for title, regime in asked.items() if regime["kind"] == "Plain" and not _control(regime)), None)
    rows = []
    for record in done:
        other = next((r for r in done if (r.regime, r.backend, r.seed) == (plain, record.backend, record.seed)), None)
        if other is None or other.id == record.id:
            continue
        change = _less(_gap(groups, hits[record.id]), _gap(groups, hits[other.id]))
        found = estimates({"": change}, examples=len(hits[record.id]))[""]
        about = About(
            interval="bootstrap over examples",
            confidence=0.95,
            p_value=_p_value(groups, hits[record.id] - hits[other.id]),
            pair="two regimes",
            first=str(plain),
            second=record.regime,
            facts={
                "slice": column,
                "worst_before": min(_shares(groups, hits[other.id]).values()),
                "worst_after": min(_shares(groups, hits[record.id]).values()),
                **found.facts,
            },
        )
        rows.append(
            evidence.row(
                "slice_gap_change",
                found.value,
                record=record,
                subject=column,
                n=len(hits[record.id]),
                interval=(found.low, found.high),
                about=about,
            )
        )
    return rows


def _shares(groups: Groups, hits: Doubles) -> dict[str, float]:
    return {name: float(hits[members].mean()) for name, members in groups.items()}


def _p_value(groups: Groups, values: Doubles) -> float:
    members = np.stack(list(groups.values()))
    inside = members.any(axis=0)
    return groups_differ(values[inside], members[:, inside].argmax(axis=0))


def _less(after: Statistic, before: Statistic) -> Statistic:
    return lambda weights: after(weights) - before(weights)


def _control(regime: dict[str, object]) -> bool:
    return bool(regime.get("stop_at") or regime.get("random_labels") or regime.get("ablation"))


def _gap(groups: Groups, hits: Doubles) -> Statistic:
    """Largest less smallest accuracy over the groups, of those that a resample has anything of."""
    members = np.stack(list(groups.values())).astype(np.float64)
    inside = members * hits

    def statistic(weights: Doubles) -> Doubles:
        counts = weights @ members.T
        with np.errstate(invalid="ignore"):
            shares = np.where(counts > 0, weights @ inside.T / counts, np.nan)
        found: Doubles = np.nanmax(shares, axis=1) - np.nanmin(shares, axis=1)
        return found

    return statistic
