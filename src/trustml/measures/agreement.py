"""Rows on how far two attributions of the same examples agree."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attribution.similarity import SIMILARITIES
from trustml.measures.evidence import Evidence
from trustml.measures.means import mean_with_interval, redraw_error
from trustml.measures.row import About, Facts, Row
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
    again: tuple[Floats | None, Floats | None] = (None, None),
) -> list[Row]:
    """One row for each similarity, a mean over examples with its exact bootstrap interval.

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
    again : two float arrays of shape (n, *x), optional
        The two sides by other draws, for methods that draw.
    """
    rows = []
    images = arrays[0].ndim >= 3
    for name, similarity in SIMILARITIES.items():
        if similarity.images_only and not images:
            continue
        each = similarity.function(*arrays)
        mean = mean_with_interval(each)
        told = {**about.facts, **by_draws(similarity.function, arrays, again, each)} if mean else about.facts
        interval = msgspec.structs.replace(about, interval="exact bootstrap over examples", confidence=0.95, facts=told)
        rows.append(
            evidence.row(
                f"attribution_agreement_{name}",
                mean.value if mean else None,
                record=record,
                subject=subject,
                method=method,
                n=mean.n if mean else 0,
                interval=mean.interval if mean else None,
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


def by_draws(
    similarity: Callable[[Floats, Floats], Floats],
    arrays: tuple[Floats, Floats],
    again: tuple[Floats | None, Floats | None],
    each: Floats,
) -> Facts:
    """Tell how far an agreement rests on the draws of the methods, and whether it is less than that of two draws.

    The Monte-Carlo error is of the mean, from one more draw of each side (:func:`redraw_error`).

    Parameters
    ----------
    similarity : callable
    arrays, again : two float arrays of shape (n, *x)
        `again` holds None for a side that does not draw.
    each : float array of shape (n,)
        The agreement of `arrays`.
    """
    apart = [similarity(one, other) for one, other in zip(arrays, again, strict=True) if other is not None]
    if not apart:
        return {}
    first, second = (one if other is None else other for one, other in zip(arrays, again, strict=True))
    error = redraw_error(each, similarity(first, second))
    if error is None:
        return {}
    facts: Facts = {"monte_carlo_error": error}
    between = np.mean(apart, axis=0)
    gaps = mean_with_interval(each - between)
    if gaps is not None:
        facts["between_draws"] = float(np.nanmean(between))
        if gaps.high is not None:
            facts["within_draws"] = bool(gaps.high + 2 * error >= 0)
    return facts


def _absent(about: About, reason: str) -> About:
    return msgspec.structs.replace(about, verdict="absent", facts={**about.facts, "reason": reason})


def max_abs_difference(first: Floats, second: Floats) -> float:
    """Largest |difference| over the largest |value| of `first`; NaN if that is zero."""
    largest = float(np.abs(first).max())
    return float(np.abs(first - second).max()) / largest if largest else float("nan")
