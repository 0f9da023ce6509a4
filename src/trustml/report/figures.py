"""Charts of the tidy table, as altair specifications. No dashboard needed: a notebook shows them as well."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from trustml.measures.measure import MEASURES
from trustml.privacy.statement import at_most

BACKENDS = ("torch", "jax", "tensorflow")
# Okabe and Ito's palette: told apart by colour-blind readers; shapes repeat what colour says.
_COLOURS = ("#D55E00", "#0072B2", "#009E73")
_SHAPES = ("circle", "square", "triangle-up")


def backend_colour() -> alt.Color:
    """Give the colour of each backend, the same in every chart."""
    return alt.Color("backend:N", title="framework", scale=alt.Scale(domain=list(BACKENDS), range=list(_COLOURS)))


def accuracy_points(table: pd.DataFrame) -> alt.LayerChart:
    """Accuracy by regime and backend, with its interval; absent cells are left out.

    Parameters
    ----------
    table : DataFrame
        Tidy rows.
    """
    rows = _present(table, "accuracy")
    scale = alt.Scale(domain=_accuracy_domain(rows))
    base = alt.Chart(rows).encode(
        y=alt.Y("regime:N", title=None),
        yOffset=alt.YOffset("cell:N"),
        tooltip=["backend", "regime", "seed", alt.Tooltip("value:Q", format=".3f"), "note"],
    )
    title = "accuracy on held-out examples, 95 % interval"
    points = base.mark_point(filled=True, size=90).encode(
        x=alt.X("value:Q", title=title, scale=scale), color=backend_colour(), shape=backend_shape()
    )
    low = alt.X("low:Q", title=title, scale=scale)
    intervals = base.mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", color=backend_colour())
    return alt.layer(intervals, points).properties(height=alt.Step(18))


def privacy_accuracy(table: pd.DataFrame) -> alt.HConcatChart:
    """Accuracy against epsilon; models without a guarantee stand in a panel of their own, never at a number."""
    accuracy = _present(table, "accuracy")
    epsilon = _present(table, "epsilon")
    epsilon = epsilon.assign(users=epsilon.note.str.contains("unit: user", regex=False), epsilon=epsilon.value)
    epsilon = epsilon[["backend", "regime", "seed", "epsilon", "users"]]
    joined = accuracy.merge(epsilon, on=["backend", "regime", "seed"], how="left")
    joined["label"] = joined.regime.where(joined.epsilon.isna(), joined.epsilon.map(lambda value: at_most(value, 2)))
    scale = alt.Scale(domain=_accuracy_domain(joined))
    panels = []
    # Epsilons for examples and for users are no numbers of one kind, so they share no axis.
    for users, title in ((False, "with a guarantee for examples"), (True, "with a guarantee for users")):
        rows = joined[joined.epsilon.notna() & (joined.users == users)]
        order = list(dict.fromkeys(rows.sort_values("epsilon").label))
        panels.append((rows, title, alt.X("label:N", title="epsilon (smaller is more private)", sort=order)))
    plain = joined[joined.epsilon.isna()]
    panels.append((plain, "without: no finite epsilon", alt.X("label:N", title="regime")))
    charts = [
        _accuracy_panel(rows, x=x.axis(labelAngle=0), scale=scale, title=title).properties(width=340, height=300)
        for rows, title, x in panels
        if len(rows)
    ]
    return alt.hconcat(*charts).configure_legend(orient="top")  # at the side it would be cut off


def measure_bars(table: pd.DataFrame, name: str) -> alt.FacetChart:
    """One measure as bars with their spread.

    Each regime has a panel and an axis of its own: a federated step is a whole round. What is measured of a library's
    explanations stands in one panel: median, smallest and largest over the models.

    Parameters
    ----------
    table : DataFrame
        Tidy rows.
    name : str
        Of the measure.
    """
    measure, rows = MEASURES[name], _present(table, name)
    title = ", ".join(part for part in (measure.named, measure.number.unit) if part)
    if (rows.method != "").all():
        found = rows.groupby(["backend", "subject"]).value.agg(["median", "min", "max", "size"]).reset_index()
        found = found.rename(columns={"median": "value", "min": "low", "max": "high", "size": "n"})
        rows = found.assign(what="all regimes", cell=found.subject)
    else:
        rounds = rows.subject.where(rows.subject.str.startswith("round"), "")
        rows = rows.assign(what=rows.regime + np.where(rounds == "", "", ", a " + rounds))
    factor = measure.number.factor
    return _bars(rows.assign(**{end: rows[end] * factor for end in ("value", "low", "high")}), title=title)


def _present(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    rows = table[table.measure == measure].dropna(subset="value")
    many = rows.seed.nunique() > 1
    return rows.assign(cell=rows.backend + (" seed " + rows.seed.astype(str) if many else ""))


def backend_shape() -> alt.Shape:
    """One shape a framework, the same on every page."""
    return alt.Shape("backend:N", title="framework", scale=alt.Scale(domain=list(BACKENDS), range=list(_SHAPES)))


def _accuracy_domain(rows: pd.DataFrame) -> list[float]:
    return [max(0.0, float(rows.low.min()) - 0.01), min(1.0, float(rows.high.max()) + 0.01)]


def _accuracy_panel(rows: pd.DataFrame, *, x: alt.X, scale: alt.Scale, title: str) -> alt.LayerChart:
    base = alt.Chart(rows, title=title).encode(x=x, xOffset=alt.XOffset("cell:N"))
    low = alt.Y("low:Q", title="accuracy, 95 % interval", scale=scale)
    points = base.mark_point(filled=True, size=110).encode(
        y=alt.Y("value:Q", title="accuracy, 95 % interval", scale=scale),
        color=backend_colour(),
        shape=backend_shape(),
        tooltip=["backend", "regime", "seed", alt.Tooltip("value:Q", format=".3f"), "note"],
    )
    return alt.layer(base.mark_rule(strokeWidth=2).encode(y=low, y2="high:Q", color=backend_colour()), points)


def _bars(rows: pd.DataFrame, *, title: str) -> alt.FacetChart:
    """Bars from zero with their spread, one panel and one axis for each value of ``what``."""
    rows = rows.assign(end=rows[["value", "high"]].max(axis=1))
    base = alt.Chart().encode(y=alt.Y("cell:N", title=None, axis=alt.Axis(labelLimit=160)))
    bars = base.mark_bar(opacity=0.85).encode(
        x=alt.X("value:Q", title=title, scale=alt.Scale(zero=True)),
        color=backend_colour().legend(None),
        tooltip=["backend", alt.Tooltip("value:Q", format=".4g"), "low", "high", "n"],
    )
    spread = base.mark_rule(strokeWidth=2, color="black").encode(x="low:Q", x2="high:Q")
    labels = base.mark_text(align="left", dx=6).encode(x="end:Q", text=alt.Text("value:Q", format=",.4~r"))
    return (
        alt.layer(bars, spread, labels, data=rows)
        .properties(width=540, height=alt.Step(24))
        .facet(row=alt.Row("what:N", title=None, header=alt.Header(labelAngle=0, labelAlign="left")))
        .resolve_scale(x="independent", y="independent")
    )
