"""One model in memory, explained by one method: who explains it, and that it is what that library gives."""

from __future__ import annotations

import gc
import subprocess
import tracemalloc

import captum.attr
import jax
import numpy as np
import pytest
import torch

import trustml
from trustml.launch.environments import find_environment

pytestmark = [pytest.mark.torch, pytest.mark.jax]
GIVEN = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
_ASKED = ("FeatureAblation", "FeaturePermutation", "ShapleyValueSampling", "KernelShap", "Lime")


def network():
    """A small torch module in training mode, with dropout that must not act."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Dropout(0.9), torch.nn.Linear(8, 3)]
    return torch.nn.Sequential(*layers).train()


def in_jax(module):
    """The same as a function of parameters."""
    params = {name: jax.numpy.asarray(value.detach().numpy()) for name, value in module.named_parameters()}

    def function(params, inputs):
        hidden = jax.numpy.tanh(inputs @ params["0.weight"].T + params["0.bias"])
        return hidden @ params["3.weight"].T + params["3.bias"]

    return function, params


def by_captum(module, method, **given):
    """What a user of Captum gets."""
    inputs = torch.from_numpy(GIVEN).clone().requires_grad_()
    found = getattr(captum.attr, method)(module.eval()).attribute(inputs, target=1, **given)
    return found.detach().numpy()


@pytest.mark.parametrize(
    ("method", "given"),
    [
        (trustml.Saliency(), {}),
        (trustml.InputXGradient(), {}),
        (trustml.IntegratedGradients(n_steps=30), {"n_steps": 30}),
        (trustml.FeatureAblation(), {}),
    ],
)
def test_a_module_and_a_function_of_jax_are_explained_as_captum_does(method, given):
    module = network()
    expected = by_captum(network(), type(method).__name__, **given)
    by_torch = trustml.explain(module, GIVEN, method=method, target=1)
    by_jax = trustml.explain(in_jax(module), GIVEN, method=method, target=1)
    assert (by_torch.library, by_jax.library) == ("captum", "trustml-jax")
    for found in (by_torch, by_jax):
        assert np.abs(found.attributions - expected).max() <= 1e-6 * max(1, np.abs(expected).max())
    assert module.training and all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("method", _ASKED)
def test_what_is_only_asked_gets_what_jax_gets(method):
    module = network()
    by_jax = trustml.explain(in_jax(module), GIVEN, method=method, target=2, seed=3)
    module.eval()
    asked = trustml.explain(
        lambda rows: module(torch.from_numpy(rows)).detach().numpy(), GIVEN, method=method, target=2, seed=3
    )
    assert asked.library == "trustml"
    np.testing.assert_allclose(asked.attributions, by_jax.attributions, atol=2e-6)
    if asked.residual is not None:
        assert np.abs(asked.residual).max() < 1e-5


def test_occlusion_by_asking_is_captums_and_images_keep_their_layout():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    images = np.random.default_rng(1).normal(size=(2, 2, 6, 6)).astype(np.float32)
    expected = captum.attr.Occlusion(module).attribute(
        torch.from_numpy(images), target=1, sliding_window_shapes=(2, 3, 3), strides=(2, 1, 1)
    )
    of_module = trustml.explain(module, images, method="occlusion", target=1)

    def ask(rows):
        return module(torch.from_numpy(rows)).detach().numpy()

    asked = trustml.explain(ask, images, method="occlusion", target=1, channels_first=True)
    for found in (of_module, asked):
        np.testing.assert_allclose(found.attributions, expected.numpy(), atol=1e-6)
    gradients = trustml.explain(module, images)
    assert gradients.attributions.shape == images.shape
    assert np.abs(gradients.residual).max() < 0.05
    last = trustml.explain(
        lambda rows: ask(np.moveaxis(rows, -1, 1)), np.moveaxis(images, 1, -1), method="occlusion", target=1
    )
    np.testing.assert_allclose(np.moveaxis(last.attributions, -1, 1), expected.numpy(), atol=1e-6)


def test_parameters_are_arguments_and_functions_are_told_apart():
    function, params = in_jax(network())
    before = trustml.explain((function, params), GIVEN, target=0).attributions
    doubled = params | {"3.weight": 2 * params["3.weight"]}
    np.testing.assert_allclose(
        trustml.explain((function, doubled), GIVEN, target=0).attributions, 2 * before, rtol=1e-5
    )
    for factor in (1.0, 2.0, 3.0):  # each gone before the next is made, which may then lie where it lay
        found = trustml.explain((lambda p, x, by=factor: by * x, {}), GIVEN, method="Saliency", target=0)
        np.testing.assert_allclose(found.attributions[:, 0], factor)
        del found
        gc.collect()


def test_parameters_of_jax_may_hold_keys_and_whole_numbers():
    params = {"key": jax.random.key(0), "count": 3, "slope": jax.numpy.arange(5.0)}
    found = trustml.explain(
        (lambda p, x: (x * p["slope"]).sum(1, keepdims=True) * p["count"] + jax.random.normal(p["key"], ()), params),
        GIVEN,
        method="Saliency",
    )
    np.testing.assert_allclose(found.attributions, np.broadcast_to(3 * np.arange(5.0), (4, 5)), rtol=1e-6)


def test_rules_inside_of_layers_need_an_imported_model():
    module = network().eval()
    with pytest.raises(trustml.UsageError, match=r"LRP has no rule .*trustml\.import_model"):
        trustml.explain(module, GIVEN, method="LRP")
    imported = trustml.import_model(module, example=torch.from_numpy(GIVEN))
    with pytest.raises(trustml.UsageError, match=r"the imported model takes \(n, 5\)"):
        trustml.explain(imported, GIVEN[:, :3])
    with pytest.raises(trustml.UsageError, match="slides a window over images"):
        trustml.explain(lambda rows: rows, GIVEN, method="Occlusion")
    found = [trustml.explain(imported, GIVEN, method="DeepLift", backend=name, target=1) for name in ("torch", "jax")]
    np.testing.assert_allclose(found[0].attributions, found[1].attributions, atol=1e-6)
    assert np.abs(found[0].residual).max() < 1e-5


def test_whole_numbers_are_asked_for_outputs_alone():
    module = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    assert trustml.explain(module, tokens, method="FeatureAblation").attributions.shape == (2, 3)
    with pytest.raises(trustml.UsageError, match="inputs of whole numbers have none; use one of FeatureAblation"):
        trustml.explain(module, tokens)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "IntegratedGradient"}, "did you mean IntegratedGradients"),
        ({"method": "LayerActivation"}, "needs layer"),
        ({"method": trustml.IntegratedGradients(max_completeness_error=0.1)}, "is for runs"),
        ({"method": trustml.IntegratedGradients(baseline=trustml.Mean())}, "Mean is of a scenario's data"),
        ({"method": "Saliency", "baseline": 0.0}, "Saliency has none"),
        ({"method": "GradientShap"}, "give background="),
        ({"method": "GradientShap", "background": GIVEN[:, :3]}, r"give \(b, 5\)"),
        ({"inputs": [[1.0, 2.0], [3.0]]}, "rows differ in length"),
        ({"method": "Occlusion"}, "slides a window over images"),
        ({"baseline": np.zeros(3)}, "does not go with inputs"),
        ({"target": 3}, "outputs 0 to 2"),
        ({"target": [0, 1]}, "one for each of the 4 examples"),
        ({"features": np.array([0, 1, 2, 3, 5])}, "without gaps"),
        ({"inputs": GIVEN[0]}, "have shape"),
        ({"inputs": np.full_like(GIVEN, np.nan)}, "NaN or infinity"),
        ({"backend": "jax"}, "is for imported models"),
    ],
)
def test_what_does_not_fit_is_said(given, says):
    with pytest.raises(trustml.UsageError, match=says):
        trustml.explain(network(), **({"inputs": GIVEN} | given))


def test_what_inputs_cannot_hold_is_no_baseline():
    """Else the model is asked about another one: 38 for 38.6, 255 for -1."""
    rows = np.array([[40, 7], [20, 3]])

    def total(inputs):
        return inputs.sum(1, keepdims=True)

    for given, baseline in ((rows, [38.6, 5.9]), (rows.astype(np.uint8), -1), (rows.astype(np.uint8), 300)):
        with pytest.raises(trustml.UsageError, match="cannot hold it; give inputs as floats"):
            trustml.explain(total, given, method="FeatureAblation", baseline=baseline)
    found = trustml.explain(total, rows.astype(float), method="FeatureAblation", baseline=[38.6, 5.9])
    np.testing.assert_allclose(found.attributions, [[1.4, 1.1], [-18.6, -2.9]], rtol=1e-5)
    whole = trustml.explain(total, rows, method="FeatureAblation", baseline=[8, 1])
    assert whole.attributions.tolist() == [[32, 6], [12, 2]]


def test_a_baseline_is_broadcast_as_the_inputs_are_laid_out():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 6, 2))
    images = np.random.default_rng(2).normal(size=(2, 3, 8, 6)).astype(np.float32)
    given = np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32)
    found = trustml.explain(module, images, baseline=given)
    np.testing.assert_array_equal(found.baseline, np.broadcast_to(given, images.shape))
    assert np.abs(found.residual).max() < 1e-5


@pytest.mark.long
def test_a_large_image_is_explained_within_memory():
    """All places of a window at once, each an image, took 2 GiB at 96 x 96."""
    image = np.random.default_rng(4).normal(size=(1, 96, 96, 3)).astype(np.float32)

    def total(inputs):
        assert inputs.nbytes < 2**29
        return inputs.reshape(len(inputs), -1).sum(1, keepdims=True)

    tracemalloc.start()
    try:
        found = trustml.explain(total, image, method=trustml.Occlusion(window=(4, 4), stride=(4, 4)), target=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    windows = image.reshape(24, 4, 24, 4, 3).sum(axis=(1, 3, 4))
    np.testing.assert_allclose(found.attributions[0, ::4, ::4, 0], windows, atol=2e-3)
    assert peak < 2**29


def test_an_explanation_shows_itself():
    found = trustml.explain(network(), GIVEN, method="IntegratedGradients")
    assert "by captum: attributions of 4 x 5" in found._repr_html_()
    assert found.targets.tolist() == np.argmax(network().eval()(torch.from_numpy(GIVEN)).detach().numpy(), 1).tolist()
    assert [row["value"] for row in next(iter(found.chart(2).to_dict()["datasets"].values()))] == pytest.approx(
        found.attributions[2].tolist()
    )


@pytest.mark.tensorflow
@pytest.mark.long
def test_a_model_of_keras_is_explained_by_the_libraries_of_tensorflow(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, tensorflow as tf, trustml\n"
        "net = tf.keras.Sequential([tf.keras.layers.Dense(8, 'tanh'), tf.keras.layers.Dense(3)])\n"
        "x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)\n"
        "net(x); name = net.name\n"
        "found = trustml.explain(net, x, target=1)\n"
        "assert found.library == 'tf-explain' and np.abs(found.residual).max() < 1e-2, found.residual\n"
        "assert np.abs(trustml.explain(net, x, method='KernelShap', target=1).residual).max() < 1e-5\n"
        "with tf.GradientTape() as tape:\n"
        "    given = tf.constant(x); tape.watch(given); out = net(given)[:, 1]\n"
        "slopes = tape.gradient(out, given).numpy()\n"
        "assert np.abs(trustml.explain(net, x, method=trustml.InputXGradient(), target=1).attributions - x * slopes)"
        ".max() < 1e-6\n"
        "assert net.name == name\n"
    )
    python = find_environment("tensorflow").require()
    done = subprocess.run([python, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
