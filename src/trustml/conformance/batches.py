"""Batches on which noise is looked at: ordinary ones, and such as a step might make less noise on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.conformance.noise_statistics import PRECISION
from trustml.conformance.subject import OUTLIER, Subject
from trustml.data.dataset import Floats, Ints

OTHERS = 0.01
"""Standard error of the ratio for each kind of batch that is not ordinary."""
LEAST, LEAST_OTHERS = 80, 4
"""Calls for each kind of batch, however many coordinates there are."""
SCALES = (1e2, 1e3, -1e3, OUTLIER)
_ROWS, _CLASSES, _COPIES, _FULL = 8, 8, 64, 512


@dataclass(frozen=True)
class Batch:
    """A batch for one call.

    Attributes
    ----------
    inputs : float32 array of shape (n, *x)
    labels : int64 array of shape (n,)
    micro : int
        Size of micro-batches; 0 leaves it open.
    """

    inputs: Floats
    labels: Ints
    micro: int = 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Batches on which noise ought to have one size, and how well that is to be measured.

    Attributes
    ----------
    check : str
        Name of the finding.
    batches : list of Batch
        They take turns.
    precision : float
        Standard error of the ratio.
    least : int
        Calls at the least.
    """

    check: str
    batches: list[Batch]
    precision: float = OTHERS
    least: int = LEAST_OTHERS


def kinds_of_batches(subject: Subject) -> list[Kind]:
    """Give every kind; the first one is of ordinary batches."""
    few = list(range(_ROWS))
    one = Batch(subject.inputs[:1], subject.labels[:1])
    empty = Batch(subject.inputs[:0], subject.labels[:0])
    many = min(len(subject.inputs), max(subject.settings.expected_batch_size, 2 * _ROWS), _FULL)
    copies = np.repeat(subject.inputs[:1] * np.float32(10), _COPIES, axis=0)
    return [
        Kind(check="noise has its stated size", batches=_ordinary(subject), precision=PRECISION, least=LEAST),
        Kind(
            check="noise is added once, not in every micro-batch",
            batches=[Batch(subject.inputs[few], subject.labels[few], 2)],
        ),
        Kind(check="an empty batch is a step with noise", batches=[empty]),
        Kind(check="a batch of one example has its noise", batches=[one]),
        Kind(check="a full batch has its noise", batches=[Batch(subject.inputs[:many], subject.labels[:many])]),
        Kind(check="noise does not depend on large inputs", batches=_outliers(subject)),
        Kind(check="noise does not depend on labels", batches=_labels(subject)),
        Kind(
            check="noise does not depend on the size of the sum",
            batches=[Batch(copies, np.repeat(subject.other_labels([0]), _COPIES))],
        ),
        Kind(
            check="noise does not depend on inputs that are zero",
            batches=[Batch(np.zeros_like(subject.inputs[few]), subject.labels[few])],
        ),
        Kind(check="noise does not depend on inputs that are not finite", batches=_not_finite(subject)),
    ]


def _ordinary(subject: Subject) -> list[Batch]:
    count = len(subject.inputs)
    windows = [np.arange(start, start + _ROWS) % count for start in range(0, min(count, 4 * _ROWS), _ROWS // 2)]
    return [Batch(subject.inputs[rows], subject.labels[rows]) for rows in windows]


def _outliers(subject: Subject) -> list[Batch]:
    """Batches with one large example, of its own class or of another, and such an example alone."""
    rows, found = list(range(_ROWS)), []
    for scale in SCALES:
        inputs, labels = subject.inputs[rows].copy(), subject.labels[rows].copy()
        inputs[3] *= np.float32(scale)
        found.append(Batch(inputs, labels))
        labels[3] = subject.other_labels([3])[0]
        found.append(Batch(inputs, labels))
    return [*found, Batch(subject.inputs[:1] * np.float32(OUTLIER), subject.other_labels([0]))]


def _labels(subject: Subject) -> list[Batch]:
    """Batches of one class alone, and one whose labels are other ones."""
    members = [np.flatnonzero(subject.labels == label) for label in np.unique(subject.labels)[:_CLASSES]]
    members = [np.resize(rows, _ROWS) for rows in members]  # of one size, as each may be compiled
    found = [Batch(subject.inputs[rows], subject.labels[rows]) for rows in members]
    return [*found, Batch(subject.inputs[:_ROWS], subject.other_labels(list(range(_ROWS))))]


def _not_finite(subject: Subject) -> list[Batch]:
    found = []
    for value in (np.nan, np.inf):
        inputs = subject.inputs[: _ROWS + 1].copy()  # without the bad one as many as ever
        inputs[3] = np.float32(value)
        found.append(Batch(inputs, subject.labels[: _ROWS + 1]))
    return found
