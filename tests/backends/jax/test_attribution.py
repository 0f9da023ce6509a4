"""JAX's attributions against Captum's on the same weights, and against closed forms."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from tests import WHOLE
from tests.backends.jax.explained import N, captum, cases, logits, model_of, request
from trustml.attribution.coalitions import constrained_least_squares, every_coalition, weighted_lasso
from trustml.backends.jax.attribution import explain
from trustml.backends.torch.attribution import explain as explain_by_captum
from trustml.models.layers import GELU, Architecture, AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Tanh
from trustml.scenario import methods as m

pytestmark = [pytest.mark.jax, pytest.mark.torch]

CASES = cases()
BOUND = 1e-4  # of the largest attribution, as the two frameworks' float32 sums differ in order
GRADIENT_METHODS = [
    m.Saliency(),
    m.Saliency(absolute=False),
    m.InputXGradient(),
    m.IntegratedGradients(n_steps=20),
    m.GuidedBackprop(),
    m.Deconvolution(),
    m.DeepLift(),
    m.FeatureAblation(),
]
LAYERS = {"small_cnn": (2, 6), "mlp": (1, 2), "mnist_cnn": (3,)}
CONVOLUTION = {"small_cnn": 2, "mnist_cnn": 3}


def native(asked) -> np.ndarray:
    return explain(asked)["native"]


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() < BOUND * np.abs(expected).max()


def theirs(asked) -> np.ndarray:
    """Captum's own answer; completed where its DeepLIFT loses a rule beside a max-pool, or it repeats pixels."""
    pooled = any(isinstance(layer, MaxPool) for layer in asked.model.architecture.layers)
    completed = pooled and isinstance(asked.method, m.DeepLift | m.DeepLiftShap | m.LayerDeepLift)
    if completed or isinstance(asked.method, m.GuidedGradCam):
        return explain_by_captum(asked)["completed"]
    return captum(asked)


def quick(name: str, method: object) -> bool:
    """Leave out what takes a thousand passes over the larger network and says no more than on the smaller."""
    return name != "mnist_cnn" or (not isinstance(method, m.FeatureAblation) and method != m.Occlusion())


def long_if_known(name: str, *rest: object) -> object:
    """In short one network, as each method is compiled for each: that which has every kind of layer."""
    return pytest.param(name, *rest, marks=() if name == "small_cnn" else pytest.mark.long)


@pytest.mark.parametrize(
    ("name", "method"),
    [long_if_known(name, method) for name in CASES for method in GRADIENT_METHODS if quick(name, method)],
    ids=lambda value: value if isinstance(value, str) else f"{value.title}-{value!s:.40}",
)
def test_methods_of_the_input_equal_captum(name, method):
    model, inputs = CASES[name]
    asked = request(model, inputs, method)
    assert_close(native(asked), theirs(asked))


@pytest.mark.parametrize("name", ["small_cnn", pytest.param("mlp", marks=pytest.mark.long)])
def test_deep_lift_shap_equals_captum(name):
    model, inputs = CASES[name]
    asked = request(model, inputs, m.DeepLiftShap(), background=inputs[::-1][:4] * 0.7)
    assert_close(native(asked), theirs(asked))


IMAGE_METHODS = (
    m.GradCam(),
    m.GradCam(relu=False),
    m.GuidedGradCam(),
    m.Occlusion(window=(3, 3), stride=(2, 2)),
    m.Occlusion(),
)


@pytest.mark.parametrize(
    ("name", "method"),
    [long_if_known(name, method) for name in CONVOLUTION for method in IMAGE_METHODS if quick(name, method)],
    ids=str,
)
def test_methods_of_images_equal_captum(name, method):
    model, inputs = CASES[name]
    asked = request(model, inputs, method, layer=CONVOLUTION[name])
    expected = theirs(asked)
    assert_close(native(asked), expected[..., 0] if isinstance(method, m.GradCam) else expected)


LAYER_METHODS = [
    lambda layer: m.LayerActivation(layer=layer),
    lambda layer: m.LayerGradientXActivation(layer=layer),
    lambda layer: m.LayerIntegratedGradients(layer=layer, n_steps=20),
    lambda layer: m.LayerConductance(layer=layer, n_steps=20),
    lambda layer: m.LayerDeepLift(layer=layer),
    lambda layer: m.InternalInfluence(layer=layer, n_steps=20),
]


@pytest.mark.parametrize("name", [long_if_known(name) for name in LAYERS])
@pytest.mark.parametrize(
    "number",
    range(len(LAYER_METHODS)),
    ids=["act", "grad_act", "ig", "conductance", "deep_lift", "influence"],
)
def test_methods_of_a_layer_equal_captum(name, number):
    (model, inputs), make = CASES[name], LAYER_METHODS[number]
    for layer in LAYERS[name] if WHOLE else LAYERS[name][number % 2 :][:1]:  # in short every method, and every layer
        asked = request(model, inputs, make(layer), layer=layer)
        assert_close(native(asked), theirs(asked))


