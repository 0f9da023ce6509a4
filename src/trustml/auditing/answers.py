"""What an audited model said of the examples, and what its outputs should have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.auditing.checks_data import CheckedData
from trustml.auditing.examples import columns_of, targets_of
from trustml.auditing.models import Array
from trustml.auditing.outputs import Meaning, to_logits
from trustml.data.dataset import Ints
from trustml.models.tasks import DEFAULT_TASK, Regression, Task


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the model said of the examples.

    Attributes
    ----------
    meaning : Meaning
    train, holdout : float64 arrays of shape (n, c)
        Logits, or values of a regression, (n, 1).
    train_labels, holdout_labels, shared_labels : int64 arrays of shape (n,), or float64 of shape (n, 1)
        Columns of the labels, or targets; `shared_labels` are those of `CheckedData.shared`.
    """

    meaning: Meaning
    train: Doubles
    holdout: Doubles
    train_labels: Ints | Doubles
    holdout_labels: Ints | Doubles
    shared_labels: Ints | Doubles

    @property
    def task(self) -> Task:
        """What the model is asked."""
        return Regression() if self.meaning.scale == "values" else DEFAULT_TASK

    @property
    def form(self) -> str:
        """Say how many outputs of what kind there are."""
        if self.meaning.scale == "values":
            return "one number an example"
        return f"{self.train.shape[1]} {self.meaning.scale}"

    def explained_columns(self, *, holdout: bool) -> Ints:
        """Output of each example that is explained: that of its label, or the one there is of a regression."""
        labels = self.holdout_labels if holdout else self.train_labels
        return np.zeros(len(labels), np.int64) if self.meaning.scale == "values" else labels.astype(np.int64)


def answers_of(raw: Array, meaning: Meaning, data: CheckedData, *, classes: Array | None) -> Answers:
    """Bring what the model gave for the training examples, then the hold-out, into one form.

    Parameters
    ----------
    raw : array of shape (n + m, ...)
    meaning : Meaning
    data : CheckedData
    classes : array, optional
        Label that each column stands for, where the model says so.

    Raises
    ------
    DataError
        If it knows no such labels.
    """
    found, split = to_logits(raw, meaning), len(data.train)

    def wanted(labels: Array) -> Ints | Doubles:
        if meaning.scale == "values":
            return targets_of(labels) if len(labels) else np.zeros((0, 1))
        return columns_of(labels, classes=classes, count=found.shape[1]) if len(labels) else np.zeros(0, np.int64)

    return Answers(
        meaning=meaning,
        train=found[:split],
        holdout=found[split:],
        train_labels=wanted(data.train.labels),
        holdout_labels=wanted(data.holdout.labels),
        shared_labels=wanted(data.shared_labels),
    )
