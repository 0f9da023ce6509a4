"""Charts of federated training, as altair specifications: rounds, clients, bytes and privacy for users."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from trustml.frameworks.table import backend_names
from trustml.measures.measure import MEASURES, of_family
from trustml.privacy.statement import at_most
from trustml.report.figures import REGIME_COLOURS, backend_colour, backend_scale

_BYTES = "datum.value == 0 ? '0' : format(datum.value, '.3~s') + 'B'"
_PANEL = {"width": 245, "height": 190}
_COLUMNS = 3
_SPREAD = ("tenth", "mean", "best")


def accuracy_by_round(
    history: pd.DataFrame, *, targets: pd.DataFrame, order: Sequence[str], height: int = 380
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
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=_round_axis(rows),
            y=alt.Y(f"{score}:Q", title=f"{MEASURES[score].title} on held-out examples", scale=alt.Scale(zero=False)),
            color=regime_colour(rows.regime, order),
            strokeDash=_backend_dash(rows),
            tooltip=["regime", "backend", "round", alt.Tooltip(f"{score}:Q", format=".3f"), "seeds"],
        )
    )
    if targets.empty:
        return alt.layer(lines).properties(height=height)
    same = targets.groupby("target", sort=True).regime.agg(lambda names: ", ".join(dict.fromkeys(names))).reset_index()
    several = len(same) > 1
    same["label"] = same.target.map("target {:g}".format) + (": " + same.regime if several else "")
    base = alt.Chart(same).encode(y="target:Q")
    rules = base.mark_rule(color="black", strokeDash=[4, 4], opacity=0.7)
    texts = base.mark_text(align="left", baseline="bottom", dx=4, dy=-2, color="black").encode(
        x=alt.value(0), text="label:N"
    )
    return alt.layer(lines, rules, texts).properties(height=height)


def client_spread(spread: pd.DataFrame, *, order: Sequence[str]) -> alt.FacetChart:
    """Accuracy of clients by round: mean as a line, from the 10th percentile to the best client as a band.

    Parameters
    ----------
    spread : DataFrame
        Columns ``regime``, ``backend``, ``seed``, ``round``, ``mean``, ``tenth`` and ``best``.
    order : sequence of str
        All regimes of the run.
    """
    rows = _over_seeds(spread, ["mean", "tenth", "best"])
    base = alt.Chart().encode(x=_round_axis(rows), color=backend_colour().legend(_line_legend(rows.backend)))
    tooltip = ["regime", "backend", "round", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in _SPREAD), "seeds"]
    band = base.mark_area(opacity=0.18).encode(
        y=alt.Y("tenth:Q", title="accuracy of a client", scale=alt.Scale(domain=[0, 1])), y2="best:Q"
    )
    line = base.mark_line(strokeWidth=2).encode(y="mean:Q", strokeDash=_backend_dash(rows), tooltip=tooltip)
    return _panels(alt.layer(band, line, data=rows), order=order)


def sent(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of bytes that clients and server send each other."""
    measures = [name for name, one in of_family("federated").items() if one.unit == "bytes"]
    return table[table.measure.isin(measures)].dropna(subset="value")


