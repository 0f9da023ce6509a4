"""What the Attacks page draws, as data frames made from the tidy table and the published curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES, of_family, shown_in
from trustml.record.curves import RocCounts

TINY = 1e-4
"""Where a logarithmic axis begins: rates of zero are drawn there."""


def membership_frame(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of every attack on every model.

    Returns
    -------
    DataFrame
        Columns ``model``, ``backend``, ``regime``, ``seed``, ``attack``, ``auc``, ``low``, ``high`` and ``note``.
    """
    asked = (table.measure == "membership_auc") & table.value.notna() & (table.seed >= 0)
    columns = ["job", "backend", "regime", "seed", "method", "value", "low", "high", "note"]
    return table.loc[asked, columns].rename(columns={"job": "model", "method": "attack", "value": "auc"})


def strongest_frame(table: pd.DataFrame) -> pd.DataFrame:
    """For every regime and attack: models, their median AUC, and TPR at 1 % FPR pooled over them."""
    one = membership_frame(table)
    if one.empty:
        return one
    grouped = one.groupby(["regime", "attack"], sort=False).auc
    found = grouped.agg(models="count", auc_median="median", auc_least="min", auc_most="max").reset_index()
    asked = (table.measure == "membership_tpr_at_1_percent_fpr") & (table.seed < 0)
    pooled = table.loc[asked, ["regime", "method", "value", "low", "high", "note"]].drop_duplicates(
        ["regime", "method"]
    )
    pooled.columns = pd.Index(["regime", "attack", "tpr_at_1_percent_fpr", "tpr_low", "tpr_high", "tpr_note"])
    return found.merge(pooled, on=["regime", "attack"], how="left")


def remembered_frame(table: pd.DataFrame) -> pd.DataFrame:
    """What models remember of what they were trained on, beside what they say of what they were not.

    Returns
    -------
    DataFrame
        Columns ``measure``, ``backend``, ``regime``, ``seed``, ``subject``, ``value``, ``low``, ``high``,
        ``untrained``, ``n``, ``p_value``, ``verdict`` and ``note``.
    """
    rows = table[table.measure.isin(list(shown_in("remembered")))]
    found = rows[["measure", "backend", "regime", "seed", "subject", "value", "low", "high"]].copy()
    found["untrained"] = fact_of(rows, "untrained_value", default=float("nan")).astype(float)
    return found.assign(n=rows.n, p_value=rows.p_value, verdict=rows.verdict, note=rows.note)


def roc_frame(curves: Sequence[RocCounts], *, subject: str) -> pd.DataFrame:
    """Points of the curves of one model.

    Returns
    -------
    DataFrame
        Columns ``attack``, ``false_positive_rate`` and ``true_positive_rate``, the latter two at least :data:`TINY`.
    """
    parts = [
        pd.DataFrame(
            {
                "attack": curve.attack,
                "false_positive_rate": [0.0, *(n / curve.false_positives[-1] for n in curve.false_positives)],
                "true_positive_rate": [0.0, *(n / curve.true_positives[-1] for n in curve.true_positives)],
            }
        )
        for curve in curves
        if curve.subject == subject
    ]
    if not parts:
        return pd.DataFrame(columns=["attack", "false_positive_rate", "true_positive_rate"])
    frame = pd.concat(parts, ignore_index=True)
    for column in ("false_positive_rate", "true_positive_rate"):
        frame[column] = frame[column].clip(lower=TINY)
    return frame


def thinned(points: pd.DataFrame, *, most: int) -> pd.DataFrame:
    """Give `roc_frame` with at most so many points a curve, for whoever keeps what is drawn.

    The curves are drawn on logarithmic axes, so the points that stay are evenly apart in the logarithm of the false
    positive rate, and the ends are among them; of one false positive rate the highest point stays.
    """
    parts = []
    for _, curve in points.groupby("attack", sort=False):
        corners = curve.groupby("false_positive_rate", sort=True).tail(1)
        if len(corners) > most:
            cells = np.floor(np.log10(corners.false_positive_rate / TINY) * (most - 2) / -np.log10(TINY))
            ends = corners.iloc[[0, -1]]
            corners = pd.concat([ends, corners[~cells.duplicated(keep="last")]])
            corners = corners[~corners.index.duplicated()].sort_index()
        parts.append(corners)
    return pd.concat(parts, ignore_index=True) if parts else points


def audited_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Every lower bound and estimate, with the claim and what could have been shown.

    Returns
    -------
    DataFrame
        Columns ``audit``, ``backend``, ``regime``, ``audited``, ``estimate``, ``claim``, ``ceiling``, ``attainable``,
        ``attainable_low``, ``attainable_high``, ``violation`` and ``note``.
    """
    rows = table[table.measure.isin(list(of_family("audited")))]
    found = []
    for (job, subject), group in rows.groupby(["job", "subject"], sort=False):
        first = group.iloc[0]
        values, lows, highs = (_of_measures(group, column) for column in ("value", "low", "high"))
        found.append(
            {
                "audit": f"{subject} ({first.backend})" + (f", {first.regime}" if first.regime != "-" else ""),
                "job": job,
                "backend": first.backend,
                "regime": first.regime,
                **{MEASURES[name].head: value for name, value in values.items()},
                "attainable_low": lows["attainable_at_claim"],
                "attainable_high": highs["attainable_at_claim"],
                "violation": values["audited_epsilon"] > values["claimed_epsilon"],
                "note": first.note,
            }
        )
    return pd.DataFrame(found)


def _of_measures(group: pd.DataFrame, column: str) -> dict[str, float]:
    """One column by measure; NaN where a measure is not there."""
    there = dict(zip(group.measure, group[column].astype(float), strict=True))
    return {name: float(there.get(name, float("nan"))) for name in shown_in("attacks")}
