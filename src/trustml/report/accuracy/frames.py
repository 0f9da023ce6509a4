"""What is drawn of how good models are, from predictions and the tidy table."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.accuracy import outputs_of, wilson_interval
from trustml.measures.classification import BINS, decisions
from trustml.measures.evidence import Evidence
from trustml.models.answers import answers
from trustml.models.losses import AnyArray
from trustml.models.tasks import Labels, NextToken, Task
from trustml.record.schema import JobRecord
from trustml.report.documents import Cell

_LEVEL = 0.05
MOST_CLASSES = 40
"""Of a matrix: with more its cells cannot be read."""


def judged_models(evidence: Evidence) -> list[JobRecord]:
    """Models that are looked at one by one, where they answered the held-out examples; none that predict texts.

    Of a text what is recorded is how likely the token that follows was, not which other one was answered.
    """
    if isinstance(evidence.task, NextToken):
        return []
    return [record for record, _ in evidence.trained() if record.status == "ok"]


def reliability_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame:
    """Confidence in answers against the share that is right, in bins of the confidence.

    Returns
    -------
    DataFrame
        Columns ``confidence``, its mean in the bin, ``right``, ``low`` and ``high`` (Wilson, 95 %) and ``n``; bins that
        nothing is in are left out. Of several labels each is a decision.
    """
    confidence, right = (part.ravel() for part in decisions(evidence.task, *outputs_of(evidence, record)))
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = []
    for place in np.unique(places):
        there = places == place
        count, hits = int(there.sum()), int(right[there].sum())
        low, high = wilson_interval(hits, count)
        mean = float(confidence[there].mean())
        rows.append({"confidence": mean, "right": hits / count, "low": low, "high": high, "n": count})
    return pd.DataFrame(rows)


def confusion_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame | None:
    """How often each class was answered for each true class; None of several labels, and of too many classes.

    Returns
    -------
    DataFrame or None
        Columns ``true``, ``answered``, ``count`` and ``share`` of the true class.
    """
    names = evidence.manifest.data.class_names
    if isinstance(evidence.task, Labels) or len(names) > MOST_CLASSES:
        return None
    counts = confusion_counts(evidence.task, *outputs_of(evidence, record), classes=len(names))
    of_class = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return pd.DataFrame(
        {
            "true": np.repeat(names, len(names)),
            "answered": np.tile(names, len(names)),
            "count": counts.ravel(),
            "share": (counts / of_class).ravel(),
        }
    )


def confusion_counts(task: Task, outputs: AnyArray, labels: AnyArray, *, classes: int) -> npt.NDArray[np.int64]:
    """Count (true class, answered class); int64 of shape (classes, classes)."""
    true, said = (part.reshape(len(labels)).astype(np.int64) for part in (labels, answers(task, outputs)))
    return np.bincount(true * classes + said, minlength=classes * classes).reshape(classes, classes)


def class_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame | None:
    """Recall and precision of each class with their intervals, in cells; None of several labels.

    Returns
    -------
    DataFrame or None
        ``recall``: of the examples of the class, the share that is answered so; ``precision``: of those answers, the
        share that is right. Wilson, 95 %.
    """
    names = evidence.manifest.data.class_names
    if isinstance(evidence.task, Labels):
        return None
    counts = confusion_counts(evidence.task, *outputs_of(evidence, record), classes=len(names))
    rows = []
    for place, name in enumerate(names):
        hits = int(counts[place, place])
        own, said = int(counts[place].sum()), int(counts[:, place].sum())
        rows.append(
            {
                "class": name,
                "held-out examples": Cell(f"{own:,}", own),
                **share_cells("recall", hits, own),
                "answered": Cell(f"{said:,}", said),
                **share_cells("precision", hits, said),
            }
        )
    return pd.DataFrame(rows)


def share_cells(name: str, hits: int, count: int) -> dict[str, Cell]:
    """Give a share and its Wilson interval, in cells of two columns; dashes where it is of nothing."""
    if not count:
        return {name: Cell("-"), f"{name} interval": Cell("-")}
    low, high = wilson_interval(hits, count)
    return {name: Cell(f"{hits / count:.3f}", hits / count), f"{name} interval": Cell(f"{low:.3f}-{high:.3f}", low)}


def slice_columns(table: pd.DataFrame) -> list[str]:
    """Columns by whose groups accuracy was told apart."""
    return list(dict.fromkeys(fact_of(table[table.measure == "slice_accuracy"], "slice", default="")))


def slice_frame(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Accuracy of every model in every group of a column.

    Returns
    -------
    DataFrame
        The tidy rows, with ``group``, and ``cell`` that tells models of a regime apart.
    """
    rows = table[table.measure == "slice_accuracy"].dropna(subset="value")
    rows = rows[(fact_of(rows, "slice", default="") == column).to_numpy(bool)]
    several = rows.seed.nunique() > 1
    return rows.assign(
        group=fact_of(rows, "group", default=""),
        cell=rows.backend + (" seed " + rows.seed.astype(str) if several else ""),
    )


