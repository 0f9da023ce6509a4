"""Charts of time and memory, as altair specifications."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from trustml.measures.measure import MEASURES
from trustml.report.figures import backend_colour, present


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
    measure, rows = MEASURES[name], present(table, name)
    title = ", ".join(part for part in (measure.named, measure.number.unit) if part)
    if (rows.method != "").all():
        found = rows.groupby(["backend", "subject"]).value.agg(["median", "min", "max", "size"]).reset_index()
        found = found.rename(columns={"median": "value", "min": "low", "max": "high", "size": "n"})
        rows = found.assign(what="all regimes", cell=found.subject)
    else:
        rounds = rows.subject.where(rows.subject == "round", "")
        rows = rows.assign(what=rows.regime + np.where(rounds == "", "", ", a " + rounds))
    factor = measure.number.factor
    return _bars(rows.assign(**{end: rows[end] * factor for end in ("value", "low", "high")}), title=title)


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
