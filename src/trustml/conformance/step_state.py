"""Checks that a step keeps nothing between calls, where nothing is noisy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trustml.conformance.batches import Batch
from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.subject import OUTLIER, Subject, Vector, norm_of

SAME_SUM = 1e-4
"""Largest difference of two sums over the same batch, over the clipping norm: float32 in another order of threads."""
_REPEATS = 5


def check_state(subject: Subject) -> list[CheckResult]:
    """Compare sums over the same batches, again, in another order, and by steps that were made anew."""
    batches = [batch for batch in _batches(subject) if _taken(subject, batch)]
    count = len(batches)
    found = _sums(subject, [*batches, *reversed(batches), *(batch for batch in batches for _ in range(_REPEATS))])
    first, back, many = found[:count], found[count : 2 * count], found[2 * count :]
    anew = _sums(subject, batches[::-1])  # few steps are made: making one may compile
    repeated = [norm_of(total - many[place // _REPEATS * _REPEATS]) for place, total in enumerate(many)]
    ordered = [norm_of(one - two) for one, two in zip(first, back[::-1], strict=True)]
    alone = [norm_of(one - two) for one, two in zip(first, anew[::-1], strict=True)]
    changed = "what a step gives depends on what it was called with before: it keeps a sum, a gradient or a count"
    return [
        bounded("the same batch has the same sum again", _worst(repeated), SAME_SUM, diagnosis=changed),
        bounded("sums do not depend on the order of batches", _worst(ordered), SAME_SUM, diagnosis=changed),
        bounded("a step that is made anew has the same sums", _worst(alone), SAME_SUM, diagnosis=changed),
    ]


def _taken(subject: Subject, batch: Batch) -> bool:
    """Whether a step takes a batch at all; if not, other checks say so."""
    try:
        subject.quiet_gradient(batch)
    except Exception:  # whatever a stranger's step does
        return False
    return True


def _batches(subject: Subject) -> list[Batch]:
    """Give ordinary batches of several sizes, an empty one, and one with an outlier."""
    inputs, labels = subject.inputs, subject.labels
    outlier = inputs[8:10].copy()
    outlier[0] *= np.float32(OUTLIER)
    return [
        Batch(inputs[:6], labels[:6]),
        Batch(outlier, subject.other_labels([8, 9])),
        Batch(inputs[:0], labels[:0]),
        Batch(inputs[4:5], labels[4:5]),
        Batch(inputs[3:11], labels[3:11]),
    ]


def _sums(subject: Subject, batches: Sequence[Batch]) -> list[Vector]:
    """Sums of one new step over batches, one after the other, over the clipping norm."""
    step = subject.quiet_step()
    scale = subject.settings.expected_batch_size / subject.settings.clipping_norm
    return [subject.gradient(step, batch) * scale for batch in batches]


def _worst(errors: list[float]) -> float:
    return float(np.max(errors)) if np.isfinite(errors).all() else float("inf")
