"""Charts of how good models are in detail, as altair specifications."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.report.figures import INK, backend_colour, backend_shape, names_axis

_CURVE = "#2E7FC2"


def reliability_curve(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Share that is right against confidence; on the dashed diagonal confidence is what it says.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.frames.reliability_frame`.
    title : str
    """
    scale = alt.Scale(domain=[0, 1])
    diagonal = alt.Chart(pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})).mark_line(strokeDash=[4, 4], color=INK)
    base = alt.Chart(frame, title=title).encode(x=alt.X("confidence:Q", title="confidence in the answer", scale=scale))
    points = base.mark_line(point=True, color=_CURVE).encode(
        y=alt.Y("right:Q", title="share that is right", scale=scale),
        tooltip=[
            alt.Tooltip("confidence:Q", format=".3f"),
            alt.Tooltip("right:Q", format=".3f"),
            alt.Tooltip("low:Q", format=".3f"),
            alt.Tooltip("high:Q", format=".3f"),
            "n",
        ],
    )
    spread = base.mark_rule(strokeWidth=2, color=_CURVE).encode(y="low:Q", y2="high:Q")
    return alt.layer(diagonal.encode(x="x:Q", y="y:Q"), spread, points).properties(height=320)


def confusion_matrix(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """What was answered for each true class; a colour is the share of the true class, a number the count.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.frames.confusion_frame`.
    title : str
    """
    order = list(dict.fromkeys(frame.true))
    base = alt.Chart(frame, title=title).encode(
        x=alt.X(
            "answered:N", title="answered", sort=order, axis=names_axis(angle=-30 if max(map(len, order)) > 3 else 0)
        ),
        y=alt.Y("true:N", title="true class", sort=order, axis=names_axis()),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("share:Q", title="of the true class", scale=alt.Scale(scheme="blues", domain=[0, 1])),
        tooltip=["true", "answered", "count", alt.Tooltip("share:Q", format=".3f")],
    )
    labels = base.mark_text(fontSize=10).encode(
        text=alt.Text("count:Q", format=",d"),
        color=alt.condition("datum.share > 0.6", alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, labels).properties(height=alt.Step(26))


def slice_points(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Accuracy of one regime in every group with its interval.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.frames.slice_frame`, the rows of one regime.
    title : str
    """
    rows = frame.assign(label=frame.group + " (n " + frame.n.map("{:,}".format) + ")")
    base = alt.Chart(rows, title=title).encode(
        y=alt.Y("label:N", title=None, sort=list(dict.fromkeys(rows.label)), axis=names_axis()),
        yOffset=alt.YOffset("cell:N"),
        tooltip=["group", "backend", "seed", alt.Tooltip("value:Q", format=".3f"), "low", "high", "n"],
    )
    of_axis, scale = "accuracy on held-out examples, 95 % interval", alt.Scale(domain=[0, 1])
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=of_axis, scale=scale), x2="high:Q", color=backend_colour(rows.backend)
    )
    points = base.mark_point(filled=True, size=90).encode(
        x=alt.X("value:Q", title=of_axis, scale=scale),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
    )
    return alt.layer(intervals, points).properties(height=alt.Step(14))
