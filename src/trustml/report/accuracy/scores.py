"""What is drawn of the scores behind answers: curves over all thresholds, single thresholds, predicted numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from trustml.measures.accuracy import outputs_of
from trustml.measures.classification import against_rest, decisions
from trustml.measures.evidence import Evidence
from trustml.models.answers import answers, in_unit
from trustml.models.losses import Doubles, sigmoid
from trustml.models.tasks import Classes, Labels, Regression
from trustml.record.schema import JobRecord
from trustml.report.accuracy.frames import share_cells
from trustml.report.documents import Cell

MOST_CURVES = 10
"""In one chart: with more nobody tells them apart."""
MOST_MISTAKES = 20
_POINTS, _FEWEST_POINTS = 240, 24
"""Of all curves of a chart together, and of each at the least."""
_DIGITS = 5
_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MOST_PREDICTED = 1_000
_BINS = 30


def score_curves(evidence: Evidence, record: JobRecord) -> pd.DataFrame | None:
    """ROC and precision-recall curves of each class against the rest, or of each label; of two classes, the second.

    Returns
    -------
    DataFrame or None
        Columns ``curve``, ``threshold`` (a probability), ``false_positives``, ``recall`` and ``precision`` (shares), by
        falling threshold, some 240 points in all, to five digits. Classes that no held-out example has, or all have,
        have none; None where there is no curve, or more than ``MOST_CURVES``.
    """
    scores, shown, positive, names = _scored(evidence, record)
    there = [k for k in range(len(names)) if 0 < positive[:, k].sum() < len(positive)]
    if not 0 < len(there) <= MOST_CURVES:
        return None
    points = max(_FEWEST_POINTS, _POINTS // len(there))
    curves = [_curve(names[k], scores[:, k], shown[:, k], positive[:, k], points=points) for k in there]
    return pd.concat(curves, ignore_index=True).round(_DIGITS)


def _scored(evidence: Evidence, record: JobRecord) -> tuple[Doubles, Doubles, npt.NDArray[np.bool_], tuple[str, ...]]:
    """Scores of what curves are of, their probabilities, whether it holds, and what it is called.

    Examples are ranked by scores: of two classes by the difference of their logits, as probabilities of all above 37
    are 1.
    """
    scores, positive = against_rest(evidence.task, *outputs_of(evidence, record))
    names = tuple(evidence.manifest.data.class_names)
    of_logits = not isinstance(evidence.task, Classes) or len(names) == 2
    return scores, sigmoid(scores) if of_logits else scores, positive, names[-scores.shape[1] :]


def _curve(
    name: str, scores: Doubles, probabilities: Doubles, positive: npt.NDArray[np.bool_], *, points: int
) -> pd.DataFrame:
    order = np.argsort(-scores, kind="stable")
    sorted_, true = scores[order], positive[order]
    last = np.flatnonzero(np.r_[sorted_[1:] != sorted_[:-1], True])  # equal scores are answered alike
    hits, misses = np.cumsum(true)[last], np.cumsum(~true)[last]
    recall, wrong = hits / positive.sum(), misses / (~positive).sum()
    kept = np.unique(np.searchsorted(recall + wrong, np.linspace(0, recall[-1] + wrong[-1], points)))
    rows = pd.DataFrame(
        {
            "curve": name,
            "threshold": probabilities[order][last][kept],
            "false_positives": wrong[kept],
            "recall": recall[kept],
            "precision": (hits / (hits + misses))[kept],
        }
    )
    start = {"curve": name, "threshold": 1.0, "false_positives": 0.0, "recall": 0.0, "precision": np.nan}
    return pd.concat([pd.DataFrame([start]), rows], ignore_index=True)


def threshold_frame(evidence: Evidence, record: JobRecord) -> tuple[str, pd.DataFrame] | None:
    """What a model of two classes gives at other thresholds than one half, in cells, and which class is meant."""
    _, probabilities, positive, names = _scored(evidence, record)
    if len(names) != 1:
        return None
    score, true, rows = probabilities[:, 0], positive[:, 0], []
    share = float(true.mean())
    for threshold in _THRESHOLDS:
        said = score > threshold
        hits, right = int((said & true).sum()), int((~said & ~true).sum())
        rows.append(
            {
                "threshold": Cell(f"{threshold:.2f}", threshold),
                "answered": Cell(f"{int(said.sum()):,}", int(said.sum())),
                **share_cells("recall", hits, int(true.sum())),
                **share_cells("precision", hits, int(said.sum())),
                "lift": _lift(hits, int(said.sum()), share),
                **share_cells("of the others, told right", right, int((~true).sum())),
                "accuracy": Cell(f"{(hits + right) / len(true):.3f}", (hits + right) / len(true)),
            }
        )
    return names[0], pd.DataFrame(rows)


def _lift(hits: int, said: int, share: float) -> Cell:
    if not said or not share:
        return Cell("-")
    return Cell(f"{hits / said / share:.2f}", hits / said / share)


def decimals(*values: npt.ArrayLike) -> int:
    """Places behind the point that the largest of some numbers needs for four digits: none of house prices."""
    largest = max((float(np.max(np.abs(part))) for part in map(np.asarray, values) if part.size), default=0.0)
    return min(12, max(0, 3 - math.floor(math.log10(largest)))) if 0.0 < largest < math.inf else 3


def mistakes_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame | None:
    """The answers that are wrong with most confidence, or the largest errors of a regression, in cells.

    Held-out examples go by their number, as everywhere; None of several labels, and where nothing is wrong.
    """
    outputs, labels = outputs_of(evidence, record)
    if isinstance(evidence.task, Regression):
        true, predicted = _numbers(evidence, record)
        worst = np.argsort(-np.abs(predicted - true), kind="stable")[:MOST_MISTAKES]
        numbers = {"true": true, "predicted": predicted, "error": predicted - true}
        places = decimals(numbers["true"], numbers["predicted"])
        cells = {name: [Cell(f"{values[k]:,.{places}f}", values[k]) for k in worst] for name, values in numbers.items()}
        return pd.DataFrame({"held-out example": [Cell(str(k), k) for k in worst], **cells})
    if isinstance(evidence.task, Labels):
        return None
    confidence, right = (part.ravel() for part in decisions(evidence.task, outputs, labels))
    names, wrong = evidence.manifest.data.class_names, np.flatnonzero(right == 0)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    if not len(worst):
        return None
    own, said = (part.reshape(len(labels)).astype(np.int64) for part in (labels, answers(evidence.task, outputs)))
    return pd.DataFrame(
        {
            "held-out example": [Cell(str(k), k) for k in worst],
            "true": [names[own[k]] for k in worst],
            "answered": [names[said[k]] for k in worst],
            "with probability": [Cell(f"{confidence[k]:.3f}", confidence[k]) for k in worst],
        }
    )


def predicted_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame:
    """Predicted against true numbers of a regression, in the unit of the data; at most 1,000 examples, evenly taken.

    Returns
    -------
    DataFrame
        Columns ``true``, ``predicted`` and ``error``, predicted less true.
    """
    true, predicted = _numbers(evidence, record)
    kept = np.unique(np.linspace(0, len(true) - 1, min(len(true), _MOST_PREDICTED)).astype(np.int64))
    return pd.DataFrame(
        {"true": true[kept], "predicted": predicted[kept], "error": (predicted - true)[kept]},
    )


def error_frame(evidence: Evidence, record: JobRecord) -> pd.DataFrame:
    """How many of all held-out examples have which error: columns ``low``, ``high`` and ``count`` of each bin."""
    true, predicted = _numbers(evidence, record)
    counts, ends = np.histogram(predicted - true, bins=_BINS)
    return pd.DataFrame({"low": ends[:-1], "high": ends[1:], "count": counts})


def _numbers(evidence: Evidence, record: JobRecord) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    assert isinstance(evidence.task, Regression)
    outputs, labels = outputs_of(evidence, record)
    return in_unit(evidence.task, labels)[:, 0], in_unit(evidence.task, outputs)[:, 0]
