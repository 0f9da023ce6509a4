"""Infidelity: how well attributions foretell what a perturbation does (Yeh et al., arXiv 1901.09392).

It comes in two halves. Perturbations are drawn once and the model is asked once: :func:`random_features`,
:func:`removal_steps`, then :func:`logit_changes`. Every method is then judged by dot products alone:
:func:`products`, then :func:`infidelity` or one of its scaled forms. A *step* I is what is subtracted from the input.
"""

from __future__ import annotations

import math

import numpy as np

from trustml.attribution.asking import Bools, Doubles, Predict, score_variants
from trustml.data.dataset import Floats, Ints


def removal_steps(inputs: Floats, *, baseline: Floats, removed: Bools) -> Floats:
    """Steps that put the baseline in the place of some values.

    Parameters
    ----------
    inputs, baseline : float32 arrays of shape (n, *x)
    removed : bool array of shape (n, samples, *x)
        From :func:`random_features`.

    Returns
    -------
    float32 array of shape (n, samples, *x)
    """
    return np.where(removed, (inputs - baseline)[:, None], np.float32(0.0)).astype(np.float32)


def random_features(
    features: Ints, *, share: float, examples: int, samples: int, generator: np.random.Generator
) -> Bools:
    """Draw a set of features for each sample, all sets of that size alike.

    Parameters
    ----------
    features : int64 array of shape (*x)
        Feature that each value belongs to, numbered from 0 without gaps.
    share : float
        Of all features, rounded up.
    examples, samples : int
    generator : numpy.random.Generator

    Returns
    -------
    bool array of shape (examples, samples, *x)
    """
    count = int(features.max()) + 1
    most = math.ceil(share * count - 1e-9)
    found = np.empty((examples, samples, *features.shape), np.bool_)
    for example in found:  # one by one: ranks of all at once are sixteen times what comes out
        example[...] = (generator.random((samples, count)).argsort(axis=1).argsort(axis=1) < most)[:, features]
    return found


def logit_changes(predict: Predict, *, inputs: Floats, targets: Ints, steps: Floats) -> Doubles:
    """What each step does to the target logit.

    Parameters
    ----------
    predict : callable
    inputs : float32 array of shape (n, *x)
    targets : int64 array of shape (n,)
    steps : float32 array of shape (n, k, *x)

    Returns
    -------
    float64 array of shape (n, k)
        ``f(x) - f(x - I)``, in logits.
    """
    whole = score_variants(predict, targets=targets, variants=1, make=lambda rows: inputs[rows, None])
    moved = score_variants(
        predict, targets=targets, variants=steps.shape[1], make=lambda rows: inputs[rows, None] - steps[rows]
    )
    return whole.logits - moved.logits


def products(attributions: Floats, *, steps: Floats, span: Floats | None = None) -> Doubles:
    """What the attributions foretell for each step.

    Parameters
    ----------
    attributions : float32 array of shape (n, *x)
    steps : float32 array of shape (n, k, *x)
    span : float32 array of shape (n, *x), optional
        ``input - baseline``, for attributions that already hold that factor (integrated gradients, input times
        gradient, Shapley values, ablation): they are contributions, not slopes, and a step counts as a share of
        the whole way. Where the span is 0, a contribution is 0 by definition and is left out. Leave it away for
        slopes (gradients and their averages).

    Returns
    -------
    float64 array of shape (n, k)
        ``I . phi``, or ``(I / span) . phi``; in logits for methods that explain logits.
    """
    found = np.empty(steps.shape[:2])
    for example, (moves, attribution) in enumerate(zip(steps, attributions, strict=True)):
        slopes = attribution.astype(np.float64).ravel()
        if span is not None:
            way = span[example].astype(np.float64).ravel()
            slopes = np.divide(slopes, way, out=np.zeros_like(slopes), where=way != 0)
        found[example] = moves.reshape(len(moves), -1).astype(np.float64) @ slopes
    return found


def infidelity(foretold: Doubles, changes: Doubles) -> Doubles:
    """Mean squared difference over the steps, (n,), in squared logits; the lower, the better, and 0 is exact."""
    return ((foretold - changes) ** 2).mean(axis=1)


def best_scale(foretold: Doubles, changes: Doubles) -> Doubles:
    """Factor, 0 or more, on an example's attributions that makes its infidelity least, (n,).

    A negative one would turn an explanation that foretells the opposite into one that foretells all (Captum's
    ``normalize=True`` allows it); here it foretells nothing.
    """
    squares = (foretold**2).sum(axis=1)
    alike = np.maximum((foretold * changes).sum(axis=1), 0.0)
    return np.divide(alike, squares, out=np.zeros_like(squares), where=squares > 0)


def scaled_infidelity(foretold: Doubles, changes: Doubles) -> Doubles:
    """Infidelity after the best scaling of each example's attributions, (n,), in squared logits.

    The scale of an attribution then no longer counts, only its direction (Yeh et al., section 3; Captum's
    ``normalize=True``).
    """
    return infidelity(best_scale(foretold, changes)[:, None] * foretold, changes)


def unexplained_share(foretold: Doubles, changes: Doubles) -> Doubles:
    """Scaled infidelity as a share of what there was to explain, (n,), between 0 (exact) and 1 (nothing).

    The mean square of the changes is divided out, so models whose logits have different ranges can be compared.
    NaN where no step changes the logit: there is nothing to explain.
    """
    scale = (changes**2).mean(axis=1)
    left = scaled_infidelity(foretold, changes)
    return np.divide(left, scale, out=np.full_like(left, np.nan), where=scale > 0)
