"""Charts of attacks, as altair specifications: ROC on log-log axes, AUC of every model, audited epsilon."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.report.attacks.frames import TINY
from trustml.report.figures import CLAIM, INK, named_colour, named_dash, named_shape, names_axis, tips, top_legend

_MARKS = {
    "claim": CLAIM,
    "shown": "#2E7FC2",
    "violation": "#D6303F",
    "estimate": "#E69F00",
    "ideal attacker, 90 %": "#A6A6A6",
    "all guesses right": INK,
}
"""What is drawn of an audit, in the order of the legend."""
DRAWN = ("lira-online-fixed", "lira-offline-fixed", "rmia-all", "rmia-1", "loss", "label-only")
"""Attacks whose ROC curves are drawn where nobody chose."""


def roc_log_log(points: pd.DataFrame, *, height: int = 420) -> alt.LayerChart:
    """ROC curves of one model; guessing is the dashed diagonal.

    Parameters
    ----------
    points : DataFrame
        Of :func:`trustml.report.attacks.frames.roc_frame`.
    height : int
    """
    axis = alt.Scale(type="log", domain=[TINY, 1.0], clamp=True)
    legend = top_legend(points.attack, lines=True)
    lines = (
        alt.Chart(points)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("false_positive_rate:Q", title="false positive rate", scale=axis),
            y=alt.Y("true_positive_rate:Q", title="true positive rate", scale=axis),
            color=named_colour("attack", points.attack, legend=legend),
            strokeDash=named_dash("attack", points.attack, legend=legend),
            tooltip=[
                *tips("attack"),
                alt.Tooltip("false_positive_rate:Q", format=".4f"),
                alt.Tooltip("true_positive_rate:Q", format=".4f"),
            ],
        )
    )
    guess = pd.DataFrame({"x": [TINY, 1.0], "y": [TINY, 1.0]})
    diagonal = alt.Chart(guess).mark_line(strokeDash=[4, 4], color=INK).encode(x=alt.X("x:Q"), y=alt.Y("y:Q"))
    return alt.layer(diagonal, lines).properties(height=height)


def auc_by_regime(frame: pd.DataFrame) -> alt.LayerChart:
    """AUC of each model by each attack; a point is a model, the rule at 0.5 is guessing.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.attacks.frames.membership_frame`.
    """
    regimes, legend = list(dict.fromkeys(frame.regime)), top_legend(frame.regime)
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, size=50, opacity=0.8)
        .encode(
            x=alt.X("auc:Q", title="AUC", scale=alt.Scale(zero=False)),
            y=alt.Y("attack:N", sort=list(dict.fromkeys(frame.attack)), title=None, axis=names_axis()),
            yOffset=alt.YOffset("regime:N", sort=regimes),
            color=named_colour("regime", regimes, legend=legend),
            shape=named_shape("regime", regimes, legend=legend),
            tooltip=[*tips("model", "attack"), alt.Tooltip("auc:Q", format=".3f"), *tips("low", "high", "note")],
        )
    )
    half = alt.Chart(pd.DataFrame({"x": [0.5]})).mark_rule(strokeDash=[4, 4], color=INK).encode(x=alt.X("x:Q"))
    return alt.layer(half, points).properties(height=alt.Step(22 if len(regimes) == 1 else 14))


def audited_epsilons(frame: pd.DataFrame) -> alt.LayerChart:
    """What each audit has shown, beside the claim, the ceiling, and what an ideal attacker would have got.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.attacks.frames.audited_frame`.
    """
    names = list(_MARKS)
    claim, within, beyond, guess, reach, right = names
    shown = frame.assign(verdict=[beyond if bad else within for bad in frame.violation])
    drawn = [name for name in names if name not in (within, beyond) or (shown.verdict == name).any()]
    scale = alt.Scale(domain=drawn, range=[_MARKS[name] for name in drawn])
    base = alt.Chart(shown).encode(
        y=alt.Y("audit:N", sort=list(shown.audit), title=None, axis=names_axis(limit=260)),
        tooltip=tips("audit", "audited", "estimate", "claim", "ceiling", "attainable", "note"),
    )
    shapes = alt.Scale(domain=[within, beyond], range=["circle", "triangle-up"])

    def marked(mark: alt.Chart, column: str, name: str) -> alt.Chart:
        return mark.encode(
            x=alt.X(f"{column}:Q", title="epsilon"),
            color=alt.ColorDatum(name, title=None),
        )

    bars = base.mark_bar(size=14, opacity=0.7)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=alt.X("audited:Q"),
        color=alt.Color("verdict:N", title=None, scale=scale, legend=top_legend(drawn)),
        shape=alt.Shape("verdict:N", scale=shapes, legend=None),
    )
    return alt.layer(
        marked(bars, "attainable_low", reach).encode(x2=alt.X2("attainable_high:Q")),
        marked(base.mark_tick(thickness=2, size=22), "ceiling", right),
        marked(base.mark_tick(thickness=4, size=22), "claim", claim),
        points,
        marked(base.mark_point(shape="diamond", size=90, strokeWidth=2), "estimate", guess),
    ).properties(height=alt.Step(34))
