"""Methods from predictions alone: features are switched between their value and the baseline's."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.coalitions import (
    Bools,
    Doubles,
    constrained_least_squares,
    every_coalition,
    scores,
    shapley_coalitions,
    weighted_lasso,
)
from trustml.backends.jax.network import Params, apply, to_params
from trustml.data.dataset import Floats
from trustml.models.layers import Architecture
from trustml.models.shapes import windows
from trustml.scenario import methods as m


def feature_ablation(request: ExplainRequest) -> Floats:
    """Fall of the target logit without one feature at a time."""
    count = _count(request)
    without = ~np.eye(count + 1, count, dtype=bool)  # the last one leaves nothing out
    found = _scores(request, np.broadcast_to(without, (len(request.inputs), *without.shape)))
    return _spread(request, found[:, -1:] - found[:, :-1])


def occlusion(request: ExplainRequest, method: m.Occlusion) -> Floats:
    """Fall of the target logit under each window, averaged over the windows that cover a pixel."""
    masks = window_masks(request.inputs.shape[1:], window=method.window, stride=method.stride)
    falls = np.asarray(
        _falls(
            request.model.architecture,
            to_params(request.model.weights),
            request.inputs,
            request.targets.astype(np.int32),
            request.baseline,
            masks,
        )
    )
    covered = masks.reshape(len(masks), -1).astype(np.float64)
    found = falls.astype(np.float64) @ covered / covered.sum(axis=0)
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


def feature_permutation(request: ExplainRequest) -> Floats:
    """Fall of the target logit when one feature at a time is shuffled among the examples."""
    generator = np.random.default_rng(request.seed)
    n = len(request.inputs)
    orders = np.stack([_moved(generator, n) for _ in range(_count(request))])
    falls = _permutation_falls(
        request.model.architecture,
        to_params(request.model.weights),
        request.inputs,
        request.targets.astype(np.int32),
        request.features,
        orders,
    )
    return _spread(request, np.asarray(falls).T)


def shapley_value_sampling(request: ExplainRequest, method: m.ShapleyValueSampling) -> Floats:
    """Mean rise of the target logit when a feature joins those before it, over random orders."""
    count, n = _count(request), len(request.inputs)
    generator = np.random.default_rng(request.seed)
    total = np.zeros((n, count))
    for _ in range(method.n_samples):
        order = generator.permutation(count)
        place = np.argsort(order)
        sets = place[None, :] < np.arange(count + 1)[:, None]  # growing from none to all
        found = _scores(request, np.broadcast_to(sets, (n, *sets.shape)))
        total[:, order] += np.diff(found, axis=1)
    return _spread(request, total / method.n_samples)


def kernel_shap(request: ExplainRequest, method: m.KernelShap) -> Floats:
    """Shapley values by weighted least squares, which add up exactly to the change of the logit."""
    count, n = _count(request), len(request.inputs)
    ends = _scores(request, np.broadcast_to(np.array([[False] * count, [True] * count]), (n, 2, count)))
    changes = ends[:, 1] - ends[:, 0]
    if count == 1:
        return _spread(request, changes[:, None])
    if count < 20 and 2**count - 2 <= method.n_samples:
        every, weights = every_coalition(count)
        sets = np.broadcast_to(every, (n, *every.shape))
    else:
        generator = np.random.default_rng(request.seed)
        sets = shapley_coalitions(generator, examples=n, samples=method.n_samples, features=count)
        weights = np.ones(method.n_samples)
    rises = _scores(request, sets) - ends[:, :1]
    found = [
        constrained_least_squares(own, rise, weights, change=float(change))
        for own, rise, change in zip(sets, rises, changes, strict=True)
    ]
    return _spread(request, np.stack(found))


def lime(request: ExplainRequest, method: m.Lime) -> Floats:
    """Lasso on random coalitions, weighted by an exponential kernel on the cosine distance to the input."""
    count, n = _count(request), len(request.inputs)
    generator = np.random.default_rng(request.seed)
    sets = generator.random((n, method.n_samples, count)) < 0.5
    values = _scores(request, sets)
    found = []
    for example in range(n):
        there = sets[example][:, request.features.ravel()]
        own, reference = (array[example].ravel().astype(np.float64) for array in (request.inputs, request.baseline))
        distances = _cosine_distances(own, np.where(there, own, reference))
        weights = np.exp(-(distances**2) / (2 * method.kernel_width**2))
        found.append(weighted_lasso(sets[example], values[example], weights, alpha=method.alpha))
    return _spread(request, np.stack(found))


def _cosine_distances(own: Doubles, others: Doubles) -> Doubles:
    norms = np.maximum(np.linalg.norm(own) * np.linalg.norm(others, axis=1), 1e-8)
    return 1 - others @ own / norms


def _count(request: ExplainRequest) -> int:
    return int(request.features.max()) + 1


def _scores(request: ExplainRequest, sets: Bools) -> Doubles:
    found = scores(
        request.model.architecture,
        to_params(request.model.weights),
        request.inputs,
        request.targets.astype(np.int32),
        request.baseline,
        request.features.astype(np.int32),
        sets,
    )
    return np.asarray(found, np.float64)


def _spread(request: ExplainRequest, by_feature: Doubles) -> Floats:
    """Give every value of a feature the feature's attribution."""
    return by_feature[:, request.features].astype(np.float32)


def _moved(generator: np.random.Generator, count: int) -> np.ndarray:
    """A random order that is not the present one (nothing else is left with a single example)."""
    while True:
        order = generator.permutation(count)
        if count < 2 or (order != np.arange(count)).any():
            return order


@functools.partial(jax.jit, static_argnames=("architecture",))
def _falls(
    architecture: Architecture, params: Params, inputs: Array, targets: Array, baseline: Array, masks: Array
) -> Array:
    def score(inputs: Array) -> Array:
        return jnp.take_along_axis(apply(architecture, params, inputs), targets[:, None], axis=1)[:, 0]

    whole = score(inputs)
    found = lax.map(lambda mask: whole - score(jnp.where(mask, baseline, inputs)), masks)
    return found.T


@functools.partial(jax.jit, static_argnames=("architecture",))
def _permutation_falls(
    architecture: Architecture, params: Params, inputs: Array, targets: Array, features: Array, orders: Array
) -> Array:
    def score(inputs: Array) -> Array:
        return jnp.take_along_axis(apply(architecture, params, inputs), targets[:, None], axis=1)[:, 0]

    whole = score(inputs)

    def fall(feature: tuple[Array, Array]) -> Array:
        number, order = feature
        return whole - score(jnp.where(features == number, inputs[order], inputs))

    return lax.map(fall, (jnp.arange(len(orders)), orders))
