"""How a model's answers change when one feature goes over its range and all else stays: partial dependence."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from trustml.data.dataset import Floats
from trustml.data.given import Feature
from trustml.models.answers import class_probabilities, in_unit, probabilities
from trustml.models.tasks import Binary, Regression, Task
from trustml.report.figures import INK

MOST_ROWS, _POINTS = 24, 15
_CURVE = "#2E7FC2"


def values_over(feature: Feature, examples: Floats) -> list[float] | list[str]:
    """Values that a feature is given: its categories, or evenly from the least to the largest of the examples."""
    if feature.categories:
        return list(feature.categories)
    shown = [float(feature.shown(row)) for row in examples]
    return sorted({float(f"{value:.6g}") for value in np.linspace(min(shown), max(shown), _POINTS)})


def varied_inputs(feature: Feature, examples: Floats, values: Sequence[float | str]) -> Floats:
    """Every example with every value of the feature, those of one example together; shape (rows * values, x)."""
    found = np.repeat(examples.astype(np.float32), len(values), axis=0)
    for place, row in enumerate(found):
        feature.put(row, values[place % len(values)])
    return found


def dependence_frame(outputs: Floats, values: Sequence[float | str], *, task: Task, answer: int) -> pd.DataFrame:
    """What a model says of one answer for each value of the feature.

    Parameters
    ----------
    outputs : float array of shape (rows * values, c)
        For :func:`varied_inputs`.
    values : sequence of float or str
    task : Task
    answer : int
        The class or label whose probability it is; of a regression there is one number.

    Returns
    -------
    DataFrame
        Columns ``example``, ``value`` and ``answer``, and ``mean`` over the examples.
    """
    if isinstance(task, Regression):
        said = in_unit(task, outputs)[:, 0]
    else:
        shares = class_probabilities(outputs) if isinstance(task, Binary) else probabilities(task, outputs)
        said = shares[:, answer]
    rows = len(said) // len(values)
    frame = pd.DataFrame(
        {"example": np.repeat(np.arange(rows), len(values)), "value": list(values) * rows, "answer": said}
    )
    return frame.assign(mean=frame.groupby("value", sort=False).answer.transform("mean"))


def dependence_lines(frame: pd.DataFrame, *, feature: str, answer: str) -> alt.LayerChart:
    """Draw one thin line for each example, and their mean.

    Parameters
    ----------
    frame : DataFrame
        Of :func:`dependence_frame`.
    feature, answer : str
        Titles of the axes.
    """
    words = isinstance(frame.value.iloc[0], str)
    x = alt.X(
        "value:N" if words else "value:Q",
        title=feature,
        sort=list(dict.fromkeys(frame.value)) if words else alt.Undefined,
        scale=alt.Undefined if words else alt.Scale(zero=False, nice=False),
    )
    base = alt.Chart(frame, title=f"{answer} over {feature}").encode(x=x)
    each = base.mark_line(color=INK, opacity=0.4, strokeWidth=1).encode(
        y=alt.Y("answer:Q", title=answer, scale=alt.Scale(zero=False)), detail="example:N"
    )
    means = frame.drop_duplicates("value")
    mean = (
        alt.Chart(means)
        .mark_line(color=_CURVE, strokeWidth=3, point=True)
        .encode(x=x, y="mean:Q", tooltip=[alt.Tooltip("value"), alt.Tooltip("mean", format=".3f")])
    )
    return alt.layer(each, mean).properties(height=340)
