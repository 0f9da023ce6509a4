"""A benchmark as charts: times with their quartiles, ratios as dots beside the bars they are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from trustml.report.figures import INK
from trustml_bench.judge import Judged
from trustml_bench.results import Result
from trustml_bench.tables import bars_frame, bench_frame, milliseconds, number

_LEGEND = alt.Legend(orient="top")  # at the side it would be cut off on a small screen
# Okabe and Ito's palette; shapes repeat what colour says.
_ROLES = {"ours": ("#0072B2", "circle"), "floor": ("#999999", "square"), "peer": ("#E69F00", "triangle-up")}
_VERDICTS = {
    "met": ("#009E73", "circle"),
    "met within noise": ("#56B4E9", "diamond"),
    "not met": ("#D55E00", "cross"),
}


def time_dots(result: Result, allocator: str) -> list[alt.LayerChart]:
    """Median of a call with quartiles, a chart for each workload, fastest first; none where nothing was measured so.

    Dots, not bars: engines lie up to a thousand times apart, and on a logarithmic axis a bar has no length.
    """
    table = bench_frame(result)
    if table.empty:
        return []
    rows = table[(table.measure == "bench_time") & (table.method == allocator)].dropna(subset="value")
    roles = {one.engine: one.role for one in result.measured}
    rows = rows.assign(role=rows.subject.map(roles), ms=rows.value * 1e3, low=rows.low * 1e3, high=rows.high * 1e3)
    return [_time_panel(part, str(workload)) for workload, part in rows.groupby("job", sort=False)]


def ratio_dots(judged: Sequence[Judged]) -> list[alt.LayerChart]:
    """Every measured bar as a dot with its 90 % interval; a tick is the bar, a dotted line means equal times.

    Two charts: ratios that must be at most the bar, and those that must be at least it.
    """
    judged = [one for one in judged if one.ratio is not None]
    if not judged:
        return []
    rows = bars_frame(judged)
    rows = rows.assign(
        label=rows.what + ", " + rows.workload.str.partition("/")[2] + ", " + rows.allocator,
        text=rows.ratio.map(number),
        over=rows.bar.str.startswith("<="),
    )
    return [
        _ratio_panel(part, title)
        for over, title in ((True, "at most: left of the tick is met"), (False, "at least: right of the tick is met"))
        if len(part := rows[rows.over == over])
    ]


def _time_panel(rows: pd.DataFrame, workload: str) -> alt.LayerChart:
    rows = rows.sort_values("ms").assign(text=rows.value.map(milliseconds), quartiles=_quartiles(rows))
    scale = alt.Scale(type="log", domain=[float(rows.low.min()) / 1.5, float(rows.high.max()) * 2], nice=False)
    title = "time of one call with quartiles, ms (logarithmic)"
    axis = alt.Axis(labelLimit=260, labelOverlap=False, grid=True, gridDash=[1, 3])
    base = alt.Chart(rows, title=workload).encode(y=alt.Y("subject:N", title=None, sort=list(rows.subject), axis=axis))
    colours = alt.Scale(domain=list(_ROLES), range=[colour for colour, _ in _ROLES.values()])
    shapes = alt.Scale(domain=list(_ROLES), range=[shape for _, shape in _ROLES.values()])
    dots = base.mark_point(filled=True, size=100, opacity=1).encode(
        x=alt.X("ms:Q", title=title, scale=scale),
        color=alt.Color("role:N", title="", scale=colours, legend=_LEGEND),
        shape=alt.Shape("role:N", title="", scale=shapes, legend=_LEGEND),
        tooltip=["subject", "text", "quartiles", "n", "note"],
    )
    spread = base.mark_rule(strokeWidth=2, color=INK).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    labels = base.mark_text(align="left", dx=8, color=INK).encode(x=alt.X("high:Q", title=title), text="text:N")
    return alt.layer(spread, dots, labels).properties(height=alt.Step(20))


def _quartiles(rows: pd.DataFrame) -> pd.Series:
    return (rows.low / 1e3).map(milliseconds) + " - " + (rows.high / 1e3).map(milliseconds)


def _ratio_panel(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    domain = list(_VERDICTS)
    colours, shapes = (list(part) for part in zip(*_VERDICTS.values(), strict=True))
    ends = [float(rows[["low", "bound"]].min().min()) / 1.3, float(rows[["high", "bound"]].max().max()) * 1.5]
    scale = alt.Scale(type="log", domain=[min(ends[0], 0.9), max(ends[1], 1.1)], nice=False)
    base = alt.Chart(rows, title=title).encode(
        y=alt.Y("label:N", title=None, sort=list(rows.label), axis=alt.Axis(labelLimit=260, labelOverlap=False))
    )
    what = "ratio, 90 % interval (logarithmic)"
    colour = alt.Color("verdict:N", title="", scale=alt.Scale(domain=domain, range=colours), legend=_LEGEND)
    shape = alt.Shape("verdict:N", title="", scale=alt.Scale(domain=domain, range=shapes), legend=_LEGEND)
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("ratio:Q", title=what, scale=scale),
        color=colour,
        shape=shape,
        tooltip=["what", "workload", "allocator", "text", "bar", "verdict", "engines", "turns", "reason"],
    )
    spread = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=what), x2="high:Q", color=colour)
    ticks = base.mark_tick(color=INK, thickness=3, size=16).encode(x=alt.X("bound:Q", title=what))
    labels = base.mark_text(align="left", dx=8, color=INK).encode(x=alt.X("high:Q", title=what), text="text:N")
    equal = (
        alt.Chart(pd.DataFrame({"one": [1.0]}))
        .mark_rule(strokeDash=[2, 2], color=INK)
        .encode(x=alt.X("one:Q", title=what))
    )
    return alt.layer(equal, spread, ticks, dots, labels).properties(height=alt.Step(20))