@pytest.mark.parametrize(
    ("name", "layer", "neuron"),
    [("small_cnn", 2, (1, 3, 5)), pytest.param("small_cnn", 6, (4,), marks=pytest.mark.long), ("mlp", 2, (3,))],
)
def test_neuron_integrated_gradients_equal_captum(name, layer, neuron):
    model, inputs = CASES[name]
    asked = request(model, inputs, m.NeuronIntegratedGradients(layer=layer, neuron=neuron, n_steps=20), layer=layer)
    assert_close(native(asked), captum(asked))


@pytest.mark.parametrize("patch", [2, pytest.param(4, marks=pytest.mark.long)])
def test_grouped_ablation_equals_captum_and_is_one_number_a_group(patch):
    model, inputs = CASES["small_cnn"]
    rows = np.arange(8) // patch
    features = (rows[:, None] * (8 // patch) + rows[None, :])[..., None]
    asked = request(model, inputs, m.FeatureAblation(patch=patch), features=features)
    found = native(asked)
    assert_close(found, captum(asked))
    for feature in range(features.max() + 1):
        assert np.ptp(found[:, features == feature], axis=1).max() == 0


# Networks on which Captum has no right answer: completeness says who is right.


def gap(found: np.ndarray, asked) -> float:
    rows = np.arange(N)
    change = logits(asked.model, asked.inputs) - logits(asked.model, asked.baseline)
    change = change[rows, asked.targets]
    return float(np.abs(found.reshape(N, -1).sum(axis=1) - change).max() / np.abs(change).max())


OVERLAPPING = Architecture(
    layers=(
        Conv2D(filters=4),
        MaxPool(size=(2, 2), stride=(1, 1)),
        Conv2D(filters=4),
        ReLU(),
        Flatten(),
        Dense(units=5),
    )
)
SMOOTH = Architecture(layers=(Dense(units=12), GELU(), Dense(units=8), Tanh(), Dense(units=5)))


def test_deep_lift_is_complete_where_pooling_windows_overlap_and_captum_is_not():
    inputs = CASES["small_cnn"][1]
    asked = request(model_of(OVERLAPPING, (8, 8, 1)), inputs, m.DeepLift())
    assert gap(native(asked), asked) < 1e-5
    assert gap(captum(asked), asked) > 0.05


def test_deep_lift_is_complete_through_gelu_and_captum_is_not():
    inputs = CASES["mlp"][1]
    asked = request(model_of(SMOOTH, (64,)), inputs, m.DeepLift())
    assert gap(native(asked), asked) < 1e-5
    assert gap(captum(asked), asked) > 0.01


COMPLETE = {
    "deep_lift": (m.DeepLift(), 1e-5),
    "ig": (m.IntegratedGradients(n_steps=300), 5e-3),  # ReLU networks: the error falls as one over the steps
    "shapley": (m.ShapleyValueSampling(n_samples=2), 1e-5),
    "kernel_shap": (m.KernelShap(n_samples=50), 1e-5),
}


@pytest.mark.parametrize(
    ("name", "method", "bound"), [long_if_known(name, *COMPLETE[how]) for how in COMPLETE for name in CASES], ids=str
)
def test_what_should_be_complete_is(name, method, bound):
    model, inputs = CASES[name]
    if name == "mnist_cnn" and isinstance(method, m.ShapleyValueSampling):
        method = m.ShapleyValueSampling(n_samples=2, name="few")
    assert gap(native(request(model, inputs, method)), request(model, inputs, method)) < bound


def test_relevance_is_conserved_without_biases():
    architecture = Architecture(
        layers=(
            Conv2D(filters=4, bias=False),
            ReLU(),
            AvgPool(),
            MaxPool(size=(2, 2), stride=(1, 1)),
            Flatten(),
            Dense(units=12, bias=False),
            Tanh(),
            Dense(units=5, bias=False),
        )
    )
    inputs = CASES["small_cnn"][1]
    asked = request(model_of(architecture, (8, 8, 1)), inputs, m.LRP())
    chosen = logits(asked.model, inputs)[np.arange(N), asked.targets]
    found = native(asked).reshape(N, -1).sum(axis=1)
    np.testing.assert_allclose(found, chosen, rtol=1e-3, atol=1e-4 * np.abs(chosen).max())


def test_lrp_equals_captum_on_layers_that_captum_knows():
    from captum.attr import LRP

    from trustml.backends.torch.network import build_module, from_input, to_input, to_labels

    model, inputs = CASES["mlp"]
    asked = request(model, inputs, m.LRP())
    expected = LRP(build_module(model).eval()).attribute(to_input(inputs).requires_grad_(), to_labels(asked.targets))
    assert_close(native(asked), from_input(expected.detach()))


# Closed forms.

LINEAR = Architecture(layers=(Dense(units=3),))
CONTRIBUTIONS = [
    m.IntegratedGradients(n_steps=5),
    m.DeepLift(),
    m.FeatureAblation(),
    m.ShapleyValueSampling(n_samples=3),
    m.KernelShap(n_samples=60),
]


@pytest.mark.parametrize("method", CONTRIBUTIONS, ids=lambda method: method.title)
def test_a_linear_model_is_explained_by_its_terms(method):
    inputs = np.random.default_rng(1).normal(size=(N, 8)).astype(np.float32)
    model = model_of(LINEAR, (8,))
    asked = request(model, inputs, method, baseline=0.5)
    expected = (inputs - 0.5) * model.weights["0.kernel"].T[asked.targets]
    np.testing.assert_allclose(native(asked), expected, atol=1e-5)


def test_lime_of_a_linear_model_is_its_terms_without_a_penalty():
    inputs = np.random.default_rng(1).normal(size=(N, 8)).astype(np.float32)
    model = model_of(LINEAR, (8,))
    asked = request(model, inputs, m.Lime(alpha=0.0, n_samples=100), baseline=0.5)
    expected = (inputs - 0.5) * model.weights["0.kernel"].T[asked.targets]
    np.testing.assert_allclose(native(asked), expected, atol=1e-4)


def test_two_players_share_what_they_win_together():
    # max(0, a + b - 1): alone each wins nothing, together 1; the Shapley values are one half each.
    architecture = Architecture(layers=(Dense(units=1), ReLU(), Dense(units=2)))
    model = model_of(architecture, (2,))
    model.weights.update(
        {
            "0.kernel": np.ones((2, 1), np.float32),
            "0.bias": np.full(1, -1, np.float32),
            "2.kernel": np.array([[1.0, 0.0]], np.float32),
            "2.bias": np.zeros(2, np.float32),
        }
    )
    inputs = np.ones((1, 2), np.float32)
    for method in (m.KernelShap(n_samples=10), m.ShapleyValueSampling(n_samples=400)):
        found = native(request(model, inputs, method, baseline=0.0))
        tolerance = 1e-5 if isinstance(method, m.KernelShap) else 5 * 0.5 / math.sqrt(400)
        np.testing.assert_allclose(found, [[0.5, 0.5]], atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_enumerated_kernel_shap_gives_shapley_values(players, seed):
    values = dict(
        zip(
            itertools.product((False, True), repeat=players),
            np.random.default_rng(seed).normal(size=2**players),
            strict=True,
        )
    )
    empty, whole = values[(False,) * players], values[(True,) * players]
    expected = np.zeros(players)
    for order in itertools.permutations(range(players)):
        there = [False] * players
        for player in order:
            before = values[tuple(there)]
            there[player] = True
            expected[player] += (values[tuple(there)] - before) / math.factorial(players)
    sets, weights = every_coalition(players)
    rises = np.array([values[tuple(map(bool, row))] - empty for row in sets])
    found = constrained_least_squares(sets, rises, weights, change=whole - empty)
    np.testing.assert_allclose(found, expected, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.floats(0.001, 0.2), st.integers(0, 10_000))
def test_the_lasso_is_scikit_learns(features, alpha, seed):
    generator = np.random.default_rng(seed)
    sets = generator.random((60, features)) < 0.5
    values = sets @ generator.normal(size=features) + 0.1 * generator.normal(size=60)
    weights = generator.random(60) + 0.1
    expected = Lasso(alpha=alpha, tol=1e-10, max_iter=100_000).fit(sets.astype(float), values, sample_weight=weights)
    again = 2 * values  # another problem beside it, which ends at another time
    found = weighted_lasso(np.stack([sets, sets]), np.stack([values, again]), np.stack([weights, weights]), alpha=alpha)
    np.testing.assert_allclose(found[0], expected.coef_, atol=1e-6)


# Sampling methods.

SAMPLED = [
    m.SmoothGrad(n_samples=8),
    m.SmoothGrad(n_samples=8, statistic="mean_of_squares", name="squares"),
    m.SmoothGrad(n_samples=8, statistic="variance", name="variance"),
    m.SmoothGrad(n_samples=4, of=m.DeepLift(), name="smooth_deep_lift"),
    m.GradientShap(n_samples=8),
    m.FeaturePermutation(),
    m.ShapleyValueSampling(n_samples=2),
    m.KernelShap(n_samples=40),
    m.Lime(n_samples=40),
]
QUICK_TO_DRAW = ("SmoothGrad", "FeaturePermutation", "KernelShap")
"""In short noise on inputs, an order, and coalitions: each kind of thing that is drawn."""


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, id=one.title, marks=() if one.title in QUICK_TO_DRAW else pytest.mark.long) for one in SAMPLED],
)
def test_random_numbers_follow_from_the_seed(method):
    model, inputs = CASES["mlp"]
    background = inputs[::-1].copy()
    one, again, other = (native(request(model, inputs, method, seed=seed, background=background)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert np.abs(one - other).max() > 0
    assert np.isfinite(one).all()


def test_smooth_grad_statistics_belong_together():
    model, inputs = CASES["mlp"]
    mean, squares, variance = (
        native(request(model, inputs, m.SmoothGrad(n_samples=10, statistic=statistic)))
        for statistic in ("mean", "mean_of_squares", "variance")
    )
    np.testing.assert_allclose(variance, squares - mean**2, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "captums"),
    [
        (m.SmoothGrad(n_samples=400, stdev=0.2), "NoiseTunnel"),
        pytest.param(m.GradientShap(n_samples=400), "GradientShap", marks=pytest.mark.long),
        pytest.param(m.ShapleyValueSampling(n_samples=60), "ShapleyValueSampling", marks=pytest.mark.long),
    ],
    ids=lambda value: value if isinstance(value, str) else value.title,
)
def test_sampling_methods_agree_with_captum_within_their_errors(method, captums):
    """Means of 20 seeds of ours against 20 of Captum's: within 5 joint standard errors everywhere (about 400 values).

    Each value by its own error: the examples share what is drawn, so that their errors are not independent.
    """
    import torch
    from captum import attr

    from trustml.backends.torch.network import build_module, from_input, to_input, to_labels

    model, inputs = CASES["mlp"]
    background = (inputs[::-1] * 0.5).copy()
    asked = request(model, inputs, method, background=background)
    module, target = build_module(model).eval(), to_labels(asked.targets)
    ours = np.stack([native(request(model, inputs, method, background=background, seed=seed)) for seed in range(20)])
    theirs = []
    for seed in range(20):
        torch.manual_seed(seed)
        np.random.seed(seed)  # Captum's GradientShap draws its baselines from numpy's global generator
        if captums == "NoiseTunnel":
            found = attr.NoiseTunnel(attr.Saliency(module)).attribute(
                to_input(inputs), target=target, abs=False, nt_samples=method.n_samples, stdevs=method.stdev
            )
        elif captums == "GradientShap":
            found = attr.GradientShap(module).attribute(
                to_input(inputs), to_input(background), target=target, n_samples=method.n_samples
            )
        else:
            found = attr.ShapleyValueSampling(module).attribute(
                to_input(inputs),
                baselines=to_input(asked.baseline),
                target=target,
                n_samples=method.n_samples,
                perturbations_per_eval=64,
            )
        theirs.append(from_input(found.float()))
    both = np.stack([ours, np.stack(theirs)]).astype(np.float64)
    errors = np.sqrt(both.var(axis=1, ddof=1).sum(axis=0) / 20)
    apart = np.abs(both[0].mean(axis=0) - both[1].mean(axis=0))
    assert (apart <= 5 * errors + 1e-6 * np.abs(both).max()).all()
    assert np.corrcoef(both[0].mean(axis=0).ravel(), both[1].mean(axis=0).ravel())[0, 1] > 0.99


def test_images_of_any_shape_keep_their_axes():
    architecture = Architecture(layers=(Conv2D(filters=3), ReLU(), Flatten(), Dense(units=4)))
    inputs = np.random.default_rng(0).random((4, 6, 8, 2)).astype(np.float32)
    model = model_of(architecture, (6, 8, 2))
    for method in (m.IntegratedGradients(n_steps=5), m.Occlusion(window=(2, 3), stride=(2, 3)), m.DeepLift()):
        asked = request(model, inputs, method)
        assert_close(native(asked), captum(asked))
    asked = request(model, inputs, m.GradCam(), layer=0)
    assert native(asked).shape == (4, 4, 6)


def test_relative_noise_is_a_share_of_the_range_of_each_input():
    """Of each alone it is what that size gives, and in PyTorch too."""
    model, inputs = CASES["mlp"]
    asked = request(model, inputs, m.SmoothGrad(stdev=0.5, relative=True, n_samples=4))
    sizes = 0.5 * np.ptp(inputs, axis=tuple(range(1, inputs.ndim)))
    assert sizes.std() > 0
    for explained in (native, lambda one: explain_by_captum(one)["native"]):
        whole = explained(asked)
        for row in (0, 3):
            alone = dataclasses.replace(asked, method=m.SmoothGrad(stdev=float(sizes[row]), n_samples=4))
            np.testing.assert_allclose(explained(alone)[row], whole[row], rtol=1e-5, atol=1e-7)
