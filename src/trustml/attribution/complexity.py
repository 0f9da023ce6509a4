"""How concentrated an attribution is, one number an example."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]


def gini(attributions: Floats) -> Doubles:
    """Gini index of the magnitudes (Chalasani et al., arXiv 1810.06583).

    Parameters
    ----------
    attributions : float array of shape (n, *x)

    Returns
    -------
    float64 array of shape (n,)
        0 where all features count alike, (d - 1) / d where one alone does; NaN where all are zero.
    """
    sizes = np.sort(np.abs(attributions.reshape(len(attributions), -1).astype(np.float64)), axis=1)
    count, total = sizes.shape[1], sizes.sum(axis=1)
    weights = 2 * np.arange(1, count + 1) - count - 1
    return np.divide(sizes @ weights, count * total, out=np.full(len(total), np.nan), where=total > 0)


def entropy(attributions: Floats) -> Doubles:
    """Entropy of the shares of the magnitudes, in nats (Bhatt et al., arXiv 2005.00631).

    Parameters
    ----------
    attributions : float array of shape (n, *x)

    Returns
    -------
    float64 array of shape (n,)
        From 0, one feature alone, to log(d), all alike; NaN where all are zero.
    """
    sizes = np.abs(attributions.reshape(len(attributions), -1).astype(np.float64))
    total = sizes.sum(axis=1, keepdims=True)
    shares = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.where(total[:, 0] > 0, -(shares * logs).sum(axis=1), np.nan)
