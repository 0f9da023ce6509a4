"""tf-explain and Xplique against Captum and closed forms, on the same weights."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from captum import attr
from captum.attr._core.lime import SkLearnLasso, get_exp_kernel_similarity_function

from tests.backends.tensorflow.captum_side import FLOAT32, Explained, relative
from tests.backends.tensorflow.explained_cases import (
    AT_ONCE,
    CASES,
    CONVOLUTION,
    DETERMINISTIC,
    FEW,
    FEW_OF,
    IN_PARTS,
    SAMPLED,
    SEEDS,
    features_of,
)
from trustml.backends.torch.network import from_input

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(explained) -> dict[str, np.ndarray]:
    return explained[0]


# What follows the definition: against Captum.


def captum_gradient_methods(cnn: Explained) -> dict[str, torch.Tensor]:
    module, inputs, labels = cnn.module, cnn.tensor, cnn.labels
    return {
        "saliency.completed": attr.Saliency(module).attribute(inputs, target=labels),
        "signed.native": attr.Saliency(module).attribute(inputs, target=labels, abs=False),
        "saliency.native": attr.Saliency(module).attribute(inputs, target=labels, abs=False),
        "smooth_grad_without_noise.completed": attr.Saliency(module).attribute(inputs, target=labels, abs=False),
        "input_x_gradient.native": attr.InputXGradient(module).attribute(inputs, target=labels),
    }


def test_gradients_are_captums(cnn, found):
    for name, expected in captum_gradient_methods(cnn).items():
        assert relative(found[name], from_input(expected)) < FLOAT32, name


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
@pytest.mark.parametrize("name", ["guided_backprop", "deconvolution"])
def test_modified_backpropagation_is_captums(name, cnn, found):
    kind = {"guided_backprop": attr.GuidedBackprop, "deconvolution": attr.Deconvolution}[name]
    expected = from_input(kind(cnn.module).attribute(cnn.tensor, target=cnn.labels))
    assert relative(found[f"{name}.native"], expected) < FLOAT32
    plain = cnn.network.input_gradients(cnn.inputs, cnn.targets)
    assert relative(plain, expected) > 0.1  # the rule matters here


def test_relative_noise_is_a_share_of_the_range_of_each_input(cnn, found):
    _, method = DETERMINISTIC["smooth_grad_relative"]
    sizes = method.stdev * np.ptp(cnn.inputs, axis=(1, 2, 3))
    assert sizes.std() > 0
    noise = np.random.RandomState(0).normal(size=(method.n_samples, *cnn.inputs.shape[1:]))
    noisy = (cnn.inputs + sizes[:, None, None, None] * noise[:, None]).astype(np.float32)
    expected = np.mean([cnn.network.input_gradients(one, cnn.targets) for one in noisy], axis=0)
    assert relative(found["smooth_grad_relative.completed"], expected) < FLOAT32


def test_feature_ablation_is_captums(cnn, mlp, found):
    for name, case, features in (
        ("feature_ablation", cnn, cnn.features("cnn", patch=2)),
        ("feature_ablation_table", mlp, mlp.features("mlp")),
    ):
        expected = attr.FeatureAblation(case.module).attribute(
            case.tensor, baselines=case.baselines, target=case.labels, feature_mask=features
        )
        assert relative(found[f"{name}.native"], from_input(expected)) < FLOAT32, name


@pytest.mark.parametrize(("name", "side"), [("occlusion", 3), ("occlusion_clipped", 4)])
def test_completed_occlusion_is_captums(name, side, cnn, found):
    expected = attr.Occlusion(cnn.module).attribute(
        cnn.tensor,
        sliding_window_shapes=(2, side, side),
        strides=(2, side, side),
        baselines=cnn.baselines,
        target=cnn.labels,
    )
    assert relative(found[f"{name}.completed"], from_input(expected)) < FLOAT32


@pytest.mark.parametrize(("name", "relu"), [("grad_cam", True), ("grad_cam_signed", False)])
def test_completed_grad_cam_is_captums(name, relu, cnn, found):
    captum = attr.LayerGradCam(cnn.module, cnn.module[CONVOLUTION])
    expected = captum.attribute(cnn.tensor, target=cnn.labels, relu_attributions=relu)
    assert relative(found[f"{name}.completed"], expected.detach().numpy()[:, 0]) < FLOAT32


def test_layer_activation_is_the_layers_output(cnn, found):
    expected = attr.LayerActivation(cnn.module, cnn.module[CONVOLUTION]).attribute(cnn.tensor)
    assert relative(found["layer_activation.native"], from_input(expected)) < FLOAT32


def test_kept_models_take_new_weights(given, found):
    """A second model of the same architecture is explained with its own weights."""
    halved = Explained("cnn", {key: value * 0.5 if ".weights." in key else value for key, value in given.items()})
    gradients = halved.network.input_gradients(halved.inputs, halved.targets)
    assert relative(found["halved.saliency"], gradients) < FLOAT32
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        guided = attr.GuidedBackprop(halved.module).attribute(halved.tensor, target=halved.labels)
    assert relative(found["halved.guided"], from_input(guided)) < FLOAT32


@pytest.mark.parametrize("name", SAMPLED)
def test_an_example_has_the_same_numbers_alone(name, found):
    variants = [key.removeprefix("alone.") for key in found if key.startswith(f"alone.{name}.")]
    assert variants
    for variant in variants:
        assert relative(found[f"alone.{variant}"][0], found[variant][0, -1]) < 10 * FLOAT32, variant


@pytest.mark.parametrize("title", IN_PARTS)
def test_a_few_rows_at_once_give_the_same(title, explained):
    """As large inputs are explained: no more rows than are said go through a network together."""
    arrays, told = explained
    assert 1 <= told["rows_at_once"][title] <= AT_ONCE
    variants = [key.removeprefix("parts.") for key in arrays if key.startswith(f"parts.{title}.")]
    assert variants
    for variant in variants:
        assert relative(arrays[f"parts.{variant}"], arrays[variant]) < FLOAT32, variant


# Methods that draw random numbers: means over seeds, within their own error.


def assert_same_mean(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Means over seeds differ by less than 5 of their standard errors, everywhere.

    With 10 seeds a side, 5 standard errors are passed by chance once in some 10,000 values; the cases have
    up to 1134 of them, and their seeds are fixed.
    """
    error = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + theirs.var(axis=0, ddof=1) / len(theirs))
    floor = 1e-6 * np.abs(theirs).max()  # features that no sample moves
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 5 * error + floor).all()
    # The bound is worth something: it is small beside the attributions themselves.
    assert np.median(5 * error) < 0.5 * np.abs(theirs).max()


