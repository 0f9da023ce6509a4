"""What a model says when only some features are there, and linear models fitted to that."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.jax.network import Params, apply
from trustml.models.layers import Architecture

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_AT_ONCE = 512
_LASSO_SWEEPS = 2000
_LASSO_TOLERANCE = 1e-9


@functools.partial(jax.jit, static_argnames=("architecture",))
def scores(
    architecture: Architecture,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
    features: Array,
    coalitions: Array,
) -> Array:
    """Target logit for coalitions of each example; absent features take the baseline's values.

    Parameters
    ----------
    architecture : Architecture
    params : dict
    inputs, baseline : float32 arrays of shape (n, *x)
    targets : int array of shape (n,)
    features : int array of shape (*x)
    coalitions : bool array of shape (n, k, features)

    Returns
    -------
    array of shape (n, k)
    """

    def of_example(example: tuple[Array, Array, Array, Array]) -> Array:
        value, target, reference, sets = example

        def of_set(there: Array) -> Array:
            mixed = jnp.where(there[features], value, reference)
            return apply(architecture, params, mixed[None])[0, target]

        return lax.map(of_set, sets, batch_size=min(_AT_ONCE, len(sets)))

    return lax.map(of_example, (inputs, targets, baseline, coalitions))


def shapley_coalitions(generator: np.random.Generator, *, examples: int, samples: int, features: int) -> Bools:
    """Draw proper coalitions by the Shapley kernel; all of them, each once, where there are no more than `samples`.

    A size is drawn with probability proportional to 1 / (size * (features - size)), then a set of that size, all
    alike (Lundberg and Lee, arXiv 1705.07874, as Captum draws them). Shape (examples, samples, features).
    """
    sizes = np.arange(1, features)
    shares = 1 / (sizes * (features - sizes))
    drawn = generator.choice(sizes, (examples, samples), p=shares / shares.sum())
    ranks = generator.random((examples, samples, features)).argsort(axis=2).argsort(axis=2)
    return np.asarray(ranks < drawn[:, :, None])


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

    Minimises ``sum_i w_i (y_i - b - x_i c)**2 / (2 sum_i w_i) + alpha |c|``; shapes as above.
    """
    shares = weights / weights.sum()
    matrix = sets - shares @ sets
    response = values - shares @ values
    gram, moments = (matrix * shares[:, None]).T @ matrix, (matrix * shares[:, None]).T @ response
    found = np.zeros(sets.shape[1])
    fitted = np.zeros_like(found)
    for _ in range(_LASSO_SWEEPS):
        largest = 0.0
        for j in range(len(found)):
            if gram[j, j] == 0:
                continue
            rest = moments[j] - fitted[j] + gram[j, j] * found[j]
            new = np.sign(rest) * max(abs(rest) - alpha, 0.0) / gram[j, j]
            if new != found[j]:
                fitted += gram[:, j] * (new - found[j])
                largest = max(largest, abs(new - found[j]))
                found[j] = new
        if largest < _LASSO_TOLERANCE:
            break
    return found
