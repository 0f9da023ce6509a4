"""Explanations as pictures, and how far they agree and can be trusted as charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from trustml.report.explanations.tables import rows_of_model
from trustml.report.figures import (
    INK,
    backend_colour,
    backend_shape,
    named_colour,
    named_dash,
    names_axis,
    tips,
    top_legend,
)

_LOG = alt.Scale(type="log")


def agreement_matrix(table: pd.DataFrame, *, job: str, method: str) -> alt.LayerChart:
    """Rank agreement of every pair of libraries on one model's weights, by one method."""
    rows = table[
        (table.measure == "attribution_agreement_spearman")
        & (table.job == job)
        & (table.method == method)
        & (table.pair == "same weights")
    ].dropna(subset="value")
    mirrored = rows.rename(columns={"first": "second", "second": "first"})
    both = pd.concat([rows, mirrored])[["first", "second", "value", "low", "high", "n"]]
    order = list(dict.fromkeys([*rows["first"], *rows["second"]]))
    base = alt.Chart(both).encode(
        x=alt.X("first:N", title=None, sort=order, axis=names_axis(angle=-30)),
        y=alt.Y("second:N", title=None, sort=order, axis=names_axis()),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", title="rank agreement", scale=alt.Scale(scheme="blues", domain=[0, 1])),
        tooltip=[*tips("first", "second"), alt.Tooltip("value:Q", format=".4f"), *tips("low", "high", "n")],
    )
    labels = base.mark_text().encode(
        text=alt.Text("value:Q", format=".3f"),
        color=alt.condition("datum.value > 0.6", alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, labels).properties(height=alt.Step(40))


def completeness_points(table: pd.DataFrame, *, job: str) -> alt.LayerChart:
    """Completeness error of every explanation of one model; 0 is exact."""
    rows = rows_of_model(table, job)
    rows = rows[rows.measure == "attribution_completeness_error"].dropna(subset="value")
    rows = rows.assign(explanation=rows.method + ", " + rows.subject)
    base = alt.Chart(rows).encode(y=alt.Y("explanation:N", title=None, sort="-x", axis=names_axis(limit=260)))
    bars = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("value:Q", title="completeness error (log scale)", scale=_LOG),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
        tooltip=[*tips("explanation"), alt.Tooltip("value:Q", format=".2e"), *tips("note")],
    )
    return alt.layer(bars).properties(height=alt.Step(26))


def heat_map(values: npt.NDArray[Any], *, title: str, limit: float, size: int = 150) -> alt.Chart:
    """One attribution as an image: blue is positive, red is negative, white is zero.

    Parameters
    ----------
    values : float array of shape (height, width)
    title : str
    limit : float
        Magnitude at the ends of the colours.
    size : int
        Pixels.
    """
    scale = alt.Scale(scheme="redblue", domain=[-limit, limit])
    return _pixels(values, title=title, size=size, colour=alt.Color("value:Q", scale=scale, legend=None))


def picture(values: npt.NDArray[Any], *, title: str, size: int = 150) -> alt.Chart:
    """One grey input image of shape (height, width)."""
    scale = alt.Scale(scheme="greys", reverse=True)
    return _pixels(values, title=title, size=size, colour=alt.Color("value:Q", scale=scale, legend=None))


def coloured_words(words: Sequence[tuple[str, float]], *, title: str, limit: float, width: int = 30) -> alt.LayerChart:
    """A text whose words lie on their attributions: blue is positive, red is negative, white is zero.

    Parameters
    ----------
    words : sequence of (str, float)
        Each with its attribution, in the order of the text.
    title : str
    limit : float
        Magnitude at the ends of the colours.
    width : int
        Letters of a line.
    """
    rows, line, start, widest = [], 0, 0, width
    for word, value in words:
        end = start + max(1, len(word))
        if start and end > width:
            line, start, end = line + 1, 0, end - start
        widest = max(widest, end)
        rows.append({"word": word, "value": value, "line": line, "start": start, "end": end, "half": (start + end) / 2})
        start = end
    axis = alt.X("start:Q", axis=None, scale=alt.Scale(domain=[0, widest]))
    boxes = alt.Chart(pd.DataFrame(rows), title=alt.Title(title, fontSize=11, limit=240)).encode(
        y=alt.Y("line:O", axis=None), tooltip=["word", alt.Tooltip("value:Q", format=".4g")]
    )
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="redblue", domain=[-limit, limit]), legend=None)
    strong = alt.condition(f"abs(datum.value) > {limit / 2}", alt.value("white"), alt.value("black"))
    painted = boxes.mark_rect().encode(x=axis, x2="end:Q", color=colour)
    letters = boxes.mark_text(fontSize=10, font="monospace")
    written = letters.encode(x=alt.X("half:Q", axis=None), text="word", color=strong)
    return (painted + written).properties(width=240, height=alt.Step(16))


def feature_bars(values: npt.NDArray[Any], *, title: str, limit: float, names: Sequence[str] = ()) -> alt.Chart:
    """One attribution of a table's row, a bar a feature.

    Parameters
    ----------
    values : float array of shape (features,)
    title : str
    limit : float
        Magnitude at the ends of the axis.
    names : sequence of str
        Of the features; their numbers if empty.
    """
    rows = pd.DataFrame({"feature": names or [str(i) for i in range(len(values))], "value": values.astype(float)})
    return (
        alt.Chart(rows, title=title)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="attribution", scale=alt.Scale(domain=[-limit, limit])),
            y=alt.Y("feature:N", title=None, sort=None, axis=names_axis(limit=150)),
            color=alt.condition("datum.value > 0", alt.value("#2166ac"), alt.value("#b2182b")),
            tooltip=tips("feature", "value"),
        )
        .properties(width=190, height=alt.Step(14), autosize="pad")
    )


