"""Means over examples with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.measures.resampling import FEWEST, draws_as_before, explained_ends

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean over examples with a bootstrap interval.

    Attributes
    ----------
    value : float
    low, high : float, optional
        None of fewer than two examples: their resamples are all the same, and say nothing of others.
    n : int
        Examples for which the number is defined.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, where there are any."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def mean_with_interval(values: Floats) -> MeanInterval | None:
    """Mean over the examples where `values` is defined, exact percentile bootstrap 95 %; None if there is none."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = explained_ends(defined) if len(defined) >= FEWEST or draws_as_before() else (None, None)
    return MeanInterval(value=float(defined.mean()), low=low, high=high, n=len(defined))


def redraw_error(values: Floats, again: Floats) -> float | None:
    """Monte-Carlo error of the mean of values that were drawn twice; None if there is no pair.

    Draws may be the same for all examples or others for each: then the mean moves as a whole, or each by itself; the
    larger of the two is told.

    Parameters
    ----------
    values, again : float arrays of shape (n,)
    """
    moved = again - values
    moved = moved[np.isfinite(moved)]
    if not len(moved):
        return None
    return float((max(moved.mean() ** 2, (moved**2).mean() / len(moved)) / 2) ** 0.5)
