"""Accuracy on held-out examples, with an interval."""

from __future__ import annotations

import math

import numpy as np

from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES, Row

_Z95 = 1.959963984540054


def accuracy_rows(evidence: Evidence) -> list[Row]:
    """One row a trained model; an absent value, with the reason, for a model that is not there."""
    rows = []
    for record, _ in evidence.trained():
        if record.status != "ok":
            note = f"absent: training ended {record.status}: {record.reason}"
            rows.append(evidence.row("accuracy", None, record=record, subject="held-out", n=0, note=note))
            continue
        labels = evidence.heldout["test_labels"]
        logits = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
        right = int((np.argmax(logits, axis=1) == labels).sum())
        rows.append(
            evidence.row(
                "accuracy",
                right / len(labels),
                record=record,
                subject="held-out",
                n=len(labels),
                interval=wilson_interval(right, len(labels)),
                note="Wilson 95 %",
            )
        )
    for skip in evidence.manifest.skips:
        if not skip.regime:
            continue
        rows.append(
            Row(
                run=evidence.manifest.run,
                job="",
                backend=skip.backend,
                regime=skip.regime,
                seed=-1,
                subject="held-out",
                measure="accuracy",
                value=None,
                unit=MEASURES["accuracy"].unit,
                n=0,
                note=f"absent: {skip.reason}",
            )
        )
    return rows


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Score interval of a proportion, 95 % (Wilson, JASA 1927)."""
    z = _Z95
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
