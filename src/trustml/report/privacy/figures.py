"""Charts of privacy statements, as altair specifications."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.privacy.statement import PrivacyStatement, at_least, at_most
from trustml.report.figures import CLAIM, tips, top_legend

POISSON = "secret Poisson batches: at most"
SHUFFLED = "shuffled epochs: at least"
UNAMPLIFIED = "nothing amplified: at most"
_LOOKS = (("#2E7FC2", (1, 0)), ("#D55E00", (2, 3)), ("#808080", (7, 4)))
"""Colour and dashes of the lines."""


def epsilon_by_steps(statement: PrivacyStatement) -> alt.LayerChart:
    """Epsilon as steps add up, under three assumptions on how batches are drawn; a cross marks the claim.

    Parameters
    ----------
    statement : PrivacyStatement
        With a curve.
    """
    curve = statement.curve
    if curve is None:
        raise ValueError(f"{statement.model}: its statement has no curve")
    lines = {POISSON: curve.poisson, SHUFFLED: curve.shuffle_lower, UNAMPLIFIED: curve.unamplified}
    looks = {
        name: look for name, look in zip(lines, _LOOKS, strict=True) if any(value is not None for value in lines[name])
    }
    rows = pd.DataFrame(
        [
            {"steps": step, "assumption": name, "epsilon": value, "bound": _bound(name, value)}
            for name in looks
            for step, value in zip(curve.steps, lines[name], strict=True)
            if value is not None and value > 0
        ]
    )
    legend = top_legend(looks, lines=True)
    colour = alt.Color(
        "assumption:N",
        title="if the batches are",
        scale=alt.Scale(domain=list(looks), range=[colour for colour, _ in looks.values()]),
        legend=legend,
    )
    base = alt.Chart(rows).encode(
        x=alt.X("steps:Q", title="steps charged"),
        y=alt.Y("epsilon:Q", title=f"epsilon at delta {statement.delta:g}", scale=alt.Scale(type="log")),
        color=colour,
        tooltip=[*tips("assumption", "steps"), alt.Tooltip("bound:N", title="epsilon")],
    )
    dashes = alt.StrokeDash(
        "assumption:N",
        title="if the batches are",
        scale=alt.Scale(domain=list(looks), range=[list(dash) for _, dash in looks.values()]),
        legend=legend,
    )
    drawn = base.mark_line(point=True, strokeWidth=2).encode(strokeDash=dashes)
    if statement.epsilon is None:
        return alt.layer(drawn).properties(height=440)
    claim = pd.DataFrame(
        [{"steps": statement.steps, "epsilon": statement.epsilon, "label": at_most(statement.epsilon, 2)}]
    )
    cross = alt.Chart(claim).mark_point(shape="cross", size=180, filled=True, color=CLAIM, opacity=1)
    text = (
        alt.Chart(claim)
        .mark_text(dx=-8, dy=-12, align="right", fontWeight="bold", color=CLAIM)
        .encode(text=alt.Text("label:N"))
    )
    marks = [part.encode(x=alt.X("steps:Q"), y=alt.Y("epsilon:Q")) for part in (cross, text)]
    return alt.layer(drawn, *marks).properties(height=440)


def _bound(assumption: str, value: float) -> str:
    return (at_least if assumption == SHUFFLED else at_most)(value, 3)
