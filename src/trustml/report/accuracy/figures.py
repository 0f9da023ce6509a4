"""Charts of how good models are in detail, as altair specifications."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.report.figures import INK, backend_colour, backend_shape, named_colour, named_dash, names_axis, top_legend

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
    return alt.layer(_diagonal(0.0, 1.0), spread, points).properties(height=320)


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


def roc_curves(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Recall against false positives over all thresholds; guessing is the dashed diagonal.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.scores.score_curves`.
    title : str
    """
    lines = _over_thresholds(frame, x="false_positives", of_x="false positives, share", y="recall", of_y="recall")
    return alt.layer(_diagonal(0.0, 1.0), lines, title=title).properties(height=420)


def precision_recall(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Precision against recall over all thresholds.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.scores.score_curves`.
    title : str
    """
    there = frame[frame.precision.notna()]
    lines = _over_thresholds(there, x="recall", of_x="recall", y="precision", of_y="precision")
    return alt.layer(lines, title=title).properties(height=420)


def _over_thresholds(frame: pd.DataFrame, *, x: str, of_x: str, y: str, of_y: str) -> alt.Chart:
    scale, legend = alt.Scale(domain=[0, 1]), top_legend(frame.curve, lines=True)
    return (
        alt.Chart(frame[["curve", "threshold", x, y]])
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(f"{x}:Q", title=of_x, scale=scale),
            y=alt.Y(f"{y}:Q", title=of_y, scale=scale),
            order=alt.Order("threshold:Q", sort="descending"),
            color=named_colour("curve", frame.curve, title="class", legend=legend),
            strokeDash=named_dash("curve", frame.curve, title="class", legend=legend),
            tooltip=["curve", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("threshold", x, y))],
        )
    )


def _diagonal(low: float, high: float) -> alt.Chart:
    ends = pd.DataFrame({"x": [low, high], "y": [low, high]})
    return alt.Chart(ends).mark_line(strokeDash=[4, 4], color=INK).encode(x="x:Q", y="y:Q")


def predicted_against_true(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Predicted against true numbers; on the dashed diagonal a prediction is right.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.scores.predicted_frame`.
    title : str
    """
    ends = [float(frame[["true", "predicted"]].to_numpy().min()), float(frame[["true", "predicted"]].to_numpy().max())]
    scale = alt.Scale(domain=ends, nice=True, zero=False)
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=24, opacity=0.5, color=_CURVE)
        .encode(
            x=alt.X("true:Q", title="true", scale=scale),
            y=alt.Y("predicted:Q", title="predicted", scale=scale),
            tooltip=[alt.Tooltip(f"{name}:Q", format=",.4~g") for name in ("true", "predicted", "error")],
        )
    )
    return alt.layer(_diagonal(ends[0], ends[1]), points, title=title).properties(height=320)


def error_bars(frame: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """How many predictions are how far off; the dashed rule is no error.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.accuracy.scores.error_frame`.
    title : str
    """
    bars = (
        alt.Chart(frame)
        .mark_bar(color=_CURVE)
        .encode(
            x=alt.X("low:Q", title="predicted less true", bin=alt.BinParams(binned=True)),
            x2="high:Q",
            y=alt.Y("count:Q", title="held-out examples"),
            tooltip=[alt.Tooltip("low:Q", format=",.4~g"), alt.Tooltip("high:Q", format=",.4~g"), "count"],
        )
    )
    rule = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(strokeDash=[4, 4], color=INK).encode(x="x:Q")
    return alt.layer(bars, rule, title=title).properties(height=240)


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
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("value:Q", title=of_axis, scale=scale),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
    )
    return alt.layer(intervals, points).properties(height=alt.Step(14))
