"""Held-out score and loss while models trained: what the curves are drawn from, and the curves."""

from __future__ import annotations

import altair as alt
import pandas as pd

from trustml.errors import RecordError
from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES
from trustml.models.tasks import facts_of
from trustml.report.figures import backend_colour, backend_scale, top_legend

_HISTORY = "history.npz"


def learning_frame(evidence: Evidence) -> pd.DataFrame:
    """Score and loss on held-out examples by step, of every model that was looked at while it trained.

    Returns
    -------
    DataFrame
        Columns ``regime``, ``backend``, ``seeds``, ``by`` (step or round), ``step``, ``score`` and ``loss``; means over
        the seeds that were looked at after the same step. What cannot be read is left out.
    """
    score = facts_of(evidence.task).score
    columns = ["regime", "backend", "by", "step"]
    rows = []
    for record, _ in evidence.trained():
        if record.status != "ok" or _HISTORY not in record.artifacts:
            continue
        try:
            arrays = evidence.run.arrays(f"jobs/{record.id}/{_HISTORY}")
            by = "round" if "rounds" in arrays else "step"
            triples = zip(arrays[f"{by}s"], arrays[score], arrays["loss"], strict=True)
            rows += [
                (record.regime, record.backend, by, int(s), record.seed, float(a), float(b)) for s, a, b in triples
            ]
        except (RecordError, KeyError, ValueError):
            continue
    frame = pd.DataFrame(rows, columns=[*columns, "seed", "score", "loss"])
    grouped = frame.groupby(columns, sort=False)
    return grouped[["score", "loss"]].mean().assign(seeds=grouped.seed.nunique()).reset_index()


def learning_lines(frame: pd.DataFrame, *, of: str, score: str) -> list[alt.Chart]:
    """Draw how models learned, a chart for each regime and a line for each framework.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`learning_frame`.
    of : {"score", "loss"}
    score : str
        Measure that the score is.
    """
    what = MEASURES[score].title if of == "score" else "loss"
    lowest, highest = float(frame[of].min()), float(frame[of].max())
    scale = alt.Scale(domain=[lowest, highest], nice=True, zero=False)  # regimes are to be held beside each other
    return [
        _lines(rows, str(regime), y=alt.Y(f"{of}:Q", title=f"{what} on held-out examples", scale=scale), of=of)
        for regime, rows in frame.dropna(subset=of).groupby("regime", sort=False)
    ]


def _lines(rows: pd.DataFrame, regime: str, *, y: alt.Y, of: str) -> alt.Chart:
    legend = top_legend(backend_scale(rows.backend, lambda style: style.colour).domain, lines=True)
    dash = backend_scale(rows.backend, lambda style: list(style.dash))
    return (
        alt.Chart(rows[["backend", "step", of, "seeds"]], title=regime)
        .mark_line(strokeWidth=2, point=True)
        .encode(
            x=alt.X("step:Q", title=f"{rows.by.iloc[0]}s of training", axis=alt.Axis(tickMinStep=1, format="d")),
            y=y,
            color=backend_colour(rows.backend).legend(legend),
            strokeDash=alt.StrokeDash("backend:N", title="framework", scale=dash, legend=legend),
            tooltip=[alt.Tooltip("backend"), alt.Tooltip("step"), alt.Tooltip(of, format=".3f"), alt.Tooltip("seeds")],
        )
        .properties(height=320)
    )


CAPTION = (
    "On held-out examples, never on training examples: a training loss of a private model would be covered by no "
    "epsilon, while this follows from noisy weights, each step of which is charged. Means over seeds. Where looking "
    "would take more than a tenth of the training there is no curve."
)
