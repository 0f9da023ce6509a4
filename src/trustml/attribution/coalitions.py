"""Coalitions of features, and linear models fitted to what a network says of them."""

from __future__ import annotations

import itertools
import math

import numpy as np

from trustml.attribution.asking import Bools, Doubles

_LASSO_SWEEPS = 2000
_LASSO_TOLERANCE = 1e-9


def shapley_coalitions(generator: np.random.Generator, *, samples: int, features: int) -> Bools:
    """Draw proper coalitions by the Shapley kernel.

    A size is drawn with probability proportional to 1 / (size * (features - size)), then a set of that size, all
    alike (Lundberg and Lee, arXiv 1705.07874, as Captum draws them). Shape (samples, features).
    """
    sizes = np.arange(1, features)
    shares = 1 / (sizes * (features - sizes))
    drawn = generator.choice(sizes, samples, p=shares / shares.sum())
    ranks = generator.random((samples, features)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < drawn[:, None])


def every_coalition(features: int) -> tuple[Bools, Doubles]:
    """All proper coalitions (2**features - 2, features) and their weights by the Shapley kernel."""
    sets = np.array(list(itertools.product((False, True), repeat=features)))[1:-1]
    sizes = sets.sum(axis=1)
    weights = np.array([(features - 1) / (math.comb(features, s) * s * (features - s)) for s in sizes])
    return sets, weights


def constrained_least_squares(sets: Bools, values: Doubles, weights: Doubles, *, change: float) -> Doubles:
    """Coefficients that sum to `change` exactly and fit `values` (rises above the empty coalition) best.

    Parameters
    ----------
    sets : bool array of shape (k, features)
    values, weights : float64 arrays of shape (k,)
    change : float

    Returns
    -------
    float64 array of shape (features,)
        Of the least norm around equal shares where the sets leave it open.
    """
    features = sets.shape[1]
    mean = change / features
    centred = sets - sets.mean(axis=1, keepdims=True)
    root = np.sqrt(weights)
    found, *_ = np.linalg.lstsq(centred * root[:, None], (values - sets.sum(axis=1) * mean) * root, rcond=None)
    return np.asarray(mean + found - found.mean())


def weighted_lasso(sets: Bools, values: Doubles, weights: Doubles, *, alpha: float) -> Doubles:
    """Coefficients of scikit-learn's Lasso with an intercept and sample weights, by coordinate descent.

    Each of n problems minimises ``sum_i w_i (y_i - b - x_i c)**2 / (2 sum_i w_i) + alpha |c|``; they go through the
    coordinates together, each until it is done.

    Parameters
    ----------
    sets : bool array of shape (n, k, features)
    values, weights : float64 arrays of shape (n, k)
    alpha : float

    Returns
    -------
    float64 array of shape (n, features)
    """
    shares = weights / weights.sum(axis=1, keepdims=True)
    matrix = sets - np.einsum("nk,nkf->nf", shares, sets)[:, None]
    response = values - (shares * values).sum(axis=1, keepdims=True)
    weighted = (matrix * shares[:, :, None]).swapaxes(1, 2)
    gram, moments = weighted @ matrix, (weighted @ response[:, :, None])[:, :, 0]
    found = np.zeros_like(moments)
    open_ = np.arange(len(found))
    for _ in range(_LASSO_SWEEPS):
        found[open_], largest = _sweep(gram[open_], moments[open_], found[open_], alpha=alpha)
        open_ = open_[largest >= _LASSO_TOLERANCE]
        if not len(open_):
            break
    return found


def _sweep(gram: Doubles, moments: Doubles, start: Doubles, *, alpha: float) -> tuple[Doubles, Doubles]:
    """Go through the coordinates once; new coefficients (n, features), and the largest change of each problem."""
    found, fitted = start.copy(), (gram @ start[:, :, None])[:, :, 0]
    for j in range(found.shape[1]):
        curvature = gram[:, j, j]
        rest = moments[:, j] - fitted[:, j] + curvature * found[:, j]
        shrunk = np.sign(rest) * np.maximum(np.abs(rest) - alpha, 0.0)
        new = np.divide(shrunk, curvature, out=found[:, j].copy(), where=curvature > 0)
        fitted += gram[:, j] * (new - found[:, j])[:, None]
        found[:, j] = new
    return found, np.abs(found - start).max(axis=1, initial=0.0)
