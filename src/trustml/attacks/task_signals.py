"""What an attacker reads off the outputs of a model of any task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Floats, Signals, checked_outputs, signals_from_logits
from trustml.errors import UsageError
from trustml.models.answers import LIKELIEST, recorded_losses
from trustml.models.losses import example_losses, of_steps
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression, Task, facts_of

_LEAST = 1e-300


def task_signals(
    outputs: npt.NDArray[Any], labels: npt.NDArray[Any], *, task: Task, field: str = "outputs", normalised: bool = False
) -> Signals:
    """Signals of one model's answers; NaN for those that the task does not have.

    Several labels are one answer: its probability is the product of theirs, and what is summed over classes elsewhere
    is summed over labels. Of a regression there are the loss and, for LiRA, the negative squared error, to both of
    which a unit makes no difference. Of a text there are the mean loss over its steps and, without labels, the mean
    log-probability of the likeliest tokens.

    Parameters
    ----------
    outputs : numpy.ndarray
        Shape (n, c); of texts (n, steps, 4), as :func:`trustml.models.answers.recorded` gives them.
    labels : numpy.ndarray
        Shape (n,) for classes, (n, steps) for texts, else (n, c).
    task : Task
    field : str
        Name of the outputs in errors.
    normalised : bool
        See :func:`trustml.attacks.signals.signals_from_logits`; for classes alone.

    Raises
    ------
    UsageError
        Where values are not finite or shapes do not fit.
    """
    match task:
        case Classes():
            values, truth = checked_outputs(outputs, labels, field=field)
            return signals_from_logits(values, truth, normalised=normalised)
        case Binary():
            return signals_from_logits(*two_classes(*checked_numbers(outputs, labels, field=field)))
        case Labels():
            return _of_labels(*checked_numbers(outputs, labels, field=field))
        case Regression():
            return _of_regression(task, *checked_numbers(outputs, labels, field=field))
        case NextToken():
            return _of_texts(task, *checked_texts(outputs, labels, field=field))


def checked_numbers(outputs: npt.NDArray[Any], labels: npt.NDArray[Any], *, field: str) -> tuple[Floats, Floats]:
    """Outputs and labels of one shape (n, c) as float64, or a clear error."""
    values, truth = np.asarray(outputs, np.float64), np.asarray(labels, np.float64)
    if values.ndim != 2 or truth.shape != values.shape:
        raise UsageError(
            f"{field}: shape {values.shape} and labels of shape {truth.shape} do not fit; give both (n, c)"
        )
    if not np.isfinite(values).all():
        raise UsageError(f"{field}: some values are not finite; fix the model or leave them out")
    return values, truth


def checked_texts(
    outputs: npt.NDArray[Any], labels: npt.NDArray[Any], *, field: str
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """What is recorded of texts as float64, and the tokens that follow, or a clear error."""
    values, truth = np.asarray(outputs, np.float64), np.asarray(labels)
    if (
        values.ndim != 3
        or values.shape[2] not in (2, 4)
        or truth.shape != values.shape[:2]
        or truth.dtype.kind not in "iu"
    ):
        raise UsageError(
            f"{field}: shape {values.shape} and labels of shape {truth.shape} do not fit; give (texts, steps, 4) and "
            "whole numbers (texts, steps)"
        )
    if not np.isfinite(values).all():
        raise UsageError(f"{field}: some values are not finite; fix the model or leave them out")
    return values, truth.astype(np.int64)


def two_classes(outputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """One output as the logits 0 and z of two classes."""
    values = np.asarray(outputs, np.float64)
    return np.concatenate([np.zeros_like(values), values], axis=-1), np.asarray(labels)[:, 0].astype(np.int64)


def unfit_attacks(task: Task) -> dict[str, str]:
    """Attacks that the task has no signals for, and why."""
    return dict(facts_of(task).not_attacked_by)


def _of_labels(values: Floats, truth: Floats) -> Signals:
    each = [
        signals_from_logits(*two_classes(values[:, k : k + 1], truth[:, k : k + 1])) for k in range(values.shape[1])
    ]
    loss = np.sum([one.loss for one in each], axis=0)
    # softplus of the log-odds is the loss of either answer; that of the likelier one has them positive
    top = np.logaddexp(0.0, -np.abs(values)).sum(axis=1)
    return Signals(
        loss=loss,
        confidence=np.exp(-loss),
        scaled_confidence=_log_odds(loss),
        top_confidence=_log_odds(top),
        entropy=np.sum([one.entropy for one in each], axis=0),
        modified_entropy=np.sum([one.modified_entropy for one in each], axis=0),
        correct=np.all([one.correct for one in each], axis=0),
    )


def _of_regression(task: Regression, values: Floats, truth: Floats) -> Signals:
    nothing = np.full(len(values), np.nan)
    return Signals(
        loss=example_losses(values, truth, task=task),
        confidence=nothing,
        scaled_confidence=-((values - truth) ** 2).mean(axis=1),
        top_confidence=nothing,
        entropy=nothing,
        modified_entropy=nothing,
        correct=np.zeros(len(values), bool),
    )


def _of_texts(task: NextToken, values: Floats, truth: npt.NDArray[np.int64]) -> Signals:
    found = signals_of_losses(recorded_losses(task, values, truth))
    return replace(found, top_confidence=(of_steps(truth) * values[..., LIKELIEST]).sum(axis=1))


def signals_of_losses(losses: Floats) -> Signals:
    """Signals of models of texts whose losses (..., n) are all that is known."""
    nothing = np.full(losses.shape, np.nan)
    return Signals(
        loss=losses,
        confidence=np.exp(-losses),
        scaled_confidence=-losses,
        top_confidence=nothing,
        entropy=nothing,
        modified_entropy=nothing,
        correct=np.zeros(losses.shape, bool),
    )


def _log_odds(loss: Floats) -> Floats:
    """Log p - log(1 - p) of a probability by its loss -log p."""
    found: Floats = -loss - np.log(np.maximum(-np.expm1(-loss), _LEAST))
    return found
