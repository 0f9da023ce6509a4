"""Charts of time and memory, as altair specifications."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES
from trustml.report.figures import INK, backend_colour, names_axis, present, tips


def measure_bars(table: pd.DataFrame, name: str) -> list[alt.LayerChart]:
    """One measure as bars with their spread, a chart for each regime.

    Each regime has a chart and an axis of its own: a federated step is a whole round. What is measured of a library's
    explanations stands in one chart: median, smallest and largest over the models.

    Parameters
    ----------
    table : DataFrame
        Tidy rows.
    name : str
        Of the measure.
    """
    measure, rows = MEASURES[name], present(table, name)
    title = ", ".join(part for part in (measure.named, measure.number.unit, _error(rows)) if part)
    if (rows.method != "").all():
        found = rows.groupby(["backend", "subject"]).value.agg(["median", "min", "max", "size"]).reset_index()
        found = found.rename(columns={"median": "value", "min": "low", "max": "high", "size": "n"})
        rows = found.assign(what="all regimes", cell=found.subject)
    else:
        rows = rows.assign(what=rows.regime.where(rows.subject != "round", rows.regime + ", a round"))
    factor = measure.number.factor
    rows = rows.assign(**{end: rows[end] * factor for end in ("value", "low", "high")})
    return [_bars(part, heading=str(what), title=title) for what, part in rows.groupby("what", sort=False)]


def _error(rows: pd.DataFrame) -> str:
    """Words for the error that was asked for, where one was."""
    asked = set(fact_of(rows, "wanted_error", default=0.0))
    return (
        "" if 0.0 in asked else f"at the completeness error asked for ({', '.join(map('{:g}'.format, sorted(asked)))})"
    )


def _bars(rows: pd.DataFrame, *, heading: str, title: str) -> alt.LayerChart:
    """Bars from zero with their spread."""
    rows = rows[["backend", "cell", "value", "low", "high", "n"]].assign(end=rows[["value", "high"]].max(axis=1))
    axis = names_axis()
    axis.minExtent = 120
    base = alt.Chart(title=heading).encode(y=alt.Y("cell:N", title=None, sort=None, axis=axis))
    # Room for the label after the longest bar.
    scale = alt.Scale(domain=[0, float(rows.end.max()) * 1.12 or 1.0], nice=False)
    bars = base.mark_bar(opacity=0.85).encode(
        x=alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6)),
        color=backend_colour(rows.backend).legend(None),
        tooltip=[*tips("backend"), alt.Tooltip("value:Q", format=".4g"), *tips("low", "high", "n")],
    )
    spread = base.mark_rule(strokeWidth=2, color=INK).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    labels = base.mark_text(align="left", dx=6, color=INK).encode(
        x=alt.X("end:Q"), text=alt.Text("value:Q", format=",.4~r")
    )
    # Rows are given once: those of layers are written out as text to be told apart, which takes most of the time.
    return alt.layer(bars, spread, labels, data=rows).properties(height=alt.Step(24))
