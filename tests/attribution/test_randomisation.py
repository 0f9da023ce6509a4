"""Randomised weights: which layers change, what is compared, entropies by hand, and explanations that fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import random_inputs
from trustml.attribution.randomisation import (
    Entropies,
    Stage,
    efficient_test,
    histogram_entropy,
    layers_from_the_top,
    randomisation_test,
    randomised_stages,
    relative_rise,
    smoothed,
    smoothing_noise,
)
from trustml.models.layers import Architecture, Dense, LayerNorm
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, small_cnn


def cosine(first, second):
    one, other = (a.reshape(len(a), -1).astype(np.float64) for a in (first, second))
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def two_draws(architecture, shape, seed=0):
    return (initial_weights(architecture, shape, generator=np.random.default_rng([seed, part])) for part in range(2))


def changed(stage: Stage, weights) -> set[int]:
    return {int(name.split(".")[0]) for name in weights if not np.array_equal(stage.weights[name], weights[name])}


@pytest.mark.parametrize(
    ("order", "wanted"), [("cascading", [{8}, {8, 6}, {8, 6, 2}, {8, 6, 2, 0}]), ("independent", [{8}, {6}, {2}, {0}])]
)
def test_layers_are_randomised_from_the_top(order, wanted):
    weights, fresh = two_draws(small_cnn(), (8, 8, 1))
    before = {name: array.copy() for name, array in weights.items()}
    stages = randomised_stages(weights, fresh=fresh, order=order)
    assert [stage.layer for stage in stages] == ["8", "6", "2", "0"]
    assert [changed(stage, weights) for stage in stages] == wanted
    for stage, layers in zip(stages, wanted, strict=True):
        for name, array in stage.weights.items():
            np.testing.assert_array_equal(array, fresh[name] if int(name.split(".")[0]) in layers else weights[name])
        assert list(stage.weights) == list(weights)
    for name, array in before.items():
        np.testing.assert_array_equal(array, weights[name])


def test_layers_of_equal_shape_get_weights_of_their_own():
    _, fresh = two_draws(mlp((16, 16, 16), classes=3), (16,))
    assert np.abs(fresh["2.kernel"] - fresh["4.kernel"]).max() > 0.1


def test_layers_keep_their_order_and_normalisation_goes_back_to_its_start():
    many = Architecture(layers=tuple(Dense(units=2) for _ in range(12)))
    weights, _ = two_draws(many, (2,))
    assert layers_from_the_top(weights) == [str(index) for index in range(11, -1, -1)]
    normal = Architecture(layers=(Dense(units=4), LayerNorm(), Dense(units=2)))
    weights, fresh = two_draws(normal, (3,))
    trained = weights | {"1.scale": np.full(4, 3.0, np.float32)}
    stage = randomised_stages(trained, fresh=fresh, order="independent")[1]
    np.testing.assert_array_equal(stage.weights["1.scale"], np.ones(4))


def gradient_of_an_mlp(weights, inputs):
    """Gradient of logit 0 of two dense layers with a ReLU between them."""
    hidden = inputs @ weights["0.kernel"] + weights["0.bias"]
    return ((hidden > 0) * weights["2.kernel"][:, 0]) @ weights["0.kernel"].T


def test_the_gradient_depends_on_weights_and_an_edge_detector_does_not():
    weights, fresh = two_draws(mlp((64,), classes=3), (40,))
    inputs = random_inputs(30, (40,), seed=0)
    stages = randomised_stages(weights, fresh=fresh, order="cascading")
    alike = {}
    for name, explain in (("gradient", gradient_of_an_mlp), ("edges", lambda _, rows: np.diff(rows, append=0))):
        found = randomisation_test(
            explain,
            inputs=inputs,
            original=explain(weights, inputs),
            stages=stages,
            similarities={"cosine": cosine, "absolute": lambda a, b: cosine(np.abs(a), np.abs(b))},
        )
        assert set(found) == {"cosine", "absolute"}
        assert found["cosine"].shape == (2, 30)
        alike[name] = found["cosine"].mean(axis=1)
    # Rounding of float32 norms.
    np.testing.assert_allclose(alike["edges"], 1, atol=1e-6)
    # All examples share the weights, so their mean has the spread of one cosine in 40 dimensions, 0.16; the
    # bound is three of them.
    assert abs(alike["gradient"][-1]) < 0.5
    efficient = efficient_test(
        lambda _, rows: np.diff(rows, append=0), inputs=inputs, original=np.diff(inputs, append=0), fresh=fresh
    )
    np.testing.assert_array_equal(relative_rise(efficient), 0)


def test_random_attributions_have_nothing_in_common_before_and_after():
    weights, fresh = two_draws(mlp((8,), classes=3), (40,))
    inputs = random_inputs(100, (40,), seed=0)
    generator = np.random.default_rng(3)
    found = randomisation_test(
        lambda _, rows: generator.standard_normal(rows.shape).astype(np.float32),
        inputs=inputs,
        original=random_inputs(100, (40,), seed=4),
        stages=randomised_stages(weights, fresh=fresh, order="independent"),
        similarities={"cosine": cosine},
    )
    # Noise passes this test: a cosine in 40 dimensions has spread 0.16, a mean over 100 examples 0.016.
    np.testing.assert_allclose(found["cosine"].mean(axis=1), 0, atol=0.05)


def test_smoothing_averages_over_the_noise_that_it_is_given():
    inputs = np.array([[0.0, 2.0], [1.0, 1.0]], np.float32)
    noise = np.array([[[1.0, 0.0], [0.0, 0.0]], [[-3.0, 0.0], [2.0, 0.0]]], np.float32)
    squares = smoothed(lambda weights, rows: weights["factor"] * rows**2, noise=noise)
    found = squares({"factor": np.float32(2.0)}, inputs)
    np.testing.assert_array_equal(found, [[10.0, 8.0], [10.0, 2.0]])


def test_smoothing_noise_follows_the_range_of_each_example():
    inputs = np.stack([np.linspace(0, 1, 50), np.linspace(-3, 1, 50)]).astype(np.float32)
    noise = smoothing_noise(inputs, magnitude=0.1, samples=400, generator=np.random.default_rng(0))
    assert noise.shape == (400, 2, 50)
    np.testing.assert_allclose(noise.std(axis=(0, 2)), [0.1, 0.4], rtol=0.03)  # 20,000 draws: 0.5 % standard error


def test_entropy_by_hand():
    rows = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [5.0, 5.0, 5.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = histogram_entropy(rows.astype(np.float32), bins=4)
    np.testing.assert_allclose(found, [math.log(2), quarter, 0.0, math.log(4)], rtol=1e-15)  # last place
    rise = relative_rise(Entropies(original=np.array([2.0, 0.0]), randomised=np.array([3.0, 1.0])))
    assert rise[0] == 0.5
    assert np.isnan(rise[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(-60, 60), st.integers(1, 100))
def test_entropy_is_bounded_and_does_not_see_the_scale(seed, exponent, bins):
    attributions = random_inputs(3, (9, 2), seed=seed)
    found = histogram_entropy(attributions, bins=bins)
    assert ((found >= 0) & (found <= math.log(bins) + 1e-12)).all()
    # Powers of two scale exactly, so no value changes its bin.
    np.testing.assert_array_equal(histogram_entropy(np.float32(2.0**exponent) * attributions, bins=bins), found)


def test_neighbouring_floats_make_a_histogram():
    close = np.nextafter(np.float32(1), np.float32(2))
    assert histogram_entropy(np.array([[1.0, close]], np.float32)) == pytest.approx(math.log(2), rel=1e-15)
