"""Charts of the tidy table, as altair specifications. No dashboard needed: a notebook shows them as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from trustml.frameworks.entry import Style
from trustml.frameworks.table import backend_names, entry_of
from trustml.measures.measure import MEASURES, leading
from trustml.privacy.statement import at_most

REGIME_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#66A61E", "#8C6D31", "#7F7F7F", "#9467BD", "#1B7837")
"""Of regimes and attacks: none is a framework's, so that neither is taken for the other."""
_DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (12, 4), (6, 2, 2, 2, 2, 2), (1, 4))
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
INK = "#7A7A7A"
"""Of rules, intervals and labels: to be read on white as well as on a dark page."""
CLAIM = "#C026B0"
"""Of what is claimed, on every page."""
_ROW = 72
"""Letters that fit beside each other over a chart on a small screen."""

_UNITS = {
    "example": "with a guarantee for examples",
    "user": "with a guarantee for users",
    "": "with a guarantee whose unit was not recorded",
}


def backend_scale(there: Iterable[str], look: Callable[[Style], Any]) -> alt.Scale:
    """Give each backend that is there its look, the same in every chart; what has no entry looks like ink."""
    present = set(there)
    known = [name for name in backend_names() if name in present]
    looks = {name: look(entry_of(name).style) for name in known}
    looks |= {name: look(Style(colour=INK, shape="cross", dash=(1, 0))) for name in sorted(present - set(known))}
    return alt.Scale(domain=list(looks), range=list(looks.values()))


def backend_colour(there: Iterable[str]) -> alt.Color:
    """Give the colour of each backend that is there, the same in every chart."""
    scale = backend_scale(there, lambda style: style.colour)
    return alt.Color("backend:N", title="framework", scale=scale, legend=top_legend(scale.domain))


def backend_shape(there: Iterable[str]) -> alt.Shape:
    """Give the shape of each backend that is there, the same in every chart."""
    scale = backend_scale(there, lambda style: style.shape)
    return alt.Shape("backend:N", title="framework", scale=scale, legend=top_legend(scale.domain))


def named_colour(field: str, names: Iterable[str], *, legend: alt.Legend | None, title: str | None = None) -> alt.Color:
    """Give each of some names a colour by its place. It is never alone: a dash or a shape tells the same."""
    return alt.Color(f"{field}:N", title=title, scale=_by_place(names, REGIME_COLOURS), legend=legend)


def named_dash(
    field: str, names: Iterable[str], *, legend: alt.Legend | None, title: str | None = None
) -> alt.StrokeDash:
    """Give each of some names a dash by its place; with :func:`named_colour`, 64 names look different."""
    return alt.StrokeDash(f"{field}:N", title=title, scale=_by_place(names, _DASHES), legend=legend)


def named_shape(field: str, names: Iterable[str], *, legend: alt.Legend | None, title: str | None = None) -> alt.Shape:
    """Give each of some names a shape by its place; with :func:`named_colour`, 64 names look different."""
    return alt.Shape(f"{field}:N", title=title, scale=_by_place(names, _SHAPES), legend=legend)


