"""The likelihood-ratio attack (Carlini et al., S&P 2022, 2112.03570).

A Gaussian is fitted to the scaled confidences that an example gets from reference models trained on it (in), another
to those from models not trained on it (out). Online, the score is the log-likelihood ratio of the target's value;
offline only the out models are used, and the score is how far the target's value lies above theirs.

Conventions are those of TF Privacy's ``compute_score_lira``: the centre is the median (its default), the standard
deviation is about the *mean*, with ddof 0; for fixed variance it is that of all differences from the example's own
centre, of all models together, in and out apart. Three things differ:

- Offline, the paper's test is one-sided, Pr(Z <= observed) under the out model. TF Privacy's option ``out`` is the
  out density itself, for which an unusually *low* confidence is a sign of membership as well.
- A deviation of zero becomes 1e-30 there, and scores of 1e58 follow. Here no deviation is below a hundredth of the
  pooled one.
- An example without in (or out) models there gets the average centre of all examples. Here it gets its own centre of
  the other side, moved by the median difference between the two sides; and an example with fewer than `fewest` models
  on a side gets the pooled deviation of that side. `LiraScores.fallbacks` counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Bools, Floats
from trustml.errors import UsageError

FEWEST = 4
SMALLEST_DEVIATION = 0.01
"""Smallest standard deviation of an example, as a share of the pooled one."""


@dataclass(frozen=True, kw_only=True)
class LiraScores:
    """Scores of one target.

    Attributes
    ----------
    scores : numpy.ndarray
        float64 of shape (n,): online the log-likelihood ratio in nats, offline standard deviations above the centre of
        the out models; the higher, the more likely a member.
    fallbacks : int
        Examples for which some statistic of their own was replaced by a pooled one.
    note : str
        The same in words; empty where there are none.
    """

    scores: Floats
    fallbacks: int
    note: str


@dataclass(frozen=True, kw_only=True)
class _Side:
    """Gaussian of every example on one side: NaN centres where it has no model there."""

    centre: Floats
    deviation: Floats
    count: npt.NDArray[np.int64]
    pooled: float


def lira(
    target: npt.NDArray[Any],
    references: npt.NDArray[Any],
    members: npt.NDArray[Any],
    *,
    online: bool = True,
    fixed_variance: bool = False,
    fewest: int = FEWEST,
) -> LiraScores:
    """Score every example.

    Parameters
    ----------
    target : numpy.ndarray
        Scaled confidences by the target, of shape (n,).
    references : numpy.ndarray
        Scaled confidences by the reference models, of shape (k, n).
    members : numpy.ndarray
        Bool of shape (k, n): who was trained on in which reference model.
    online : bool
        Use the models trained on an example too.
    fixed_variance : bool
        One deviation for all examples: better than one each below some 64 models.
    fewest : int
        Models on one side below which an example's own deviation is not used.

    Returns
    -------
    LiraScores

    Raises
    ------
    UsageError
        For shapes that do not fit, values that are not finite, or a side without any model.
    """
    observed, values, inside = _checked(target, references, members)
    out = _fit(values, ~inside)
    sides = [out]
    if online:
        sides.append(_fit(values, inside))
    for name, side in zip(("out", "in"), sides, strict=False):
        if not side.count.any() or np.isnan(side.pooled):
            raise UsageError(
                f"members: no example is {name} of any reference model; "
                + ("train reference models on other parts of the data" if name == "out" else "attack offline")
            )
    few = np.zeros(len(observed), bool)
    for side in sides:
        few |= side.count < (1 if fixed_variance else max(fewest, 1))
    if online:
        gap = float(np.nanmedian(sides[1].centre - out.centre)) if _both(sides).any() else 0.0
        centre_in = np.where(np.isnan(sides[1].centre), out.centre + gap, sides[1].centre)
        centre_out = np.where(np.isnan(out.centre), sides[1].centre - gap, out.centre)
        scores = _log_density(observed, centre_in, _deviation(sides[1], fixed_variance, fewest)) - _log_density(
            observed, centre_out, _deviation(out, fixed_variance, fewest)
        )
    else:
        centre_out = np.where(np.isnan(out.centre), np.nanmedian(out.centre), out.centre)
        scores = (observed - centre_out) / _deviation(out, fixed_variance, fewest)
    fallbacks = int(few.sum())
    note = f"pooled statistics for {fallbacks} of {len(observed)} examples with too few reference models"
    return LiraScores(scores=scores, fallbacks=fallbacks, note=note if fallbacks else "")


def _checked(
    target: npt.NDArray[Any], references: npt.NDArray[Any], members: npt.NDArray[Any]
) -> tuple[Floats, Floats, Bools]:
    observed, values, inside = np.asarray(target, np.float64), np.asarray(references, np.float64), np.asarray(members)
    if observed.ndim != 1 or values.ndim != 2 or values.shape[1:] != observed.shape or inside.shape != values.shape:
        raise UsageError(
            f"references: shape {values.shape} with members of {inside.shape} and a target of {observed.shape}; "
            "give (models, examples) twice and (examples,)"
        )
    if inside.dtype != np.bool_:
        raise UsageError(f"members: type {inside.dtype}; give one bool for every model and example")
    if not np.isfinite(observed).all() or not np.isfinite(values).all():
        raise UsageError("references: a confidence is not finite; fix that model or leave it out")
    return observed, values, inside


def _fit(values: Floats, chosen: Bools) -> _Side:
    """Fit one side; of shape (k, n) each."""
    count = chosen.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.where(chosen, values, 0.0).sum(axis=0) / some
    ordered = np.sort(np.where(chosen, values, np.inf), axis=0)
    rows = np.stack([(some - 1) // 2, some // 2])
    middle = np.take_along_axis(ordered, rows, 0).mean(axis=0)
    deviation = np.sqrt(np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=0) / some)
    residuals = (values - middle)[chosen]
    return _Side(
        centre=np.where(count > 0, middle, np.nan),
        deviation=deviation,
        count=count,
        pooled=float(residuals.std()) if residuals.size else float("nan"),
    )


def _deviation(side: _Side, fixed: bool, fewest: int) -> Floats:
    """Deviation used for every example; never zero."""
    own = np.full_like(side.deviation, side.pooled) if fixed else side.deviation
    own = np.where(side.count < fewest, side.pooled, own)
    return np.maximum(own, max(SMALLEST_DEVIATION * side.pooled, 1e-12))


def _both(sides: list[_Side]) -> Bools:
    return np.asarray(np.logical_and.reduce([side.count > 0 for side in sides]), bool)


def _log_density(values: Floats, centre: Floats, deviation: Floats) -> Floats:
    result: Floats = -0.5 * ((values - centre) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2.0 * np.pi)
    return result
