"""Methods from predictions alone: features are switched between their value and the baseline's.

What is drawn (coalitions, orders) is drawn once and shared by the examples, so that the numbers of one do not depend
on which others are explained; only what permutes features among the examples depends on them by definition.
"""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.coalitions import (
    Bools,
    Doubles,
    constrained_least_squares,
    every_coalition,
    shapley_coalitions,
    weighted_lasso,
)
from trustml.backends.jax.scores import coalition_scores, masked_scores, permuted_scores
from trustml.data.dataset import Floats
from trustml.models.shapes import windows
from trustml.scenario import methods as m

_ENTRIES = 2**24
"""Entries of the tables that are made at once, where there is a choice."""


def feature_ablation(request: ExplainRequest, method: m.FeatureAblation) -> Floats:
    """Fall of the target logit without one feature at a time."""
    count = _count(request)
    without = ~np.eye(count + 1, count, dtype=bool)  # the last one leaves nothing out
    found = coalition_scores(request, without[None])
    return _spread(request, found[:, -1:] - found[:, :-1])


def occlusion(request: ExplainRequest, method: m.Occlusion) -> Floats:
    """Fall of the target logit under each window, averaged over the windows that cover a pixel."""
    masks = window_masks(request.inputs.shape[1:], window=method.window, stride=method.stride)
    nothing = np.zeros_like(masks[:1])
    scores = masked_scores(request, np.concatenate([masks, nothing]))
    falls = scores[:, -1:] - scores[:, :-1]
    covered = masks.reshape(len(masks), -1).astype(np.float64)
    found = falls @ covered / covered.sum(axis=0)
    return found.reshape(request.inputs.shape).astype(np.float32)


def window_masks(shape: tuple[int, ...], *, window: tuple[int, int], stride: tuple[int, int]) -> Bools:
    """Pixels of every place of a window, all channels; the last places may lie partly outside, as in Captum."""
    places = [
        windows(side, size, stride=step, padding=(0, step - 1))
        for side, size, step in zip(shape[:2], window, stride, strict=True)
    ]
    masks = np.zeros((places[0] * places[1], *shape), bool)
    for number, (down, across) in enumerate(np.ndindex(*places)):
        top, left = down * stride[0], across * stride[1]
        masks[number, top : top + window[0], left : left + window[1]] = True
    return masks


def feature_permutation(request: ExplainRequest, method: m.FeaturePermutation) -> Floats:
    """Fall of the target logit when one feature at a time is shuffled among the examples."""
    generator = np.random.default_rng(request.seed)
    n = len(request.inputs)
    orders = np.stack([_moved(generator, n) for _ in range(_count(request))] + [np.arange(n)])
    scores = permuted_scores(request, orders)  # the last one moves nothing
    return _spread(request, scores[:, -1:] - scores[:, :-1])


def shapley_value_sampling(request: ExplainRequest, method: m.ShapleyValueSampling) -> Floats:
    """Mean rise of the target logit when a feature joins those before it, over random orders."""
    count, n = _count(request), len(request.inputs)
    generator = np.random.default_rng(request.seed)
    total = np.zeros((n, count))
    orders = np.stack([generator.permutation(count) for _ in range(method.n_samples)])
    ends = coalition_scores(request, np.array([[[False] * count, [True] * count]]))
    together = max(1, _ENTRIES // count**2)
    for start in range(0, method.n_samples, together):
        some = orders[start : start + together]
        place = np.argsort(some, axis=1)
        sets = place[:, None, :] < np.arange(1, count)[:, None]  # growing from one to all but one
        found = coalition_scores(request, sets.reshape(1, -1, count)).reshape(n, len(some), count - 1)
        for order, between in zip(some, found.swapaxes(0, 1), strict=True):
            total[:, order] += np.diff(np.concatenate([ends[:, :1], between, ends[:, 1:]], axis=1), axis=1)
    return _spread(request, total / method.n_samples)


def kernel_shap(request: ExplainRequest, method: m.KernelShap) -> Floats:
    """Shapley values by weighted least squares, which add up exactly to the change of the logit."""
    count = _count(request)
    ends = coalition_scores(request, np.array([[[False] * count, [True] * count]]))
    changes = ends[:, 1] - ends[:, 0]
    if count == 1:
        return _spread(request, changes[:, None])
    samples = m.samples_of(method, features=count)
    if count < 20 and 2**count - 2 <= samples:
        sets, weights = every_coalition(count)
    else:
        sets = shapley_coalitions(np.random.default_rng(request.seed), samples=samples, features=count)
        weights = np.ones(samples)
    rises = coalition_scores(request, sets[None]) - ends[:, :1]
    found = [
        constrained_least_squares(sets, rise, weights, change=float(change))
        for rise, change in zip(rises, changes, strict=True)
    ]
    return _spread(request, np.stack(found))


def lime(request: ExplainRequest, method: m.Lime) -> Floats:
    """Lasso on random coalitions, weighted by an exponential kernel on the cosine distance to the input."""
    count, n = _count(request), len(request.inputs)
    generator = np.random.default_rng(request.seed)
    samples = m.samples_of(method, features=count)
    sets = generator.random((samples, count)) < 0.5
    values = coalition_scores(request, sets[None])
    there = sets[:, request.features.ravel()]
    weights = np.empty_like(values)
    for example, row in enumerate(weights):
        own, reference = (array[example].ravel().astype(np.float64) for array in (request.inputs, request.baseline))
        distances = _cosine_distances(own, np.where(there, own, reference))
        row[:] = np.exp(-(distances**2) / (2 * method.kernel_width**2))
    shared = np.broadcast_to(sets, (n, *sets.shape))
    together = max(1, _ENTRIES // (count * max(count, samples)))
    parts = [slice(start, start + together) for start in range(0, n, together)]
    found = [weighted_lasso(shared[part], values[part], weights[part], alpha=method.alpha) for part in parts]
    return _spread(request, np.concatenate(found))


def _cosine_distances(own: Doubles, others: Doubles) -> Doubles:
    norms = np.maximum(np.linalg.norm(own) * np.linalg.norm(others, axis=1), 1e-8)
    return 1 - others @ own / norms


def _count(request: ExplainRequest) -> int:
    return int(request.features.max()) + 1


def _spread(request: ExplainRequest, by_feature: Doubles) -> Floats:
    """Give every value of a feature the feature's attribution."""
    return by_feature[:, request.features].astype(np.float32)


def _moved(generator: np.random.Generator, count: int) -> np.ndarray:
    """A random order that is not the present one (nothing else is left with a single example)."""
    while True:
        order = generator.permutation(count)
        if count < 2 or (order != np.arange(count)).any():
            return order
