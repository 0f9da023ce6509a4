"""Rows on how far two attributions of the same examples agree."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attribution.similarity import SIMILARITIES
from trustml.measures.evidence import Evidence
from trustml.measures.means import mean_with_interval
from trustml.measures.row import About, Row
from trustml.record.schema import JobRecord

Floats = npt.NDArray[np.floating]


def agreement_rows(
    evidence: Evidence,
    arrays: tuple[Floats, Floats],
    *,
    record: JobRecord,
    subject: str,
    method: str,
    about: About,
    with_difference: bool,
) -> list[Row]:
    """One row for each similarity, a mean over examples with its bootstrap interval.

    Parameters
    ----------
    evidence : Evidence
    arrays : two float arrays of shape (n, *x)
    record : JobRecord
        Of the training of the (first) model.
    subject, method : str
    about : About
        What the two are to each other.
    with_difference : bool
        Whether both are in one unit, so that their difference means something.
    """
    rows = []
    images = arrays[0].ndim >= 3
    for name, similarity in SIMILARITIES.items():
        if similarity.images_only and not images:
            continue
        mean = mean_with_interval(similarity.function(*arrays))
        interval = msgspec.structs.replace(about, interval="bootstrap over examples", confidence=0.95)
        rows.append(
            evidence.row(
                f"attribution_agreement_{name}",
                mean.value if mean else None,
                record=record,
                subject=subject,
                method=method,
                n=mean.n if mean else 0,
                interval=(mean.low, mean.high) if mean else None,
                about=interval if mean else _absent(about, "not defined for any example"),
            )
        )
    if with_difference:
        value = max_abs_difference(*arrays)
        rows.append(
            evidence.row(
                "attribution_max_abs_difference",
                value if np.isfinite(value) else None,
                record=record,
                subject=subject,
                method=method,
                n=len(arrays[0]),
                about=about if np.isfinite(value) else _absent(about, "all attributions are zero"),
            )
        )
    return rows


def _absent(about: About, reason: str) -> About:
    return msgspec.structs.replace(about, verdict="absent", facts={**about.facts, "reason": reason})


def max_abs_difference(first: Floats, second: Floats) -> float:
    """Largest |difference| over the largest |value| of `first`; NaN if that is zero."""
    largest = float(np.abs(first).max())
    return float(np.abs(first - second).max()) / largest if largest else float("nan")