def _by_place(names: Iterable[str], looks: Sequence[Any]) -> alt.Scale:
    shown = list(dict.fromkeys(map(str, names)))
    turn = 0 if looks is REGIME_COLOURS else 1  # what begins anew begins with another partner
    chosen = [looks[(place + turn * (place // len(looks))) % len(looks)] for place in range(len(shown))]
    return alt.Scale(domain=shown, range=[one if isinstance(one, str) else list(one) for one in chosen])


def tips(*fields: str) -> list[alt.Tooltip]:
    """What is told of a mark. A field given by its bare name takes Altair 8 ms: it hashes its whole schema for it."""
    return [alt.Tooltip(field) for field in fields]


def top_legend(names: Iterable[str], *, lines: bool = False) -> alt.Legend:
    """Legend of some names over the chart, in as many columns as fit on a small screen: at the side it is cut off."""
    shown = list(dict.fromkeys(map(str, names)))
    columns = max(1, _ROW // (max(map(len, shown), default=1) + 6))
    legend = alt.Legend(values=shown, orient="top", columns=columns, labelLimit=480, symbolLimit=100)
    if lines:
        legend.symbolType, legend.symbolSize, legend.symbolStrokeWidth, legend.symbolOpacity = "stroke", 300, 2, 1
    return legend


def names_axis(*, limit: int = 180, angle: int = 0) -> alt.Axis:
    """Axis of names, none of which is left out: beside the wrong bar a name is worse than none."""
    return alt.Axis(labelLimit=limit, labelAngle=angle, labelOverlap=False)


def accuracy_points(table: pd.DataFrame) -> alt.LayerChart:
    """Accuracy, or R2, by regime and backend, with its interval; absent cells are left out.

    Parameters
    ----------
    table : DataFrame
        Tidy rows.
    """
    score = leading(set(table.measure))
    rows = present(table, score)
    scale = alt.Scale(domain=_accuracy_domain(rows))
    rows = rows[
        ["backend", "regime", "seed", "cell", "value", "low", "high", "note"]
    ]  # what is drawn alone: the rest costs time
    base = alt.Chart(rows).encode(
        y=alt.Y("regime:N", title=None, sort=list(dict.fromkeys(rows.regime)), axis=names_axis()),
        yOffset=alt.YOffset("cell:N"),
        tooltip=[*tips("backend", "regime", "seed"), alt.Tooltip("value:Q", format=".3f"), *tips("note")],
    )
    title = f"{MEASURES[score].title} on held-out examples, 95 % interval"
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("value:Q", title=title, scale=scale),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
    )
    low = alt.X("low:Q", title=title, scale=scale)
    intervals = base.mark_rule(strokeWidth=2).encode(x=low, x2=alt.X2("high:Q"), color=backend_colour(rows.backend))
    return alt.layer(intervals, points).properties(height=alt.Step(18))


def privacy_accuracy(table: pd.DataFrame) -> list[alt.LayerChart]:
    """Accuracy, or R2, against epsilon; models without a guarantee stand in a panel of their own, never at a number."""
    score = leading(set(table.measure))
    accuracy = present(table, score)
    epsilon = present(table, "epsilon")
    epsilon = epsilon.assign(protects=epsilon.privacy_unit, epsilon=epsilon.value)
    epsilon = epsilon[["backend", "regime", "seed", "epsilon", "protects"]]
    joined = accuracy.merge(epsilon, on=["backend", "regime", "seed"], how="left")
    joined["label"] = joined.regime.where(joined.epsilon.isna(), joined.epsilon.map(lambda value: at_most(value, 2)))
    scale = alt.Scale(domain=_accuracy_domain(joined))
    panels = []
    # Epsilons for examples and for users are no numbers of one kind, so they share no axis.
    for unit, title in _UNITS.items():
        rows = joined[joined.epsilon.notna() & (joined.protects == unit)]
        order = list(dict.fromkeys(rows.sort_values("epsilon").label))
        panels.append((rows, title, alt.X("label:N", title="epsilon (smaller is more private)", sort=order)))
    plain = joined[joined.epsilon.isna()]
    panels.append((plain, "without: no finite epsilon", alt.X("label:N", title="regime")))
    return [
        _accuracy_panel(rows, x=x.axis(names_axis()), scale=scale, title=title, score=score).properties(height=360)
        for rows, title, x in panels
        if len(rows)
    ]


def present(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of one measure that have a value, with a ``cell`` that tells frameworks and seeds apart."""
    rows = table[table.measure == measure].dropna(subset="value")
    many = rows.seed.nunique() > 1
    return rows.assign(cell=rows.backend + (" seed " + rows.seed.astype(str) if many else ""))


def _accuracy_domain(rows: pd.DataFrame) -> list[float]:
    low = float(rows.low.min()) - 0.01  # below 0 where a regression is worse than the mean
    return [low if low < -0.01 else max(0.0, low), min(1.0, float(rows.high.max()) + 0.01)]


def _accuracy_panel(rows: pd.DataFrame, *, x: alt.X, scale: alt.Scale, title: str, score: str) -> alt.LayerChart:
    rows = rows[["backend", "regime", "seed", "cell", "label", "value", "low", "high", "note"]]
    base = alt.Chart(rows, title=title).encode(x=x, xOffset=alt.XOffset("cell:N"))
    of_axis = f"{MEASURES[score].title}, 95 % interval"
    low = alt.Y("low:Q", title=of_axis, scale=scale)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        y=alt.Y("value:Q", title=of_axis, scale=scale),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
        tooltip=[*tips("backend", "regime", "seed"), alt.Tooltip("value:Q", format=".3f"), *tips("note")],
    )
    intervals = base.mark_rule(strokeWidth=2).encode(y=low, y2=alt.Y2("high:Q"), color=backend_colour(rows.backend))
    return alt.layer(intervals, points)
