"""Everything that is shown of one model, in its order: the same in the dashboard and in a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from trustml.measures.evidence import Evidence
from trustml.models.tasks import Regression, Task
from trustml.record.schema import JobRecord
from trustml.report.accuracy import figures
from trustml.report.accuracy.examples import projection_frame, projection_points
from trustml.report.accuracy.frames import class_frame, confusion_frame, reliability_frame
from trustml.report.accuracy.scores import error_frame, mistakes_frame, predicted_frame, score_curves, threshold_frame

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One chart, or one table of cells, of a model.

    Attributes
    ----------
    title : str
    caption : str
        How it is read.
    chart : LayerChart or Chart or None
    cells : DataFrame or None
    """

    title: str
    caption: str
    chart: alt.LayerChart | alt.Chart | None = None
    cells: pd.DataFrame | None = None


def aspects_of(task: Task) -> tuple[str, ...]:
    """Name the aspects under which models of a task are looked at, in their order."""
    return tuple(_OF_NUMBERS if isinstance(task, Regression) else _OF_ANSWERS)


def details_of(evidence: Evidence, record: JobRecord, *, aspect: str | None = None) -> tuple[Detail, ...]:
    """Make what a model's held-out answers are shown by, of those of :func:`~.frames.judged_models`.

    Parameters
    ----------
    evidence : Evidence
    record : JobRecord
    aspect : str, optional
        One of :func:`aspects_of`; by default all of them.
    """
    made = _OF_NUMBERS if isinstance(evidence.task, Regression) else _OF_ANSWERS
    return tuple(one for name, found in made.items() if aspect in (None, name) for one in found(evidence, record))


def _confidence(evidence: Evidence, record: JobRecord) -> Iterator[Detail]:
    yield Detail(
        title="Reliability",
        caption="Answers given with a confidence should be right as often as it says: points lie on the dashed line. "
        "Bars are Wilson 95 % intervals; a bin of few examples says little.",
        chart=figures.reliability_curve(reliability_frame(evidence, record), title="reliability"),
    )
    mistakes = mistakes_frame(evidence, record)
    if mistakes is not None:
        yield Detail(
            title="Most confident mistakes",
            caption="Wrong answers, the surest first: a wrong label, or what the model has not learned. Numbers are "
            "places among the held-out examples.",
            cells=mistakes,
        )


def _classes(evidence: Evidence, record: JobRecord) -> Iterator[Detail]:
    confused = confusion_frame(evidence, record)
    if confused is not None:
        yield Detail(
            title="Confusion matrix",
            caption="Numbers are held-out examples, colours shares of the true class.",
            chart=figures.confusion_matrix(confused, title="what was answered for each class"),
        )
    classes = class_frame(evidence, record)
    if classes is not None:
        yield Detail(
            title="Each class",
            caption="Recall: of the examples of the class, the share that is answered so. Precision: of those answers, "
            "the share that is right. Wilson 95 % intervals.",
            cells=classes,
        )


def _thresholds(evidence: Evidence, record: JobRecord) -> Iterator[Detail]:
    curves = score_curves(evidence, record)
    if curves is not None:
        yield Detail(
            title="ROC",
            caption="Of the examples that are not of the class, the share that is answered so, against the share of "
            "the class that is found; the dashed line is guessing. Each point is a threshold.",
            chart=figures.roc_curves(curves, title="ROC"),
        )
        yield Detail(
            title="Precision and recall",
            caption="Where a class is rare, this says more than ROC: of the answers with the class, the share that is "
            "right.",
            chart=figures.precision_recall(curves, title="precision and recall"),
        )
    found = threshold_frame(evidence, record)
    if found is not None:
        name, cells = found
        yield Detail(
            title=f"Thresholds: from which probability {name!r} is answered",
            caption="Recall, precision and the share of the others with Wilson 95 % intervals; lift is precision over "
            "the share of the class. A threshold that is chosen by this table is chosen on the held-out examples: its "
            "scores on them flatter it.",
            cells=cells,
        )


def _outputs(evidence: Evidence, record: JobRecord) -> Iterator[Detail]:
    projected = projection_frame(evidence, record)
    if projected is not None:
        points, share = projected
        yield Detail(
            title="Outputs in two dimensions",
            caption=f"Logits of {len(points):,} held-out examples in the two directions in which they differ most "
            f"(PCA, {share:.0%} of their variance); hollow and larger where the answer is wrong. What differs in other "
            "directions lies on top of each other here.",
            chart=projection_points(points, title="outputs, projected"),
        )


def _predictions(evidence: Evidence, record: JobRecord) -> Iterator[Detail]:
    predicted = predicted_frame(evidence, record)
    yield Detail(
        title="Predicted and true",
        caption=f"{len(predicted):,} held-out examples; on the dashed line a prediction is right.",
        chart=figures.predicted_against_true(predicted, title="predicted against true"),
    )
    yield Detail(
        title="Errors",
        caption="Predicted less true, of all held-out examples: what is not centred at 0 is predicted too high, or too "
        "low, on the whole.",
        chart=figures.error_bars(error_frame(evidence, record), title="errors"),
    )
    yield Detail(
        title="Largest errors",
        caption="Numbers are places among the held-out examples.",
        cells=mistakes_frame(evidence, record),
    )


_OF_ANSWERS = {"Confidence": _confidence, "Classes": _classes, "Thresholds": _thresholds, "Outputs": _outputs}
_OF_NUMBERS = {"Predictions": _predictions}
