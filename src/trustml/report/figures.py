"""Charts of the tidy table, as altair specifications. No dashboard needed: a notebook shows them as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from trustml.frameworks.entry import Style
from trustml.frameworks.table import backend_names, entry_of
from trustml.privacy.statement import at_most

if TYPE_CHECKING:
    pass


def backend_scale(look: Callable[[Style], Any]) -> alt.Scale:
    """Give each backend a look of its own, the same in every chart."""
    styles = {name: entry_of(name).style for name in backend_names()}
    return alt.Scale(domain=list(styles), range=[look(style) for style in styles.values()])


def backend_colour() -> alt.Color:
    """Give the colour of each backend, the same in every chart."""
    return alt.Color("backend:N", title="framework", scale=backend_scale(lambda style: style.colour))


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


def step_times(table: pd.DataFrame) -> alt.FacetChart:
    """Median step time with quartiles; each regime has an axis of its own, for a federated step is a round."""
    return _bars(_by_regime(table, "step_time_median", factor=1e3), title="time of one step after the first, ms")


def first_steps(table: pd.DataFrame) -> alt.FacetChart:
    """Time of the first step, with tracing and compiling."""
    return _bars(_by_regime(table, "step_time_first", factor=1.0), title="time of the first step, s")


def memory(table: pd.DataFrame) -> alt.FacetChart:
    """Peak memory of each training."""
    return _bars(_by_regime(table, "peak_memory", factor=2**-20), title="peak memory of the worker, MiB")


def throughput(table: pd.DataFrame) -> alt.FacetChart:
    """Examples a second after the first step."""
    return _bars(_by_regime(table, "examples_per_second", factor=1.0), title="examples per second")


def explanation_times(table: pd.DataFrame) -> alt.FacetChart:
    """Time of one call that explains all chosen examples: median, smallest and largest over the models."""
    rows = _present(table, "explain_time")
    found = rows.groupby(["backend", "subject"]).value.agg(["median", "min", "max", "size"]).reset_index()
    found = found.rename(columns={"median": "value", "min": "low", "max": "high", "size": "n"})
    found[["value", "low", "high"]] *= 1e3
    return _bars(found.assign(what="all regimes", cell=found.subject), title="time to explain all examples, ms")


def explanation_passes(table: pd.DataFrame) -> alt.FacetChart:
    """Forward and backward passes an example took to the completeness error that was asked for."""
    rows = _present(table, "explain_passes")
    found = rows.groupby(["backend", "subject"]).value.agg(["median", "min", "max", "size"]).reset_index()
    found = found.rename(columns={"median": "value", "min": "low", "max": "high", "size": "n"})
    return _bars(found.assign(what="all regimes", cell=found.subject), title="passes an example, at equal error")


def _present(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    rows = table[table.measure == measure].dropna(subset="value")
    many = rows.seed.nunique() > 1
    return rows.assign(cell=rows.backend + (" seed " + rows.seed.astype(str) if many else ""))


def backend_shape() -> alt.Shape:
    """One shape a framework, the same on every page."""
    return alt.Shape("backend:N", title="framework", scale=backend_scale(lambda style: style.shape))


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


def _by_regime(table: pd.DataFrame, measure: str, *, factor: float) -> pd.DataFrame:
    rows = _present(table, measure)
    rows = rows.assign(**{name: rows[name] * factor for name in ("value", "low", "high")})
    rounds = rows.subject.where(rows.subject.str.startswith("round"), "")
    return rows.assign(what=rows.regime + np.where(rounds == "", "", ", a " + rounds))


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
