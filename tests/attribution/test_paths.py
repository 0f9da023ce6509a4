"""Adaptive integration against functions whose integrated gradients are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.attribution.paths import integrate
from trustml.attribution.subdivision import relative_errors


class Along:
    """Functions of d features whose gradients along the path are given; it counts the looks at every example."""

    def __init__(self, gradients, mean, count):
        self.gradients, self.mean = gradients, mean
        self.looks = np.zeros(count, int)

    def __call__(self, rows, points):
        assert ((points >= 0) & (points <= 1)).all()
        np.add.at(self.looks, rows, 1)
        return self.gradients(rows, points)


def polynomials(generator, *, count, features, degree):
    factors = generator.normal(size=(count, features, degree + 1))
    powers = np.arange(degree + 1)

    def gradients(rows, points):
        return np.einsum("kdp,kp->kd", factors[rows], points[:, None] ** powers)

    return Along(gradients, (factors / (powers + 1)).sum(axis=2), count)


def pieces(generator, *, count, features, kinks):
    """Gradients that are constant but for `kinks` jumps a path."""
    places = np.sort(generator.uniform(size=(count, kinks)), axis=1)
    steps = generator.normal(size=(count, kinks + 1, features))
    ends = np.concatenate([np.zeros((count, 1)), places, np.ones((count, 1))], axis=1)

    def gradients(rows, points):
        return steps[rows, (points[:, None] > places[rows]).sum(axis=1)]

    return Along(gradients, np.einsum("np,npd->nd", np.diff(ends, axis=1), steps), count)


def run(path, *, tolerance, budget, generator):
    differences = generator.normal(size=path.mean.shape).astype(np.float32)
    changes = (path.mean * differences).sum(axis=1)
    found = integrate(path, differences=differences, changes=changes, tolerance=tolerance, budget=budget)
    return found, path.mean * differences, changes


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(3, 60))
@settings(max_examples=30)
def test_a_polynomial_is_exact_with_three_passes(seed, degree, budget):
    generator = np.random.default_rng(seed)
    path = polynomials(generator, count=4, features=3, degree=degree)
    found, expected, _ = run(path, tolerance=1e-2, budget=budget, generator=generator)
    np.testing.assert_allclose(found.attributions, expected, atol=1e-5 * np.abs(expected).max())
    assert (found.passes == 3).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 6), st.sampled_from([0.0, 1e-3, 1e-2, 0.1]))
@settings(max_examples=60)
def test_errors_and_passes_are_what_was_returned_and_looked_at(seed, budget, kinks, tolerance):
    generator = np.random.default_rng(seed)
    path = pieces(generator, count=5, features=4, kinks=kinks)
    found, _, changes = run(path, tolerance=tolerance, budget=budget, generator=generator)
    assert (found.passes == path.looks).all()
    assert (found.passes <= budget).all() and (found.passes >= min(budget, 1)).all()
    np.testing.assert_array_equal(found.errors, relative_errors(found.attributions, changes))
    unreached = found.errors > tolerance + 1e-6
    if kinks:  # without one, what is left is rounding
        assert (found.passes[unreached] >= budget - 3).all()  # nobody stops early with less than was asked for


def test_few_kinks_are_closed_in_on_where_uniform_points_only_creep():
    # A cut leaves a third of a cell or less in doubt, so the error of 60 passes is far below the 1/60 of uniform ones.
    generator = np.random.default_rng(3)
    path = pieces(generator, count=50, features=8, kinks=2)
    found, expected, _ = run(path, tolerance=0.0, budget=101, generator=generator)
    adaptive = np.abs(found.attributions - expected).sum(axis=1) / np.abs(expected).sum(axis=1)
    points = (np.arange(101) + 0.5) / 101
    rows = np.repeat(np.arange(50), 101)
    uniform = path.gradients(rows, np.tile(points, 50)).reshape(50, 101, 8).mean(axis=1) * (expected / path.mean)
    uniform = np.abs(uniform - expected).sum(axis=1) / np.abs(expected).sum(axis=1)
    assert np.median(adaptive) < 1e-6 < 1e-3 < np.median(uniform)


def test_a_linear_path_takes_no_more_than_its_first_passes():
    generator = np.random.default_rng(0)
    path = pieces(generator, count=3, features=4, kinks=0)
    found, expected, _ = run(path, tolerance=1e-6, budget=50, generator=generator)
    np.testing.assert_allclose(found.attributions, expected, rtol=1e-5)
    assert found.passes.tolist() == [3, 3, 3]


def test_no_change_at_all_is_no_division_by_zero():
    path = Along(lambda rows, points: np.zeros((len(rows), 2)), np.zeros((3, 2)), 3)
    found = integrate(path, differences=np.ones((3, 2), np.float32), changes=np.zeros(3), tolerance=0.01, budget=9)
    assert found.errors.tolist() == [0, 0, 0] and found.passes.tolist() == [3, 3, 3]
    assert relative_errors(np.ones((1, 2)), np.zeros(1)) == np.inf


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
def test_the_smallest_budgets_still_give_a_rule(budget):
    generator = np.random.default_rng(1)
    path = polynomials(generator, count=2, features=3, degree=1)
    found, expected, _ = run(path, tolerance=0.0, budget=budget, generator=generator)
    np.testing.assert_allclose(found.attributions, expected, rtol=1e-4)
    assert (found.passes <= budget).all()
