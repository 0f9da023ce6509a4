"""Methods from predictions alone: features are switched between their value and the baseline's.

Whoever asks the model gives a :class:`VariantScores`; what is here is numpy.

What is drawn (coalitions, orders) is drawn once and shared by the examples, so that the numbers of one do not depend
on which others are explained; only what permutes features among the examples depends on them by definition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from trustml.attribution.asking import Bools, Doubles, Predict, score_variants
from trustml.attribution.coalitions import (
    constrained_least_squares,
    every_coalition,
    shapley_coalitions,
    weighted_lasso,
)
from trustml.data.dataset import Floats, Ints
from trustml.models.shapes import windows
from trustml.scenario import methods as m

_ENTRIES = 2**24
"""Entries of the tables that are made at once, where there is a choice."""


class VariantScores(Protocol):
    """A model that is asked for variants of the examples that it explains.

    Attributes
    ----------
    inputs, baseline : float32 arrays of shape (n, *x)
    features : int64 array of shape (*x)
        Feature that each value belongs to, numbered from 0 without gaps.
    seed : int
    """

    inputs: Floats
    baseline: Floats
    features: Ints
    seed: int

    def of_coalitions(self, sets: Bools) -> Doubles:
        """Score where absent features take the baseline's values.

        Of sets (n, k, features), or (1, k, features) for the same coalitions in all examples; (n, k).
        """
        ...

    def of_masks(self, masks: Bools) -> Doubles:
        """Score where what a mask covers takes the baseline's values: masks (k, *x), scores (n, k)."""
        ...

    def of_orders(self, orders: Ints) -> Doubles:
        """Score where feature k comes from the examples orders[k]: orders (k, n), scores (n, k)."""
        ...