def over_seeds(attribute) -> np.ndarray:
    runs = []
    for seed in SEEDS:
        torch.manual_seed(1000 + seed)
        runs.append(from_input(attribute())[:FEW])
    return np.stack(runs)


@pytest.mark.parametrize(
    ("name", "kind", "variant"),
    [
        ("smooth_grad", "smoothgrad", "completed"),
        pytest.param("smooth_grad_squared", "smoothgrad_sq", "native", marks=pytest.mark.long),
        pytest.param("var_grad", "vargrad", "completed", marks=pytest.mark.long),
    ],
)
def test_noise_methods_are_captums(name, kind, variant, cnn, found):
    method = SAMPLED[name][1]
    tunnel = attr.NoiseTunnel(attr.Saliency(cnn.module))
    expected = over_seeds(
        lambda: tunnel.attribute(
            cnn.tensor, nt_type=kind, nt_samples=method.n_samples, stdevs=method.stdev, target=cnn.labels, abs=False
        )
    )
    assert_same_mean(found[f"{name}.{variant}"][:-1], expected)


@pytest.mark.long  # in short a linear model has its closed form
@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
def test_lime_is_captums(mlp, found):
    method = SAMPLED["lime"][1]
    captum = attr.Lime(
        mlp.module,
        interpretable_model=SkLearnLasso(alpha=method.alpha),
        similarity_func=get_exp_kernel_similarity_function("cosine", method.kernel_width),
    )
    expected = over_seeds(
        lambda: captum.attribute(
            mlp.tensor[:FEW],
            baselines=mlp.baselines[:FEW],
            target=mlp.labels[:FEW],
            feature_mask=mlp.features("mlp"),
            n_samples=method.n_samples,
            perturbations_per_eval=method.n_samples,
        )
    )
    assert_same_mean(found["lime.completed"][:-1], expected)


def shapley_values(case: Explained, features: np.ndarray) -> np.ndarray:
    """Shapley values by their definition, over all coalitions; shape (n, *x)."""
    count = int(features.max()) + 1
    worth = {}
    for members in itertools.chain.from_iterable(itertools.combinations(range(count), k) for k in range(count + 1)):
        worth[members] = case.logits(np.where(np.isin(features, members), case.inputs, case.baseline))
    values = np.zeros((len(case.inputs), count))
    for player in range(count):
        for members in worth:
            if player not in members:
                size = len(members)
                share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                values[:, player] += share * (worth[tuple(sorted((*members, player)))] - worth[members])
    return values[:, features]


@pytest.mark.long  # likewise
def test_completed_kernel_shap_gives_shapley_values(mlp, found):
    features = features_of(CASES["mlp"], patch=1)
    expected = shapley_values(mlp, features)[: FEW_OF["kernel_shap"]]
    runs = found["kernel_shap.completed"][:-1]
    error = runs.std(axis=0, ddof=1) / math.sqrt(len(runs))
    assert (np.abs(runs.mean(axis=0) - expected) <= 5 * error + 1e-6).all()
    assert error.max() < 0.01 * np.abs(expected).max()


def test_linear_models_have_closed_forms(given, found):
    """On a linear model every coalition method gives weight times difference, and no path bends anywhere."""
    inputs, baseline = given["linear.inputs"], given["linear.baseline"]
    weights = given["linear.weights.0.kernel"][:, given["linear.targets"]].T
    expected = weights * (inputs - baseline)
    for name in ("linear_kernel_shap.native", "linear_kernel_shap.completed", "linear_lime.completed"):
        assert relative(found[name], expected) < 1e-4, name  # the lasso of strength 1e-6 shrinks by less
    assert relative(found["linear_integrated_gradients.native"], weights) < 1e-6
    assert relative(found["linear_integrated_gradients.completed"], weights * inputs) < 1e-6


@pytest.mark.parametrize("name", SAMPLED)
def test_seeds_decide_what_is_drawn(name, found):
    for variant in ("native", "completed"):
        runs = found.get(f"{name}.{variant}")
        if runs is not None:
            np.testing.assert_array_equal(runs[0], runs[-1])  # the same seed, many calls later
            assert (runs[0] != runs[1]).any()
    assert f"{name}.native" in found