def bytes_by_regime(table: pd.DataFrame) -> alt.FacetChart:
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
    base = alt.Chart().encode(
        y=alt.Y("backend:N", title=None), yOffset=alt.YOffset("way:N"), tooltip=["regime", "backend", "way", "size"]
    )
    bars = base.mark_bar(opacity=0.9).encode(
        x=alt.X("value:Q", title="bytes in a round, all its clients together", axis=alt.Axis(labelExpr=_BYTES)),
        color=alt.Color(
            "way:N", title=None, scale=alt.Scale(range=["#5B7DB1", "#C9A227"]), legend=alt.Legend(orient="top")
        ),
    )
    texts = base.mark_text(align="left", dx=4).encode(x="value:Q", text="size:N")
    header = alt.Header(labelAngle=0, labelAlign="left", labelLimit=200)
    return (
        alt.layer(bars, texts, data=rows)
        .properties(width=620, height=alt.Step(16))
        .facet(row=alt.Row("regime:N", title=None, header=header, sort=list(dict.fromkeys(rows.regime))), spacing=8)
        .resolve_scale(y="independent")
    )


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
    deltas = " or ".join(f"{delta:g}" for delta in dict.fromkeys(rows.delta))
    base = alt.Chart(rows).encode(
        x=_round_axis(rows, title="rounds charged"),
        y=alt.Y("epsilon:Q", title=f"epsilon at user level, delta {deltas}", scale=alt.Scale(zero=True)),
        color=regime_colour(rows.regime, order),
        tooltip=["models", "round", alt.Tooltip("epsilon:Q", format=".3f"), "delta"],
    )
    lines = base.transform_filter("!datum.whole").mark_line(strokeWidth=2, point=True).encode(detail="models:N")
    dashes = base.transform_filter("datum.whole").mark_point(shape="stroke", size=1600, strokeWidth=4)
    ends = rows[rows["round"] == rows.groupby("models")["round"].transform("max")]
    ends = ends.assign(label=ends.label.where(~ends.whole, ends.label + ", for the whole training"))
    texts = (
        alt.Chart(ends)
        .mark_text(align="right", baseline="bottom", dy=-7, fontWeight="bold")
        .encode(x="round:Q", y="epsilon:Q", text="label:N", color=regime_colour(rows.regime, order))
    )
    return alt.layer(lines, dashes, texts).properties(height=height)


def participants_by_round(rounds: pd.DataFrame, *, order: Sequence[str]) -> alt.FacetChart:
    """Clients asked and clients that answered, mean over seeds.

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
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=_round_axis(rows),
            y=alt.Y("count:Q", title="clients", scale=alt.Scale(zero=True)),
            color=alt.Color(
                "clients:N",
                title=None,
                scale=alt.Scale(domain=["asked", "answered"], range=["#999999", "#000000"]),
                legend=_line_legend(rows.clients),
            ),
            strokeDash=alt.StrokeDash(
                "clients:N",
                title=None,
                scale=alt.Scale(domain=["asked", "answered"], range=[[1, 0], [4, 4]]),
                legend=_line_legend(rows.clients),
            ),
            tooltip=["regime", "round", "clients", alt.Tooltip("count:Q", format=".4~g")],
        )
    )
    return _panels(lines, order=order)


def norm_by_round(rounds: pd.DataFrame, column: str, *, title: str, order: Sequence[str]) -> alt.Chart:
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
    return (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=_round_axis(rows),
            y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=True)),
            color=regime_colour(rows.regime, order),
            strokeDash=_backend_dash(rows),
            tooltip=["regime", "backend", "round", alt.Tooltip(f"{column}:Q", format=".4g"), "seeds"],
        )
        .properties(height=300)
    )


def regime_colour(regimes: pd.Series[str], order: Sequence[str]) -> alt.Color:
    """One colour a regime, the same in every chart of the page; the legend has those of the chart alone."""
    colours = [REGIME_COLOURS[index % len(REGIME_COLOURS)] for index in range(len(order))]
    scale = alt.Scale(domain=list(order), range=colours)
    return alt.Color("regime:N", title="regime", scale=scale, legend=_line_legend(regimes))


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


def _backend_dash(rows: pd.DataFrame) -> alt.StrokeDash:
    scale = backend_scale(lambda style: list(style.dash))
    return alt.StrokeDash("backend:N", title="framework", scale=scale, legend=_line_legend(rows.backend))


def _line_legend(values: pd.Series[str]) -> alt.Legend:
    """Legend with strokes for symbols, of what is in the chart alone."""
    return alt.Legend(
        values=list(dict.fromkeys(values)), symbolType="stroke", symbolSize=300, symbolStrokeWidth=2, symbolOpacity=1
    )


def _panels(chart: alt.Chart | alt.LayerChart, *, order: Sequence[str]) -> alt.FacetChart:
    facet = alt.Facet("regime:N", title=None, sort=list(order), header=alt.Header(labelFontWeight="bold"))
    return chart.properties(**_PANEL).facet(facet, columns=_COLUMNS)
