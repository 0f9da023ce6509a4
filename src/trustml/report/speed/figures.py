"""Charts of time and memory, as altair specifications."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from trustml.report.figures import backend_colour, present


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
    return _bars(_over_models(table, "explain_time", factor=1e3), title="time to explain all examples, ms")


def explanation_passes(table: pd.DataFrame) -> alt.FacetChart:
    """Forward and backward passes an example took to the completeness error that was asked for."""
    return _bars(_over_models(table, "explain_passes", factor=1.0), title="passes an example, at equal error")


def _over_models(table: pd.DataFrame, measure: str, *, factor: float) -> pd.DataFrame:
    groups = present(table, measure).groupby(["backend", "subject"]).value
    found = groups.agg(value="median", low="min", high="max", n="size").reset_index()
    found[["value", "low", "high"]] *= factor
    return found.assign(what="all regimes", cell=found.subject)


def _by_regime(table: pd.DataFrame, measure: str, *, factor: float) -> pd.DataFrame:
    rows = present(table, measure)
    rows = rows.assign(**{name: rows[name] * factor for name in ("value", "low", "high")})
    return rows.assign(what=rows.regime + np.where(rows.subject == "round", ", a round", ""))


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
