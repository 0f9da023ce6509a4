"""Charts of federated training, as altair specifications: rounds, clients, bytes and privacy for users."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from trustml.frameworks.table import backend_names
from trustml.measures.measure import MEASURES, of_family
from trustml.privacy.statement import at_most
from trustml.report.figures import (
    INK,
    backend_colour,
    backend_scale,
    named_colour,
    named_shape,
    names_axis,
    tips,
    top_legend,
)

_BYTES = "datum.value == 0 ? '0' : format(datum.value, '.3~s') + 'B'"
_MOST_MARKS = 12
_SPREAD = ("tenth", "mean", "best")


def accuracy_by_round(
    history: pd.DataFrame, *, targets: pd.DataFrame, order: Sequence[str], height: int = 420
) -> alt.LayerChart:
    """Held-out accuracy, or R2, by round, mean over seeds; one line for each regime and framework.

    Parameters
    ----------
    history : DataFrame
        Columns ``regime``, ``backend``, ``seed``, ``round`` and ``accuracy``, or ``r2``.
    targets : DataFrame
        Columns ``regime`` and ``target``; equal targets share a line.
    order : sequence of str
        All regimes of the run, so that a regime keeps its colour when others are left out.
    height : int
    """
    score = next(name for name in history.columns if name in of_family("accuracy"))
    rows = _over_seeds(history, [score])
    title = f"{MEASURES[score].title} on held-out examples"
    lines = _lines_of_regimes(rows, alt.Y(f"{score}:Q", title=title, scale=alt.Scale(zero=False)), score, ".3f", order)
    if targets.empty:
        return alt.layer(*lines).properties(height=height)
    same = targets.groupby("target", sort=True).regime.agg(lambda names: ", ".join(dict.fromkeys(names))).reset_index()
    several = len(same) > 1
    same["label"] = same.target.map("target {:g}".format) + (": " + same.regime if several else "")
    base = alt.Chart(same).encode(y=alt.Y("target:Q"))
    rules = base.mark_rule(color=INK, strokeDash=[4, 4])
    texts = base.mark_text(align="left", baseline="bottom", dx=4, dy=-2, color=INK).encode(
        x=alt.value(0), text=alt.Text("label:N")
    )
    return alt.layer(*lines, rules, texts).properties(height=height)


def client_spread(spread: pd.DataFrame, *, order: Sequence[str]) -> list[alt.LayerChart]:
    """Accuracy of clients by round, a chart for each regime: mean as a line, 10th percentile to best client as a band.

    Parameters
    ----------
    spread : DataFrame
        Columns ``regime``, ``backend``, ``seed``, ``round``, ``mean``, ``tenth`` and ``best``.
    order : sequence of str
        All regimes of the run.
    """
    rows = _over_seeds(spread, ["mean", "tenth", "best"])
    return [_spread(part, title=name) for name, part in _by_regime(rows, order)]


def _spread(rows: pd.DataFrame, *, title: str) -> alt.LayerChart:
    legend = top_legend(backend_scale(rows.backend, lambda style: style.colour).domain, lines=True)
    base = alt.Chart(rows, title=title).encode(x=_round_axis(rows), color=backend_colour(rows.backend).legend(legend))
    tooltip = ["regime", "backend", "round", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in _SPREAD), "seeds"]
    band = base.mark_area(opacity=0.18).encode(
        y=alt.Y("tenth:Q", title="accuracy of a client", scale=alt.Scale(domain=[0, 1])), y2=alt.Y2("best:Q")
    )
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("mean:Q"), strokeDash=_backend_dash(rows, beside=False), tooltip=tooltip
    )
    return alt.layer(band, line).properties(height=340)


def sent(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of bytes that clients and server send each other."""
    measures = [name for name, one in of_family("federated").items() if one.unit == "bytes"]
    return table[table.measure.isin(measures)].dropna(subset="value")


