"""Charts of attacks, as altair specifications: ROC on log-log axes, AUC of every model, audited epsilon."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.report.attacks.frames import TINY
from trustml.report.figures import REGIME_COLOURS

_VIOLATION, _HOLDS = "#B2182B", "#2166AC"


def roc_log_log(points: pd.DataFrame, *, height: int = 420) -> alt.LayerChart:
    """ROC curves of one model; guessing is the dashed diagonal.

    Parameters
    ----------
    points : DataFrame
        Of :func:`trustml.report.attacks.frames.roc_frame`.
    height : int
    """
    axis = alt.Scale(type="log", domain=[TINY, 1.0], clamp=True)
    lines = (
        alt.Chart(points)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("false_positive_rate:Q", title="false positive rate", scale=axis),
            y=alt.Y("true_positive_rate:Q", title="true positive rate", scale=axis),
            color=alt.Color("attack:N", scale=alt.Scale(range=list(REGIME_COLOURS)), sort=None),
            tooltip=[
                "attack",
                alt.Tooltip("false_positive_rate:Q", format=".4f"),
                alt.Tooltip("true_positive_rate:Q", format=".4f"),
            ],
        )
    )
    guess = pd.DataFrame({"x": [TINY, 1.0], "y": [TINY, 1.0]})
    diagonal = alt.Chart(guess).mark_line(strokeDash=[4, 4], color="grey").encode(x="x:Q", y="y:Q")
    return alt.layer(diagonal, lines).properties(height=height, width=height)


def auc_by_regime(frame: pd.DataFrame) -> alt.FacetChart:
    """AUC of each model by each attack; a point is a model, the rule at 0.5 is guessing.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.attacks.frames.membership_frame`.
    """
    base = alt.Chart(frame)
    points = base.mark_point(filled=True, size=40, opacity=0.6).encode(
        x=alt.X("auc:Q", title="AUC", scale=alt.Scale(zero=False)),
        y=alt.Y("attack:N", sort=None, title=None),
        color=alt.Color("regime:N", scale=alt.Scale(range=list(REGIME_COLOURS)), sort=None),
        tooltip=["model", "attack", alt.Tooltip("auc:Q", format=".3f"), "low", "high", "note"],
    )
    half = base.mark_rule(strokeDash=[4, 4], color="grey").encode(x=alt.datum(0.5))
    return alt.layer(half, points, data=frame).properties(width=320).facet(alt.Facet("regime:N", title=None, sort=None))


def audited_epsilons(frame: pd.DataFrame) -> alt.LayerChart:
    """What each audit has shown, beside the claim, the ceiling, and what an ideal attacker would have got.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`trustml.report.attacks.frames.audited_frame`.
    """
    shown = frame.assign(verdict=["violation" if bad else "claim holds so far" for bad in frame.violation])
    base = alt.Chart(shown).encode(y=alt.Y("audit:N", sort=None, title=None, axis=alt.Axis(labelLimit=320)))
    tooltip = ["audit", "audited", "estimate", "claim", "ceiling", "attainable", "note"]
    reach = base.mark_bar(size=14, color="#D9D9D9").encode(
        x=alt.X("attainable_low:Q", title="epsilon"), x2="attainable_high:Q", tooltip=tooltip
    )
    audited = base.mark_point(filled=True, size=110).encode(
        x="audited:Q",
        color=alt.Color(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=["violation", "claim holds so far"], range=[_VIOLATION, _HOLDS]),
        ),
        shape=alt.Shape(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=["violation", "claim holds so far"], range=["triangle-up", "circle"]),
        ),
        tooltip=tooltip,
    )
    estimate = base.mark_point(shape="diamond", size=90, color="black").encode(x="estimate:Q", tooltip=tooltip)
    claim = base.mark_tick(thickness=3, size=22, color="black").encode(x="claim:Q", tooltip=tooltip)
    ceiling = base.mark_tick(thickness=2, size=22, color="#B0B0B0").encode(x="ceiling:Q", tooltip=tooltip)
    return alt.layer(reach, ceiling, claim, audited, estimate).properties(height=alt.Step(34))
