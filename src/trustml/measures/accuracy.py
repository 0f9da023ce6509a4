"""Accuracy on held-out examples, with an interval."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.row import About, Row
from trustml.record.schema import JobRecord

_Z95 = 1.959963984540054


def accuracy_rows(evidence: Evidence) -> list[Row]:
    """One row a trained model; an absent value, with the reason, for a model that is not there."""
    rows = []
    for record, _ in evidence.trained():
        if record.status != "ok":
            about = absent(f"training ended {record.status}: {record.reason}")
            rows.append(evidence.row("accuracy", None, record=record, subject="held-out", n=0, about=about))
            continue
        labels, answers = evidence.heldout["test_labels"], held_out_answers(evidence, record)
        right = int((answers == labels).sum())
        majority = float(np.bincount(labels).max() / len(labels))
        rows.append(
            evidence.row(
                "accuracy",
                right / len(labels),
                record=record,
                subject="held-out",
                n=len(labels),
                interval=wilson_interval(right, len(labels)),
                about=About(
                    interval="wilson",
                    confidence=0.95,
                    facts={"majority": majority, "classes_answered": len(np.unique(answers))},
                ),
            )
        )
    for skip in evidence.manifest.skips:
        if not skip.regime:
            continue
        row = evidence.row("accuracy", None, record=None, subject="held-out", n=0, about=absent(skip.reason))
        rows.append(msgspec.structs.replace(row, backend=skip.backend, regime=skip.regime))
    return rows


def held_out_answers(evidence: Evidence, record: JobRecord) -> npt.NDArray[np.int64]:
    """Class of the largest logit for each held-out example."""
    logits = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
    return np.argmax(logits, axis=1).astype(np.int64)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Score interval of a proportion, 95 % (Wilson, JASA 1927)."""
    z = _Z95
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
