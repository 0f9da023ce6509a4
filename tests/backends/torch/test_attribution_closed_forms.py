"""Attributions against what can be worked out by hand: linear models, a game of two players, one hidden layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.backends.torch.explaining import CNN, IMAGE, LINEAR, gap, missing, model_of, request
from trustml.backends.contract import Model
from trustml.backends.torch.attribution import explain
from trustml.backends.torch.network import TorchNetwork
from trustml.models.layers import Architecture as A
from trustml.models.layers import AvgPool, Conv2D, Dense, Dropout, Flatten, MaxPool, ReLU, Tanh
from trustml.models.zoo import mlp, mnist_cnn
from trustml.scenario import methods as m

pytestmark = pytest.mark.torch
ROUNDING = 1e-5
"""Float32 keeps 6e-8 of a value, and logits here are sums of up to a hundred values of either sign."""


def slopes(asked) -> np.ndarray:
    """Gradient of the target logit of LINEAR, shape (n, *IMAGE)."""
    return asked.model.weights["1.kernel"].T.reshape(3, *IMAGE)[asked.targets]


def grouped(values: np.ndarray) -> np.ndarray:
    """Give every value the sum over its square."""
    sums = values.reshape(-1, 3, 2, 4, 2, 2).sum(axis=(2, 4, 5), keepdims=True)
    return np.broadcast_to(sums, (len(values), 3, 2, 4, 2, 2)).reshape(values.shape)


@pytest.mark.parametrize(
    "method",
    [
        m.IntegratedGradients(n_steps=5),
        m.DeepLift(),
        m.FeatureAblation(),
        m.ShapleyValueSampling(n_samples=2),
        m.KernelShap(n_samples=300),
        m.Lime(n_samples=300, alpha=1e-7),
        m.Occlusion(window=(1, 1)),
    ],
    ids=lambda method: method.title,
)
def test_contributions_to_a_linear_model_are_slope_times_change(method):
    asked = request(method, model_of(LINEAR), baseline=np.random.default_rng(3).random(IMAGE))
    expected = slopes(asked) * (asked.inputs - asked.baseline)
    if isinstance(method, m.Occlusion):  # a window takes both channels
        expected = np.broadcast_to(expected.sum(axis=-1, keepdims=True), expected.shape)
    if hasattr(method, "patch"):
        expected = grouped(expected)
    # A million times the weight of other samples leaves float32 less room; and so does the tolerance of a lasso.
    bound = {"KernelShap": 1e-4, "Lime": 1e-4}.get(method.title, ROUNDING)
    assert gap(explain(asked)["native"], expected) < bound


def test_slopes_of_a_linear_model():
    model = model_of(LINEAR)
    asked = request(m.Saliency(), model)
    slope = slopes(asked)
    for method, expected in [
        (m.Saliency(), np.abs(slope)),
        (m.Saliency(absolute=False), slope),
        (m.InputXGradient(), slope * asked.inputs),
        (m.GuidedBackprop(), slope),
        (m.Deconvolution(), slope),
        (m.SmoothGrad(), slope),
        (m.SmoothGrad(statistic="mean_of_squares"), slope**2),
    ]:
        assert gap(explain(request(method, model))["native"], expected) < ROUNDING


def test_saliency_of_a_cnn_is_its_gradient_in_the_same_places():
    asked = request(m.Saliency(absolute=False))
    expected = TorchNetwork(asked.model).input_gradients(asked.inputs, asked.targets)
    assert gap(explain(asked)["native"], expected) < ROUNDING


def test_variance_of_smooth_grad_is_that_of_the_noise():
    asked = request(m.SmoothGrad(of=m.InputXGradient(), statistic="variance", n_samples=2000, stdev=0.5))
    asked = dataclasses.replace(asked, model=model_of(LINEAR))
    ratio = explain(asked)["native"] / (slopes(asked) ** 2 * 0.25)
    # A variance of 2000 draws has a relative standard deviation of sqrt(2 / 2000) = 0.032; 480 of them are compared.
    assert np.abs(ratio - 1).max() < 5 * 0.032
    assert abs(ratio.mean() - 1) < 5 * 0.032 / np.sqrt(480)


def test_captum_takes_a_small_variance_as_a_difference_of_means_in_float32():
    """Known defect of Captum 0.9.0: gradients of a linear model vary not at all, and some variances are below 0."""
    asked = request(m.SmoothGrad(statistic="variance", n_samples=10), model_of(LINEAR))
    found = explain(asked)["native"]
    assert (found < 0).any()
    assert gap(slopes(asked) ** 2 + found, slopes(asked) ** 2) < ROUNDING


@pytest.mark.parametrize(
    "of",
    [
        m.Saliency(),
        m.InputXGradient(),
        m.IntegratedGradients(n_steps=8),
        m.GuidedBackprop(),
        m.Deconvolution(),
        m.DeepLift(),
        m.LRP(epsilon=0.1),
    ],
    ids=lambda method: method.title,
)
def test_smooth_grad_without_noise_is_the_method_itself(of):
    baseline = np.random.default_rng(3).random(IMAGE)
    plain = explain(request(of, baseline=baseline))
    smooth = explain(request(m.SmoothGrad(of=of, stdev=0.0, n_samples=4), baseline=baseline))
    assert plain.keys() == smooth.keys()
    for variant, found in smooth.items():
        assert gap(found, plain[variant]) < ROUNDING


def test_gradient_shap_of_a_linear_model_is_slope_times_change_from_the_background():
    asked = request(m.GradientShap(n_samples=2000), model_of(LINEAR))
    one = dataclasses.replace(asked, background=asked.background[:1])
    assert gap(explain(one)["native"], slopes(asked) * (asked.inputs - asked.background[0])) < ROUNDING
    expected = slopes(asked) * (asked.inputs - asked.background.mean(axis=0))
    deviation = np.abs(slopes(asked)) * asked.background.std(axis=0) / np.sqrt(2000)
    assert (np.abs(explain(asked)["native"] - expected) < 5 * deviation + 1e-6).all()
    mean = explain(dataclasses.replace(asked, method=m.DeepLiftShap()))["native"]
    assert gap(mean, expected) < ROUNDING


def test_feature_permutation_of_two_examples_swaps_them():
    asked = request(m.FeaturePermutation(), model_of(LINEAR), count=2)
    expected = grouped(slopes(asked) * (asked.inputs - asked.inputs[::-1]))
    assert gap(explain(asked)["native"], expected) < ROUNDING


def test_occlusion_gives_a_pixel_the_mean_fall_over_its_windows():
    asked = request(m.Occlusion(window=(2, 3), stride=(1, 2)), model_of(LINEAR), baseline=0.3)
    change = (slopes(asked) * (asked.inputs - asked.baseline)).sum(axis=-1)
    total, windows = np.zeros_like(change), np.zeros_like(change)
    for row in range(0, 5):
        for column in range(0, 7, 2):  # the last one stands out over the border, and is cut
            part = np.s_[:, row : row + 2, column : column + 3]
            total[part] += change[part].sum(axis=(1, 2), keepdims=True)
            windows[part] += 1
    expected = np.repeat((total / windows)[..., None], 2, axis=-1)
    assert gap(explain(asked)["native"], expected) < ROUNDING


def two_players(method: m.Method) -> np.ndarray:
    """Play ``relu(x0 + x1 - 1)`` at (1.5, 2): alone they earn 0.5 and 1, together 2.5; Shapley values 1 and 1.5."""
    weights = {
        "0.kernel": np.ones((2, 1), np.float32),
        "0.bias": -np.ones(1, np.float32),
        "2.kernel": np.ones((1, 1), np.float32),
        "2.bias": np.zeros(1, np.float32),
    }
    model = Model(architecture=mlp([1], classes=1), input_shape=(2,), weights=weights)
    asked = request(method, model, count=1)
    return explain(dataclasses.replace(asked, inputs=np.array([[1.5, 2.0]], np.float32)))["native"][0]


def test_shapley_values_of_a_game_of_two_players():
    # Either order has probability 1/2, and changes a player's pay by 1: standard deviation 0.5 / sqrt(n).
    sampled = two_players(m.ShapleyValueSampling(n_samples=400))
    assert np.abs(sampled - [1, 1.5]).max() < 5 * 0.5 / 20
    assert sampled.sum() == pytest.approx(2.5, rel=1e-6)
    # Least squares weigh both coalitions of one player by how often they were drawn: the same deviation.
    fitted = two_players(m.KernelShap(n_samples=2000))
    assert np.abs(fitted - [1, 1.5]).max() < 5 * 0.5 / np.sqrt(2000)
    assert fitted.sum() == pytest.approx(2.5, rel=1e-4)  # float32 beside weights of a million
    assert two_players(m.FeatureAblation()) == pytest.approx([1.5, 2.0])
    assert two_players(m.DeepLift()).sum() == pytest.approx(2.5)


@pytest.mark.long
def test_kernel_shap_goes_to_shapley_values():
    sampled = explain(request(m.ShapleyValueSampling(n_samples=2000), count=1))["native"]
    errors = [
        np.abs(explain(request(m.KernelShap(n_samples=n), count=1))["native"] - sampled).mean() for n in (100, 6400)
    ]
    # An error of Monte Carlo falls to 1/8 from 100 to 6400 samples; that of the reference stays.
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize(("method", "passes"), [(m.GuidedBackprop(), "open"), (m.Deconvolution(), "all")])
def test_rectified_gradients_of_one_hidden_layer(method, passes):
    model = model_of(mlp([30], classes=3), (12,))
    asked = request(method, model, count=4)
    weights = model.weights
    hidden = asked.inputs @ weights["0.kernel"] + weights["0.bias"]
    gradient = np.maximum(weights["2.kernel"].T[asked.targets], 0)
    if passes == "open":
        gradient = gradient * (hidden > 0)
    assert gap(explain(asked)["native"], gradient @ weights["0.kernel"].T) < ROUNDING


@pytest.mark.parametrize("epsilon", [1e-9, 0.1])
def test_relevance_of_one_hidden_layer(epsilon):
    model = model_of(mlp([30], classes=3), (12,))
    asked = request(m.LRP(epsilon=epsilon), model, count=4)
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    before = asked.inputs @ weights["0.kernel"] + weights["0.bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ weights["2.kernel"] + weights["2.bias"]
    chosen = np.take_along_axis(logits, asked.targets[:, None], axis=1)
    relevance = hidden * weights["2.kernel"].T[asked.targets] * chosen / (chosen + epsilon * np.sign(chosen))
    relevance = asked.inputs * ((relevance / (before + epsilon * np.sign(before))) @ weights["0.kernel"].T)
    assert gap(explain(asked)["native"], relevance) < ROUNDING


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        (CNN, IMAGE),
        (mnist_cnn(), (28, 28, 1)),
        (A(layers=(Conv2D(filters=3), MaxPool(padding=((1, 0), (0, 1))), ReLU(), Flatten(), Dense(units=3))), IMAGE),
        (A(layers=(Conv2D(filters=3), ReLU(), AvgPool(), Dropout(rate=0.5), Flatten(), Dense(units=3))), IMAGE),
    ],
)
def test_relevance_without_epsilon_is_input_times_gradient_where_all_is_piecewise_linear(architecture, shape):
    """Ancona et al., ICLR 2018, proposition 1; our biases take their share in both."""
    model = model_of(architecture, shape)
    expected = explain(request(m.InputXGradient(), model))["native"]
    # Values near 0 feel an epsilon of 1e-9 at some 1e-5.
    assert gap(explain(request(m.LRP(), model))["native"], expected) < 1e-4


def test_a_max_pool_takes_no_relevance_however_large_epsilon_is():
    pool = A(layers=(MaxPool(), Flatten(), Dense(units=3, bias=False)))
    asked = request(m.LRP(epsilon=0.2), model_of(pool))
    logits = TorchNetwork(asked.model).logits(asked.inputs)
    chosen = np.take_along_axis(logits, asked.targets[:, None], axis=1)[:, 0]
    expected = chosen**2 / (chosen + 0.2 * np.sign(chosen))
    assert explain(asked)["native"].sum(axis=(1, 2, 3)) == pytest.approx(expected, rel=1e-4)


def test_completeness_on_a_smooth_model():
    tanh = A(layers=(Conv2D(filters=4), Tanh(), AvgPool(), Flatten(), Dense(units=8), Tanh(), Dense(units=3)))
    asked = request(m.IntegratedGradients(), model_of(tanh), baseline=0.7)
    assert missing(asked, explain(asked)["native"]) < ROUNDING
    deep = dataclasses.replace(asked, method=m.DeepLift())
    assert missing(deep, explain(deep)["native"]) < ROUNDING