def bytes_by_regime(table: pd.DataFrame) -> alt.LayerChart:
    """Bytes sent down and up in a round, by regime and framework.

    Parameters
    ----------
    table : DataFrame
        Tidy rows.
    """
    rows = sent(table)
    rows = rows.groupby(["regime", "backend", "measure"], sort=False).value.mean().reset_index()
    rows["way"] = rows.measure.map(lambda name: MEASURES[name].named)
    rows["size"] = rows.value.map(human_bytes)
    rows["label"] = rows["size"] + " " + rows.way.str.partition(",")[0]
    rows["cell"] = rows.regime + ", " + rows.backend
    ways = list(dict.fromkeys(rows.way))
    base = alt.Chart(rows).encode(
        y=alt.Y("cell:N", title=None, sort=list(dict.fromkeys(rows.cell)), axis=names_axis()),
        yOffset=alt.YOffset("way:N", sort=ways),
        tooltip=tips("regime", "backend", "way", "size"),
    )
    room = alt.Scale(domain=[0, float(rows.value.max()) * 1.2 or 1.0], nice=False)
    bars = base.mark_bar(opacity=0.9).encode(
        x=alt.X(
            "value:Q",
            title="bytes in a round, all its clients together",
            scale=room,
            axis=alt.Axis(labelExpr=_BYTES, tickCount=5),
        ),
        color=alt.Color(
            "way:N",
            title=None,
            scale=alt.Scale(domain=ways, range=["#5B7DB1", "#C9A227"][: len(ways)]),
            legend=top_legend(ways),
        ),
    )
    texts = base.mark_text(align="left", dx=4, color=INK).encode(x=alt.X("value:Q"), text=alt.Text("label:N"))
    return alt.layer(bars, texts).properties(height=alt.Step(16))


def user_epsilon(curves: pd.DataFrame, *, order: Sequence[str], height: int = 360) -> alt.LayerChart:
    """User-level epsilon as rounds add up; where it holds for the whole training alone, a mark at its end.

    Parameters
    ----------
    curves : DataFrame
        Columns ``models``, ``regime``, ``delta``, ``round``, ``epsilon`` and ``whole``: whether the epsilon is that
        of the whole training and says nothing of its beginning.
    order : sequence of str
        All regimes of the run.
    height : int
    """
    rows = curves[curves.epsilon > 0].assign(label=curves.epsilon.map(lambda value: at_most(value, 2)))
    colour, shape = _regime_looks(rows, order)
    deltas = " or ".join(f"{delta:g}" for delta in dict.fromkeys(rows.delta))
    base = alt.Chart(rows).encode(
        x=_round_axis(rows, title="rounds charged"),
        y=alt.Y("epsilon:Q", title=f"epsilon at user level, delta {deltas}", scale=alt.Scale(zero=True)),
        color=colour,
        tooltip=[*tips("models", "round"), alt.Tooltip("label:N", title="epsilon"), *tips("delta")],
    )
    by_steps = base.transform_filter("!datum.whole")
    lines = by_steps.mark_line(strokeWidth=2).encode(detail=alt.Detail("models:N"))
    points = by_steps.properties(data=_marked(rows)).mark_point(filled=True, size=60, opacity=1).encode(shape=shape)
    dashes = base.transform_filter("datum.whole").mark_point(shape="stroke", size=1600, strokeWidth=4)
    ends = rows[rows["round"] == rows.groupby("models")["round"].transform("max")]
    ends = ends.assign(label=ends.label.where(~ends.whole, ends.label + ", for the whole training"))
    if ends.regime.nunique() > 1:
        ends = ends.assign(label=ends.regime + " " + ends.label)
    texts = (
        alt.Chart(ends)
        .mark_text(align="right", baseline="bottom", dy=-7, fontWeight="bold")
        .encode(x=alt.X("round:Q"), y=alt.Y("epsilon:Q"), text=alt.Text("label:N"), color=colour)
    )
    return alt.layer(lines, points, dashes, texts).properties(height=height)


def participants_by_round(rounds: pd.DataFrame, *, order: Sequence[str]) -> list[alt.Chart]:
    """Clients asked and clients that answered, mean over seeds; a chart for each regime.

    Parameters
    ----------
    rounds : DataFrame
        Columns ``regime``, ``seed``, ``round``, ``asked`` and ``participants``; of regimes without privacy.
    order : sequence of str
        All regimes of the run.
    """
    # One plan serves every framework, so frameworks need no lines of their own.
    rows = rounds.groupby(["regime", "round"], sort=False)[["asked", "participants"]].mean().reset_index()
    rows = rows.rename(columns={"participants": "answered"})
    rows = rows.melt(["regime", "round"], ["asked", "answered"], var_name="clients", value_name="count")
    return [_participants(part, title=name) for name, part in _by_regime(rows, order)]


