"""Explanations by forward passes, against their definitions."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest

from trustml.attribution.occlusion import are_channels_first, feature_groups, kernel_shap, occluded


def game(stack):
    """Features that act together: x0 x1 + 2 x2 - x3 x4 x0."""
    x = stack.astype(np.float64)
    return x[..., 0] * x[..., 1] + 2 * x[..., 2] - x[..., 3] * x[..., 4] * x[..., 0]


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    return random.normal(size=(3, 5)).astype(np.float32), random.normal(size=(3, 5)).astype(np.float32)


def shapley(inputs, baseline):
    """By all orders in which features may come."""
    found = np.zeros(inputs.shape)
    for order in permutations(range(5)):
        present = baseline.astype(np.float64)
        for one in order:
            before = game(present)
            present = present.copy()
            present[:, one] = inputs[:, one]
            found[:, one] += game(present) - before
    return found / factorial(5)


def test_all_coalitions_give_shapley_values(rows):
    found = kernel_shap(*rows, np.arange(5), game, samples=30, generator=np.random.default_rng(0))
    np.testing.assert_allclose(found, shapley(*rows), atol=1e-6)


def test_drawn_coalitions_add_up_and_come_near(rows):
    found = kernel_shap(*rows, np.arange(5), game, samples=28, generator=np.random.default_rng(0))
    np.testing.assert_allclose(found.sum(axis=1), game(rows[0]) - game(rows[1]), atol=1e-6)
    draws = [
        kernel_shap(*rows, np.arange(5), game, samples=28, generator=np.random.default_rng(seed)) for seed in range(300)
    ]
    np.testing.assert_allclose(np.mean(draws, axis=0), shapley(*rows), atol=0.06)


def test_an_additive_score_is_given_back_by_both(rows):
    inputs, baseline = rows
    weights = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    score = lambda stack: stack @ weights  # noqa: E731
    wanted = (inputs - baseline) * weights
    np.testing.assert_allclose(occluded(inputs, baseline, np.arange(5), score), wanted, atol=1e-5)
    found = kernel_shap(inputs, baseline, np.arange(5), score, samples=12, generator=np.random.default_rng(1))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    grouped = kernel_shap(
        inputs, baseline, np.array([0, 0, 1, 1, 1]), score, samples=9, generator=np.random.default_rng(1)
    )
    np.testing.assert_allclose(grouped, np.stack([wanted[:, :2].sum(1), wanted[:, 2:].sum(1)], 1), atol=1e-5)
    alone = kernel_shap(inputs, baseline, np.zeros(5, np.int64), score, samples=9, generator=np.random.default_rng(1))
    np.testing.assert_allclose(alone[:, 0], wanted.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "first", "count"),
    [((28, 28, 1), False, 49), ((3, 32, 32), True, 49), ((4, 4, 3), False, 16), ((200,), False, 64), ((5,), False, 5)],
)
def test_groups_are_numbered_without_gaps(shape, first, count):
    assert are_channels_first(shape) == first
    groups = feature_groups(shape, channels_first=first)
    assert groups.shape == shape and sorted(set(groups.ravel())) == list(range(count))
    if first:
        np.testing.assert_array_equal(groups[0], groups[2])
