"""A sweep as parallel coordinates: a line for each model through what it was trained with and what it came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from trustml.measures.measure import MEASURES, leading
from trustml.record.schema import Manifest, sweep_of
from trustml.report.figures import INK, backend_colour, backend_scale, top_legend
from trustml.report.sweeps import sweep_frame

_LOG_FROM = 8.0
"""Largest over smallest value, from which an axis is logarithmic."""


def parallel_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """Every swept model as a line through what it was trained with and what it came to.

    Returns
    -------
    DataFrame
        Columns ``of``, ``line``, ``backend``, ``axis``, ``value`` (as it is told) and ``place`` (from 0 at the least
        to 1 at the largest of the axis; of what are no numbers, in their order). An axis on which all are the same is
        left out, and so is one that some models lack.
    """
    frame = sweep_frame(manifest, table)
    settings: dict[str, dict[str, Any]] = {}
    for one in sweep_of(manifest):
        settings.setdefault(one.regime, {})[one.field] = one.value
    score = MEASURES[leading(set(table.measure))].title
    steps = table[(table.measure == "step_time_median") & table.value.notna()]
    times = {(row.regime, row.backend, row.seed): row.value for row in steps.itertuples()}
    rows: list[dict[str, Any]] = []
    for of, models in frame.groupby("of", sort=False):
        models = models.reset_index(drop=True)
        axes: dict[str, list[Any]] = {
            field: [settings[regime].get(field) for regime in models.regime]
            for field in dict.fromkeys(name for regime in models.regime for name in settings[regime])
        }
        axes["epsilon, charged"] = [None if pd.isna(value) else value for value in models.epsilon]
        keys = zip(models.regime, models.backend, models.seed, strict=True)
        axes["step time, s"] = [times.get(key) for key in keys]
        axes[score] = list(models.score)
        for axis, values in axes.items():
            if any(value is None for value in values) or len(set(values)) == 1:
                continue
            for number, (value, place) in enumerate(zip(values, _places(values), strict=True)):
                told = f"{value:.4g}" if _is_number(value) else str(value)
                model = models.loc[number]
                line = f"{model.regime} {model.backend} {model.seed}"
                about = {"of": of, "line": line, "backend": model.backend}
                rows.append({**about, "axis": axis, "value": told, "place": place})
    return pd.DataFrame(rows, columns=["of", "line", "backend", "axis", "value", "place"])


def parallel_coordinates(manifest: Manifest, table: pd.DataFrame) -> list[alt.LayerChart]:
    """Draw a line for each swept model through its settings and measures, where there are three or more of them."""
    frame = parallel_frame(manifest, table)
    charts = []
    for of, rows in frame.groupby("of", sort=False):
        if rows.axis.nunique() > 2:
            charts.append(_parallel(rows, f"{of}: settings and what came of them"))
    return charts


def _parallel(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    order = list(dict.fromkeys(rows.axis))
    ends = rows.sort_values("place").groupby("axis", sort=False).agg(low=("value", "first"), high=("value", "last"))
    ends = ends.reset_index()
    x = alt.X("axis:N", title=None, sort=order, axis=alt.Axis(labelAngle=0, labelLimit=220, domain=False, ticks=False))
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.12, 1.12]))
    legend = top_legend(dict.fromkeys(rows.backend), lines=True)
    dash = backend_scale(rows.backend, lambda style: list(style.dash))
    base = alt.Chart(rows, title=title).encode(
        x=x, y=y, color=backend_colour(rows.backend).legend(legend),
        tooltip=[alt.Tooltip(name) for name in ("line", "axis", "value")],
    )  # fmt: skip
    dashes = alt.StrokeDash("backend:N", title="framework", scale=dash, legend=legend)
    lines = base.mark_line(strokeWidth=1.5, opacity=0.7).encode(detail="line:N", strokeDash=dashes)
    points = base.mark_point(filled=True, size=40, opacity=1)
    rules = alt.Chart(rows[["axis"]].drop_duplicates()).mark_rule(color=INK, opacity=0.5).encode(x=x)
    texts = [
        alt.Chart(ends).mark_text(color=INK, dy=dy).encode(x=x, y=alt.datum(place), text=f"{end}:N")
        for end, place, dy in (("low", 0.0, 14), ("high", 1.0, -14))
    ]
    return alt.layer(rules, lines, points, *texts).properties(height=320)


def _places(values: Sequence[Any]) -> list[float]:
    """Where values stand between the least and the largest: by their size or, of what are no numbers, their order."""
    if all(map(_is_number, values)):
        low, high = float(min(values)), float(max(values))
        far = low > 0 and high >= _LOG_FROM * low
        scaled = [math.log(value) if far else float(value) for value in values]
    else:
        kinds = list(dict.fromkeys(map(str, values)))
        scaled = [float(kinds.index(str(value))) for value in values]
    low, high = min(scaled), max(scaled)
    return [(value - low) / ((high - low) or 1.0) for value in scaled]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