def gap_frame(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """How far groups are apart in every model, and what each regime changes of it, in cells."""
    found = []
    changes = table[(table.measure == "slice_gap_change") & (table.subject == column)]
    by_job = {row["job"]: row for row in changes.to_dict("records")}
    for row in table[(table.measure == "slice_gap") & (table.subject == column)].to_dict("records"):
        change = by_job.get(row["job"])
        found.append(
            {
                "regime": row["regime"],
                "framework": row["backend"],
                "seed": row["seed"],
                "worst": row["first"],
                "best": row["second"],
                "gap": Cell(f"{row['value']:.3f}", row["value"]),
                "interval": Cell(f"{row['low']:.3f}-{row['high']:.3f}", row["low"]),
                "change against plain": Cell(f"{change['value']:+.3f}", change["value"]) if change else Cell(""),
                "its interval": Cell(f"{change['low']:+.3f} to {change['high']:+.3f}", change["low"])
                if change
                else Cell(""),
                "p, groups alike": _p_cell(row["p_value"]),
                "p, changed alike": _p_cell(change["p_value"]) if change else Cell(""),
            }
        )
    return pd.DataFrame(found)


def _of_several(count: int) -> str:
    return f", the least of {count}" if count > 1 else ""


def _p_cell(value: float | None) -> Cell:
    if value is None or not math.isfinite(value):  # older tables have none
        return Cell("-")
    return Cell(f"{value:.3g}", value)


def gap_lines(table: pd.DataFrame) -> list[str]:
    """Say what each regime does to the gap between groups, by column; frameworks and seeds one by one.

    Beside the gap stands how good the worst group is: of a model that has learned nothing, groups are close together.
    Groups are changed differently where a permutation test says so, at 0.05 over all models of the line; a gap grows
    by chance wherever fewer answers are right.
    """
    changes, lines = table[(table.measure == "slice_gap_change") & table.value.notna()], []
    changes = changes.assign(
        before=fact_of(changes, "worst_before", default=np.nan), after=fact_of(changes, "worst_after", default=np.nan)
    )
    for (column, regime), rows in changes.groupby(["subject", "regime"], sort=False):
        several = rows.seed.nunique() > 1
        each = [
            f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}] in {row.backend}"
            + (f" (seed {row.seed})" if several else "")
            + f", where the worst group comes to {row.after:.3f} after {row.before:.3f}"
            for row in rows.itertuples()
        ]
        least = rows.p_value.astype(float).min()
        told = least * len(rows) < _LEVEL
        lines.append(
            f"with {regime} the gap between the best and the worst group of {column} changes against "
            f"{rows['first'].iloc[0]} by {', '.join(each)}"
            + (
                f"; groups are changed differently (permutation p = {least:.2g}{_of_several(len(rows))})"
                if told
                else "; by a permutation test none of it is told apart from a change that is the same in all groups"
            )
        )
    return lines
