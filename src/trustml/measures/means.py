"""Means over examples with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean over examples with a bootstrap interval.

    Attributes
    ----------
    value, low, high : float
    n : int
        Examples for which the number is defined.
    """

    value: float
    low: float
    high: float
    n: int


def mean_with_interval(values: Floats, *, seed: int = 0) -> MeanInterval | None:
    """Mean over the examples where `values` is defined, percentile bootstrap 95 %; None if there is none."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    generator = np.random.default_rng(seed)
    means = generator.choice(defined, (_RESAMPLES, len(defined))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return MeanInterval(value=float(defined.mean()), low=float(low), high=float(high), n=len(defined))
