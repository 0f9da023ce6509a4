"""All held-out examples as one model answers them: a table to search, and where its outputs lie."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from trustml.measures.accuracy import outputs_of
from trustml.measures.classification import decisions
from trustml.measures.evidence import Evidence
from trustml.models.answers import answers, in_unit, label_words, recorded_losses
from trustml.models.tasks import Classes, Labels, Regression
from trustml.record.schema import JobRecord
from trustml.report.figures import named_colour, named_shape, top_legend

_MOST_POINTS = 1000
MOST_PROJECTED_CLASSES = 12
"""Of a projection: with more, classes cannot be told apart."""


def examples_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame:
    """What a model answered for every held-out example.

    Returns
    -------
    DataFrame
        Columns ``held-out example`` (its number), ``explained as`` (its number among the explained examples, or
        none), ``text`` where the explained ones are texts, ``true`` and ``answered`` in words, ``right``,
        ``confidence`` and ``loss``; of a regression ``predicted`` and ``error`` instead of answers.
    """
    outputs, labels = outputs_of(evidence, record)
    task, names = evidence.task, evidence.manifest.data.class_names
    columns: dict[str, object] = {"held-out example": np.arange(len(labels)), **_explained(evidence, len(labels))}
    if isinstance(task, Regression):
        true, predicted = in_unit(task, labels)[:, 0], in_unit(task, outputs)[:, 0]
        columns |= {"true": true, "predicted": predicted, "error": predicted - true}
    else:
        confidence, right = decisions(task, outputs, labels)
        several = isinstance(task, Labels)  # right in all of its labels, as sure as of the least sure one
        columns |= {
            "true": label_words(task, labels, names),
            "answered": label_words(task, answers(task, outputs).reshape(labels.shape), names),
            "right": (right.min(axis=1) if several else right.ravel()) > 0,
            "confidence": confidence.min(axis=1) if several else confidence.ravel(),
        }
    losses = recorded_losses(task, outputs, labels).reshape(len(labels), -1).mean(axis=1)
    return pd.DataFrame({**columns, "loss": losses})


def _explained(evidence: Evidence, count: int) -> dict[str, object]:
    """Which examples were explained; their inputs alone are in the record, and so their texts."""
    heldout, asked = evidence.heldout, evidence.manifest.scenario.get("explanations", {})
    shown = len(heldout["inputs"]) if "inputs" in heldout else 0
    rows = tuple(asked.get("rows") or range(shown))[:shown]
    places = {row: place for place, row in enumerate(rows) if row < count}
    if not places:
        return {}
    found: dict[str, object] = {"explained as": pd.array([places.get(row) for row in range(count)], dtype="Int64")}
    if "tokens" in heldout:
        texts = ["".join(map(str, tokens)).rstrip() for tokens in heldout["tokens"]]
        found["text"] = [texts[places[row]] if row in places else "" for row in range(count)]
    return found


def projection_frame(evidence: Evidence, record: JobRecord) -> tuple[pd.DataFrame, float] | None:
    """Outputs of a model on held-out examples in the two directions in which they differ most.

    Returns
    -------
    (DataFrame, float), optional
        Columns ``example``, ``first``, ``second``, ``true``, ``answered`` and ``answer`` (right or wrong), at most
        1,000 evenly taken examples; and the share of the variance that the two directions have. None where a plane
        shows nothing: of fewer than three classes, or of too many.
    """
    names = evidence.manifest.data.class_names
    if not isinstance(evidence.task, Classes) or not 3 <= len(names) <= MOST_PROJECTED_CLASSES:
        return None
    outputs, labels = outputs_of(evidence, record)
    centred = outputs.astype(np.float64) - outputs.mean(axis=0, dtype=np.float64)
    if len(centred) < 3 or not np.isfinite(centred).all():
        return None
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    if not sizes[0]:
        return None
    # A direction has no sign of its own: the largest part of it points up, so that a picture is always the same.
    signs = np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(axis=1)])
    plane = centred @ (directions[:2] * signs[:, None]).T
    kept = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _MOST_POINTS)).astype(np.int64))
    said = answers(evidence.task, outputs)
    frame = pd.DataFrame(
        {
            "example": kept,
            "first": plane[kept, 0],
            "second": plane[kept, 1],
            "true": [names[int(labels[row])] for row in kept],
            "answered": [names[int(said[row])] for row in kept],
            "answer": np.where(said[kept] == labels[kept], "right", "wrong"),
        }
    )
    return frame, float((sizes[:2] ** 2).sum() / (sizes**2).sum())


def projection_points(frame: pd.DataFrame, *, title: str) -> alt.Chart:
    """Draw a projection: a colour and a shape for each true class, hollow and larger where the answer is wrong.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`projection_frame`.
    title : str
    """
    classes = sorted(set(frame.true))
    legend = top_legend(classes)
    wrong = "datum.answer == 'wrong'"
    return (
        alt.Chart(frame, title=title)
        .mark_point(strokeWidth=1.5)
        .encode(
            x=alt.X("first:Q", title="first direction"),
            y=alt.Y("second:Q", title="second direction"),
            color=named_colour("true", classes, title="true class", legend=legend),
            shape=named_shape("true", classes, title="true class", legend=legend),
            size=alt.condition(wrong, alt.value(120), alt.value(30)),
            fillOpacity=alt.condition(wrong, alt.value(0), alt.value(0.7)),
            fill=named_colour("true", classes, title="true class", legend=legend).legend(None),
            tooltip=[alt.Tooltip(name) for name in ("example", "true", "answered")],
        )
        .properties(height=420)
    )