class AskedScores:
    """Scores of a model that is a callable, which is asked for all variants in turn.

    Parameters
    ----------
    predict : Predict
    inputs, baseline : float32 arrays of shape (n, *x)
    targets : int64 array of shape (n,)
        Column of the outputs that is the score of each example.
    features : int64 array of shape (*x)
    seed : int
    """

    def __init__(
        self, predict: Predict, *, inputs: Floats, targets: Ints, baseline: Floats, features: Ints, seed: int
    ) -> None:
        self._predict, self._targets = predict, targets
        self.inputs, self.baseline, self.features, self.seed = inputs, baseline, features, seed

    def of_coalitions(self, sets: Bools) -> Doubles:
        """See :class:`VariantScores`."""

        def make(part: slice, rows: slice) -> Floats:
            there = (sets[rows, part] if len(sets) > 1 else sets[:, part])[:, :, self.features]
            return np.where(there, self.inputs[rows, None], self.baseline[rows, None])

        return self._scores(sets.shape[1], make)

    def of_masks(self, masks: Bools) -> Doubles:
        """See :class:`VariantScores`."""
        return self._scores(
            len(masks),
            lambda part, rows: np.where(masks[None, part], self.baseline[rows, None], self.inputs[rows, None]),
        )

    def of_orders(self, orders: Ints) -> Doubles:
        """See :class:`VariantScores`."""
        numbers = np.arange(len(orders)).reshape(-1, *[1] * self.features.ndim)

        def make(part: slice, rows: slice) -> Floats:
            others = self.inputs[orders[part, rows]].swapaxes(0, 1)
            return np.where(self.features == numbers[part], others, self.inputs[rows, None])

        return self._scores(len(orders), make)

    def _scores(self, variants: int, make: Callable[[slice, slice], Floats]) -> Doubles:
        """Score some variants of an example at a time: all of a large image would not fit into memory."""
        found = [np.zeros((len(self.inputs), 0))]
        together = max(1, _ENTRIES // max(1, self.inputs[0].size))
        for start in range(0, variants, together):
            count = min(together, variants - start)
            some = functools.partial(make, slice(start, start + count))
            asked = score_variants(self._predict, targets=self._targets, variants=count, make=some)
            found.append(asked.logits)
        return np.concatenate(found, axis=1)


def feature_ablation(asked: VariantScores, method: m.FeatureAblation) -> Floats:
    """Fall of the target logit without one feature at a time."""
    count = _count(asked)
    whole, falls = asked.of_coalitions(np.ones((1, 1, count), bool)), []
    for some in _parts(count, count):
        without = np.ones((len(some), count), bool)
        without[np.arange(len(some)), some] = False
        falls.append(whole - asked.of_coalitions(without[None]))
    return _spread(asked, np.concatenate(falls, axis=1))


def occlusion(asked: VariantScores, method: m.Occlusion) -> Floats:
    """Fall of the target logit under each window, averaged over the windows that cover a pixel."""
    shape = asked.inputs.shape[1:]
    places = list(np.ndindex(*window_places(shape, window=method.window, stride=method.stride)))
    whole = asked.of_masks(np.zeros((1, *shape), bool))
    total, covered = np.zeros(asked.inputs.shape), np.zeros(shape)
    for some in _parts(len(places), int(np.prod(shape))):
        masks = window_masks(shape, [places[one] for one in some], window=method.window, stride=method.stride)
        total += np.tensordot(whole - asked.of_masks(masks), masks.astype(np.float64), axes=1)
        covered += masks.sum(axis=0)
    return (total / covered).astype(np.float32)


def window_places(shape: tuple[int, ...], *, window: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of places of a window; the last ones may lie partly outside, as in Captum."""
    down, across = (
        windows(side, size, stride=step, padding=(0, step - 1))
        for side, size, step in zip(shape[:2], window, stride, strict=True)
    )
    return down, across


def window_masks(
    shape: tuple[int, ...], places: list[tuple[int, ...]], *, window: tuple[int, int], stride: tuple[int, int]
) -> Bools:
    """Pixels of some places of a window, all channels."""
    masks = np.zeros((len(places), *shape), bool)
    for number, (down, across) in enumerate(places):
        top, left = down * stride[0], across * stride[1]
        masks[number, top : top + window[0], left : left + window[1]] = True
    return masks


def _parts(count: int, size: int) -> Iterator[range]:
    """Cut `count` things of `size` entries each into parts that fit into memory."""
    together = max(1, _ENTRIES // max(1, size))
    return (range(start, min(start + together, count)) for start in range(0, count, together))


def feature_permutation(asked: VariantScores, method: m.FeaturePermutation) -> Floats:
    """Fall of the target logit when one feature at a time is shuffled among the examples."""
    generator = np.random.default_rng(asked.seed)
    n = len(asked.inputs)
    orders = np.stack([_moved(generator, n) for _ in range(_count(asked))] + [np.arange(n)])
    scores = asked.of_orders(orders)  # the last one moves nothing
    return _spread(asked, scores[:, -1:] - scores[:, :-1])


def shapley_value_sampling(asked: VariantScores, method: m.ShapleyValueSampling) -> Floats:
    """Mean rise of the target logit when a feature joins those before it, over random orders."""
    count, n = _count(asked), len(asked.inputs)
    generator = np.random.default_rng(asked.seed)
    total = np.zeros((n, count))
    orders = np.stack([generator.permutation(count) for _ in range(method.n_samples)])
    ends = asked.of_coalitions(np.array([[[False] * count, [True] * count]]))
    together = max(1, _ENTRIES // count**2)
    for start in range(0, method.n_samples, together):
        some = orders[start : start + together]
        place = np.argsort(some, axis=1)
        sets = place[:, None, :] < np.arange(1, count)[:, None]  # growing from one to all but one
        found = asked.of_coalitions(sets.reshape(1, -1, count)).reshape(n, len(some), count - 1)
        for order, between in zip(some, found.swapaxes(0, 1), strict=True):
            total[:, order] += np.diff(np.concatenate([ends[:, :1], between, ends[:, 1:]], axis=1), axis=1)
    return _spread(asked, total / method.n_samples)


def kernel_shap(asked: VariantScores, method: m.KernelShap) -> Floats:
    """Shapley values by weighted least squares, which add up exactly to the change of the logit."""
    count = _count(asked)
    ends = asked.of_coalitions(np.array([[[False] * count, [True] * count]]))
    changes = ends[:, 1] - ends[:, 0]
    if count == 1:
        return _spread(asked, changes[:, None])
    samples = m.samples_of(method, features=count)
    if count < 20 and 2**count - 2 <= samples:
        sets, weights = every_coalition(count)
    else:
        sets = shapley_coalitions(np.random.default_rng(asked.seed), samples=samples, features=count)
        weights = np.ones(samples)
    rises = asked.of_coalitions(sets[None]) - ends[:, :1]
    found = [
        constrained_least_squares(sets, rise, weights, change=float(change))
        for rise, change in zip(rises, changes, strict=True)
    ]
    return _spread(asked, np.stack(found))


def lime(asked: VariantScores, method: m.Lime) -> Floats:
    """Lasso on random coalitions, weighted by an exponential kernel on the cosine distance to the input."""
    count, n = _count(asked), len(asked.inputs)
    generator = np.random.default_rng(asked.seed)
    samples = m.samples_of(method, features=count)
    sets = generator.random((samples, count)) < 0.5
    values = asked.of_coalitions(sets[None])
    there = sets[:, asked.features.ravel()]
    weights = np.empty_like(values)
    for example, row in enumerate(weights):
        own, reference = (array[example].ravel().astype(np.float64) for array in (asked.inputs, asked.baseline))
        distances = _cosine_distances(own, np.where(there, own, reference))
        row[:] = np.exp(-(distances**2) / (2 * method.kernel_width**2))
    shared = np.broadcast_to(sets, (n, *sets.shape))
    together = max(1, _ENTRIES // (count * max(count, samples)))
    parts = [slice(start, start + together) for start in range(0, n, together)]
    found = [weighted_lasso(shared[part], values[part], weights[part], alpha=method.alpha) for part in parts]
    return _spread(asked, np.concatenate(found))


def _cosine_distances(own: Doubles, others: Doubles) -> Doubles:
    norms = np.maximum(np.linalg.norm(own) * np.linalg.norm(others, axis=1), 1e-8)
    return 1 - others @ own / norms


def _count(asked: VariantScores) -> int:
    return int(asked.features.max()) + 1


def _spread(asked: VariantScores, by_feature: Doubles) -> Floats:
    """Give every value of a feature the feature's attribution."""
    return by_feature[:, asked.features].astype(np.float32)


def _moved(generator: np.random.Generator, count: int) -> np.ndarray:
    """A random order that is not the present one (nothing else is left with a single example)."""
    while True:
        order = generator.permutation(count)
        if count < 2 or (order != np.arange(count)).any():
            return order