def _participants(rows: pd.DataFrame, *, title: str) -> alt.Chart:
    legend = top_legend(rows.clients, lines=True)
    colours = alt.Scale(domain=["asked", "answered"], range=["#A6A6A6", "#2E7FC2"])
    dashes = alt.Scale(domain=["asked", "answered"], range=[[1, 0], [4, 4]])
    return (
        alt.Chart(rows, title=title)
        .mark_line(strokeWidth=2)
        .encode(
            x=_round_axis(rows),
            y=alt.Y("count:Q", title="clients", scale=alt.Scale(zero=True)),
            color=alt.Color("clients:N", title=None, scale=colours, legend=legend),
            strokeDash=alt.StrokeDash("clients:N", title=None, scale=dashes, legend=legend),
            tooltip=[*tips("regime", "round", "clients"), alt.Tooltip("count:Q", format=".4~g")],
        )
        .properties(height=280)
    )


def norm_by_round(rounds: pd.DataFrame, column: str, *, title: str, order: Sequence[str]) -> alt.LayerChart:
    """One norm by round, mean over seeds; one line for each regime and framework.

    Parameters
    ----------
    rounds : DataFrame
        Columns ``regime``, ``backend``, ``seed``, ``round`` and `column`.
    column : str
    title : str
        Of the axis.
    order : sequence of str
        All regimes of the run.
    """
    rows = _over_seeds(rounds.dropna(subset=column), [column])
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=True))
    return alt.layer(*_lines_of_regimes(rows, y, column, ".4g", order)).properties(height=360)


def _lines_of_regimes(
    rows: pd.DataFrame, y: alt.Y, column: str, form: str, order: Sequence[str]
) -> tuple[alt.Chart, alt.Chart]:
    """Lines whose dash is the framework's, and on them, at some rounds, marks whose shape is the regime's."""
    tooltip = [*tips("regime", "backend", "round"), alt.Tooltip(f"{column}:Q", format=form), *tips("seeds")]
    colour, shape = _regime_looks(rows, order)
    lines = alt.Chart(rows).mark_line(strokeWidth=2)
    marks = alt.Chart(_marked(rows)).mark_point(filled=True, size=60, opacity=1)
    return (
        lines.encode(
            x=_round_axis(rows), y=y, color=colour, strokeDash=_backend_dash(rows, beside=True), tooltip=tooltip
        ),
        marks.encode(x=_round_axis(rows), y=y, color=colour, shape=shape, tooltip=tooltip),
    )


def _marked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rounds, at most a dozen of them, at which a line has marks; the last one is among them."""
    rounds = sorted(rows["round"].unique(), reverse=True)
    return rows[rows["round"].isin(rounds[:: -(-len(rounds) // _MOST_MARKS) or 1])]


def _regime_looks(rows: pd.DataFrame, order: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """One colour and shape a regime, the same in every chart of the page; the legend has those of the chart alone."""
    legend = top_legend(rows.regime)
    return (
        named_colour("regime", order, title="regime", legend=legend),
        named_shape("regime", order, title="regime", legend=legend),
    )


def human_bytes(value: float) -> str:
    """Give a number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _over_seeds(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    grouped = rows.groupby(["regime", "backend", "round"], sort=False)
    means = grouped[columns].mean().assign(seeds=grouped.seed.nunique()).reset_index()
    # Later lines are drawn above earlier ones: dashes must not lie below the line that they agree with.
    order = {name: place for place, name in enumerate(backend_names())}
    return means.sort_values("backend", key=lambda names: names.map(order), kind="stable")


def _round_axis(rows: pd.DataFrame, *, title: str = "round") -> alt.X:
    last = int(rows["round"].max()) if len(rows) else 1
    return alt.X("round:Q", title=title, axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(domain=[0, last]))


def _backend_dash(rows: pd.DataFrame, *, beside: bool) -> alt.StrokeDash:
    """Dashes of the backends; `beside` the legend of the regimes, theirs stands below the chart."""
    scale = backend_scale(rows.backend, lambda style: list(style.dash))
    legend = top_legend(scale.domain, lines=True)
    if beside:
        legend.orient = "bottom"  # two in one line would not fit on a small screen
    return alt.StrokeDash("backend:N", title="framework", scale=scale, legend=legend)


def _by_regime(rows: pd.DataFrame, order: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each regime, in the order of the run."""
    return [(name, part) for name in order if len(part := rows[rows.regime == name])]