def importance_bars(frame: pd.DataFrame) -> alt.LayerChart:
    """Mean magnitudes of the features that count most, a row a feature, with intervals over examples.

    Parameters
    ----------
    frame : DataFrame
        Columns ``explanation``, ``feature``, ``value``, ``low``, ``high``.
    """
    order = list(dict.fromkeys(frame.sort_values("value", ascending=False).feature))
    names = list(dict.fromkeys(frame.explanation))
    base = alt.Chart(frame).encode(
        y=alt.Y("feature:N", title=None, sort=order, axis=names_axis(limit=200)),
        yOffset=alt.YOffset("explanation:N", sort=names),
        color=named_colour("explanation", names, legend=top_legend(names)),
        tooltip=[*tips("explanation", "feature"), alt.Tooltip("value:Q", format=".3g"), *tips("low", "high", "n")],
    )
    bars = base.mark_bar().encode(x=alt.X("value:Q", title="mean magnitude of attributions"))
    middle = alt.YOffset("explanation:N", sort=names, bandPosition=0.5)
    spread = base.mark_rule().encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), yOffset=middle, color=alt.value(INK))
    return alt.layer(bars, spread).properties(height=alt.Step(8))


def effects_forest(table: pd.DataFrame, *, method: str) -> alt.LayerChart:
    """Effect of every regime on explanations by one method, with 95 % intervals; 0 is the seed noise floor."""
    rows = table[(table.measure == "explanation_effect") & (table.method == method)].dropna(subset="value")
    base = alt.Chart(rows).encode(y=alt.Y("subject:N", title=None, sort=None, axis=names_axis(limit=260)))
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(strokeDash=[4, 4], color=INK).encode(x=alt.X("value:Q"))
    spread = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=backend_colour(rows.backend)
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("value:Q", title="change of agreement beyond the seed floor"),
        color=backend_colour(rows.backend),
        shape=backend_shape(rows.backend),
        tooltip=[*tips("subject"), alt.Tooltip("value:Q", format=".3f"), *tips("low", "high", "note")],
    )
    return alt.layer(zero, spread, points).properties(height=alt.Step(24))


def method_matrix(agreement: pd.DataFrame) -> alt.LayerChart:
    """Rank agreement of every pair of methods on one model; columns ``first``, ``second``, ``value``."""
    order = list(dict.fromkeys([*agreement["first"], *agreement["second"]]))
    base = alt.Chart(agreement).encode(
        x=alt.X("first:N", title=None, sort=order, axis=names_axis(angle=-40, limit=160)),
        y=alt.Y("second:N", title=None, sort=order, axis=names_axis(limit=160)),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", title="rank agreement", scale=alt.Scale(scheme="redblue", domain=[-1, 1])),
        tooltip=[*tips("first", "second"), alt.Tooltip("value:Q", format=".3f")],
    )
    labels = base.mark_text(fontSize=9).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition("abs(datum.value) > 0.6", alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, labels).properties(height=alt.Step(24))


def removal_curves(curves: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Probability of the target against the share of features moved; a line a method, the control dashed.

    Parameters
    ----------
    curves : DataFrame
        Columns ``method``, ``share``, ``probability``, ``control``.
    """
    probable = bool(curves.probability.between(0, 1).all())  # else it is the output of a regression
    what = "probability of the target" if probable else "output"
    scale = alt.Scale(domain=[0, 1]) if probable else alt.Scale(zero=False)
    base = alt.Chart(curves, title=title).encode(
        x=alt.X("share:Q", title="share of features", axis=alt.Axis(format="%")),
        y=alt.Y("probability:Q", title=f"{what}, mean", scale=scale),
        tooltip=[*tips("method"), alt.Tooltip("share:Q", format=".0%"), alt.Tooltip("probability:Q", format=".3f")],
    )
    methods = curves.method[~curves.control]
    legend = top_legend(methods, lines=True)
    lines = (
        base.transform_filter("!datum.control")
        .mark_line()
        .encode(
            color=named_colour("method", methods, legend=legend),
            strokeDash=named_dash("method", methods, legend=legend),
        )
    )
    control = base.transform_filter("datum.control").mark_line(strokeDash=[5, 4], color=INK, strokeWidth=2)
    return alt.layer(lines, control).properties(height=420)


def _pixels(values: npt.NDArray[Any], *, title: str, size: int, colour: alt.Color) -> alt.Chart:
    height, width = values.shape
    rows, columns = np.mgrid[:height, :width]
    pixels = pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "value": values.ravel().astype(float)})
    return (
        alt.Chart(pixels, title=alt.Title(title, fontSize=11, limit=size + 30))
        .mark_rect()
        .encode(
            x=alt.X("column:O", axis=None),
            y=alt.Y("row:O", axis=None),
            color=colour,
            tooltip=[*tips("row", "column"), alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(width=size, height=size, autosize="pad")
    )
