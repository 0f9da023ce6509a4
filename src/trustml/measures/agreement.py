"""How alike two attributions are, as numbers over examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.floating]

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Mean:
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


def spearman(first: Floats, second: Floats) -> Floats:
    """Rank correlation over the features of each example, ties at their mean rank.

    Parameters
    ----------
    first, second : float arrays of shape (n, *x)

    Returns
    -------
    float array of shape (n,)
        NaN for an example where either attribution is constant: it ranks nothing.
    """
    ranks = [rankdata(array.reshape(len(array), -1), axis=1) for array in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    norms = np.linalg.norm(centred[0], axis=1) * np.linalg.norm(centred[1], axis=1)
    products = (centred[0] * centred[1]).sum(axis=1)
    return np.divide(products, norms, out=np.full(len(products), np.nan), where=norms > 0)


def topk_overlap(first: Floats, second: Floats, *, share: float = 0.1) -> Floats:
    """Share of the features largest in magnitude that both attributions have, per example."""
    flat = [np.abs(array.reshape(len(array), -1)) for array in (first, second)]
    count = max(1, round(share * flat[0].shape[1]))
    top = [np.argsort(-array, axis=1, kind="stable")[:, :count] for array in flat]
    return np.array([len(np.intersect1d(a, b)) / count for a, b in zip(*top, strict=True)])


def max_abs_difference(first: Floats, second: Floats) -> float:
    """Largest |difference| over the largest |value| of `first`; NaN if that is zero."""
    largest = float(np.abs(first).max())
    return float(np.abs(first - second).max()) / largest if largest else float("nan")


def mean_with_interval(values: Floats, *, seed: int = 0) -> Mean | None:
    """Mean over the examples where `values` is defined, percentile bootstrap 95 %; None if there is none."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    generator = np.random.default_rng(seed)
    means = generator.choice(defined, (_RESAMPLES, len(defined))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(value=float(defined.mean()), low=float(low), high=float(high), n=len(defined))
