"""Maximum sensitivity and the local Lipschitz estimate: by hand, by properties, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import random_inputs
from trustml.attribution.sensitivity import Distances, distances, local_lipschitz, max_sensitivity, neighbours


def test_by_hand():
    inputs = np.array([[3.0, 4.0]], np.float32)
    around = np.array([[[3.0, 5.0], [6.0, 8.0]]], np.float32)
    found = distances(lambda rows: 2 * rows, inputs=inputs, around=around)
    np.testing.assert_array_equal(found.norms, [10.0])
    np.testing.assert_array_equal(found.explanations, [[2.0, 10.0]])
    np.testing.assert_array_equal(found.inputs, [[1.0, 5.0]])
    assert max_sensitivity(found) == 1.0
    assert local_lipschitz(found) == 2.0


def test_what_is_undefined_is_not_a_number():
    nothing = Distances(norms=np.array([0.0]), explanations=np.array([[1.0]]), inputs=np.array([[0.0]]))
    assert np.isnan(max_sensitivity(nothing))
    assert np.isnan(local_lipschitz(nothing))
    one = Distances(norms=np.array([1.0]), explanations=np.array([[0.0, 1.0]]), inputs=np.array([[0.0, 2.0]]))
    assert local_lipschitz(one) == 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 1.0))
def test_neighbours_fill_the_box_and_no_more(seed, radius):
    inputs = random_inputs(3, (4, 2), seed=seed)
    around = neighbours(inputs, radius=radius, samples=50, generator=np.random.default_rng(seed))
    assert around.shape == (3, 50, 4, 2)
    moves = around - inputs[:, None]
    assert np.abs(moves).max() <= radius + 1e-6  # float32 of values of order 1
    # None of 1200 even draws in a twentieth of the box: 1e-27.
    assert moves.max() > 0.9 * radius
    assert moves.min() < -0.9 * radius


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([2.0**-10, 0.5, 8.0]))
def test_scale_counts_for_one_measure_and_not_for_the_other(seed, scale):
    inputs = random_inputs(4, (6,), seed=seed)
    around = neighbours(inputs, radius=0.2, samples=5, generator=np.random.default_rng(seed))
    one, other = (
        distances(lambda rows, factor=factor: np.float32(factor) * np.tanh(rows), inputs=inputs, around=around)
        for factor in (1.0, scale)
    )
    np.testing.assert_array_equal(max_sensitivity(one), max_sensitivity(other))
    np.testing.assert_array_equal(scale * local_lipschitz(one), local_lipschitz(other))
    # The slope of tanh is nowhere above 1; float32 differences of 0.2.
    assert local_lipschitz(one).max() < 1 + 1e-5


def test_constant_explanations_do_not_move_and_random_ones_do():
    inputs = random_inputs(20, (8, 8, 1), seed=0)
    around = neighbours(inputs, radius=0.05, samples=6, generator=np.random.default_rng(0))
    slope = random_inputs(1, (8, 8, 1), seed=1)
    steady = distances(lambda rows: np.repeat(slope, len(rows), axis=0), inputs=inputs, around=around)
    assert max_sensitivity(steady).max() == 0.0
    assert local_lipschitz(steady).max() == 0.0
    generator = np.random.default_rng(2)
    chance = distances(
        lambda rows: generator.standard_normal(rows.shape).astype(np.float32), inputs=inputs, around=around
    )
    # Two independent draws lie sqrt(2) apart, relative to the norm of one.
    assert max_sensitivity(chance).min() > 1.2
    assert local_lipschitz(chance).min() > 20


def test_every_call_gets_all_examples_in_their_order():
    inputs = random_inputs(5, (3,), seed=0)
    around = neighbours(inputs, radius=1e-3, samples=4, generator=np.random.default_rng(0))
    calls = []

    def explain(rows):
        calls.append(rows)
        return rows

    distances(explain, inputs=inputs, around=around, original=inputs)
    assert len(calls) == 4
    for rows in calls:
        np.testing.assert_allclose(rows, inputs, atol=1.1e-3)  # the radius


def test_the_maximum_is_taken_over_neighbours():
    found = Distances(
        norms=np.array([2.0, 4.0]), explanations=np.array([[1.0, 3.0], [8.0, 2.0]]), inputs=np.array([[1.0, 6.0]] * 2)
    )
    np.testing.assert_array_equal(max_sensitivity(found), [1.5, 2.0])
    np.testing.assert_array_equal(local_lipschitz(found), [1.0, 8.0])
    assert max_sensitivity(found) == pytest.approx([1.5, 2.0])
