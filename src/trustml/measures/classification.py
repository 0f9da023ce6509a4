"""What is measured of classifiers beside their accuracy, as statistics of weighted held-out examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trustml.measures.resampling import Doubles, Statistic, mean_of, mean_over, pr_auc_of, roc_auc_of
from trustml.models.answers import answers, class_probabilities, probabilities
from trustml.models.losses import AnyArray, example_losses
from trustml.models.tasks import Binary, Classes, Labels, Task

BINS = 15
"""Of the confidence, equally wide, as of Guo et al. (ICML 2017, arXiv 1706.04599)."""
_MOST_RANKED = 2_000_000
"""Classes times examples beyond which curves of each class against the rest are not resampled."""


def classification_statistics(
    task: Task, outputs: AnyArray, labels: AnyArray
) -> tuple[dict[str, Statistic], dict[str, str]]:
    """Give statistics by the name of their measure, and why others are missing.

    Curves are those of each class against the rest, or of each label, averaged; of two classes those of the second.
    """
    decided = decisions(task, outputs, labels)
    losses = example_losses(outputs, labels, task=type(task)())
    statistics: dict[str, Statistic] = {
        "balanced_accuracy": _balanced(task, outputs, labels),
        "log_loss": mean_of(losses),
        "calibration_error": _calibration(*decided),
    }
    missing: dict[str, str] = {}
    scores, positive = against_rest(task, outputs, labels)
    there = [k for k in range(scores.shape[1]) if 0 < positive[:, k].sum() < len(labels)]
    if not there:
        missing = dict.fromkeys(("roc_auc", "pr_auc"), "all held-out examples are of one class")
    elif len(there) * len(labels) > _MOST_RANKED:
        missing = dict.fromkeys(("roc_auc", "pr_auc"), f"{len(there)} classes are too many to rank examples by each")
    else:
        statistics["roc_auc"] = mean_over([roc_auc_of(scores[:, k], positive[:, k]) for k in there])
        statistics["pr_auc"] = mean_over([pr_auc_of(scores[:, k], positive[:, k]) for k in there])
    return statistics, missing


def f1_statistics(task: Labels, outputs: AnyArray, labels: AnyArray, names: Sequence[str]) -> dict[str, Statistic]:
    """F1 of each label, by its name: the harmonic mean of precision and recall."""
    said = answers(task, outputs) > 0
    return {name: _f1(said[:, k], labels[:, k] > 0) for k, name in enumerate(names)}


def _f1(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> Statistic:
    hits, either = (said & true).astype(np.float64), said.astype(np.float64) + true

    def statistic(weights: Doubles) -> Doubles:
        with np.errstate(invalid="ignore"):
            found: Doubles = 2 * (weights @ hits) / (weights @ either)
        return found

    return statistic


def decisions(task: Task, outputs: AnyArray, labels: AnyArray) -> tuple[Doubles, Doubles]:
    """Confidence in each answer, and whether it is right; (n, decisions), where several labels are several."""
    if isinstance(task, Labels):
        shares = probabilities(task, outputs)
        return np.maximum(shares, 1 - shares), (answers(task, outputs) == labels).astype(np.float64)
    shares = class_probabilities(outputs) if isinstance(task, Binary) else probabilities(task, outputs)
    right = answers(task, outputs).reshape(len(labels)) == labels.reshape(len(labels))
    return shares.max(axis=1, keepdims=True), right[:, None].astype(np.float64)


def _calibration(confidence: Doubles, right: Doubles) -> Statistic:
    """Expected calibration error: |confidence - accuracy| of each bin, weighted by its share."""
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.zeros((len(confidence), BINS))
    rows = np.repeat(np.arange(len(confidence)), confidence.shape[1])
    np.add.at(gaps, (rows, places.ravel()), (confidence - right).ravel())

    def statistic(weights: Doubles) -> Doubles:
        found: Doubles = np.abs(weights @ gaps).sum(axis=1) / (weights.sum(axis=1) * confidence.shape[1])
        return found

    return statistic


def _balanced(task: Task, outputs: AnyArray, labels: AnyArray) -> Statistic:
    """Mean over the classes, or over both sides of each label, of the share that is right."""
    right = (answers(task, outputs) == labels).reshape(len(labels), -1).astype(np.float64)
    if isinstance(task, Classes):
        sides = [(labels == k, right[:, 0]) for k in np.unique(labels)]
        return mean_over([_share(there, hits) for there, hits in sides])
    both = [
        mean_over([_share(labels[:, k] == side, right[:, k]) for side in (0.0, 1.0)]) for k in range(labels.shape[1])
    ]
    return mean_over(both)


def _share(there: npt.NDArray[np.bool_], hits: Doubles) -> Statistic:
    among = there.astype(np.float64)

    def statistic(weights: Doubles) -> Doubles:
        with np.errstate(invalid="ignore"):
            found: Doubles = (weights @ (among * hits)) / (weights @ among)
        return found

    return statistic


def against_rest(task: Task, outputs: AnyArray, labels: AnyArray) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Scores, and what they should be high for; (n, curves): of each class against the rest, or of each label.

    Of two classes there is one curve, that of the second: by its logit beside the first.
    """
    if not isinstance(task, Classes):
        return outputs.astype(np.float64), labels > 0
    wide = outputs.astype(np.float64)
    if outputs.shape[1] == 2:
        return (wide[:, 1] - wide[:, 0])[:, None], (labels == 1)[:, None]
    return probabilities(task, outputs), labels[:, None] == np.arange(outputs.shape[1])
