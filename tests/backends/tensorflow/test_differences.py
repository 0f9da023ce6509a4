"""Where the raw output of tf-explain or Xplique differs from the definition: each difference has its number."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from captum import attr

from tests.backends.tensorflow.captum_side import FLOAT32, Explained, relative
from tests.backends.tensorflow.explained_cases import CONVOLUTION, DETERMINISTIC, FEW, FEW_OF, SAMPLED
from trustml.backends.torch.network import from_input
from trustml.catalogue.available import availability
from trustml.catalogue.methods import METHODS
from trustml.frameworks.implementation import Implementation, NotAvailable
from trustml.scenario import methods as m

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(explained) -> dict[str, np.ndarray]:
    return explained[0]


@pytest.fixture(scope="module")
def told(explained) -> dict:
    return explained[1]


def change(case: Explained, baseline: np.ndarray) -> np.ndarray:
    return case.logits(case.inputs) - case.logits(baseline)


def incompleteness(attributions: np.ndarray, expected: np.ndarray) -> float:
    sums = attributions.reshape(len(attributions), -1).sum(axis=1)
    return float(np.abs(sums - expected).mean() / np.abs(expected).mean())


def cross_entropy_gradients(case: Explained) -> np.ndarray:
    logits = case.network.logits(case.inputs)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = [case.network.input_gradients(case.inputs, np.full(len(case.inputs), k)) for k in range(logits.shape[1])]
    own = case.network.input_gradients(case.inputs, case.targets)
    return np.einsum("nk,knhwc->nhwc", shares, np.stack(each)) - own


def mean_gradient(case: Explained, steps: int) -> np.ndarray:
    """Mean gradient at evenly spaced points from 0 to the input, both ends included."""
    shares = np.linspace(0, 1, steps, dtype=np.float32)
    points = [case.network.input_gradients(case.inputs * share, case.targets) for share in shares]
    return np.mean(points, axis=0)


def captum_integrated(case: Explained) -> np.ndarray:
    found = attr.IntegratedGradients(case.module).attribute(case.tensor, target=case.labels, n_steps=2000)
    return from_input(found.float())


def guided_grad_cam(case: Explained) -> np.ndarray:
    """Grad-CAM whose weights count only positive gradients where the convolution is positive."""
    outputs = case.module[: CONVOLUTION + 1](case.tensor).detach().requires_grad_()
    logits = case.module[CONVOLUTION + 1 :](outputs).gather(1, case.labels[:, None]).sum()
    (gradients,) = torch.autograd.grad(logits, outputs)
    weights = (gradients.clamp(min=0) * (outputs > 0)).mean(dim=(2, 3), keepdim=True)
    return (weights * outputs).sum(dim=1).detach().numpy()


def filled_with_grey(case: Explained, side: int) -> np.ndarray:
    """1 - logit with each patch at 127.5, at the pixel in the middle of the patch; shape (n, patches, patches)."""
    count = case.inputs.shape[1] // side
    found = np.zeros((len(case.inputs), count, count))
    for row, column in itertools.product(range(count), repeat=2):
        patched = case.inputs.copy()
        patched[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = 127.5
        found[:, row, column] = 1 - case.logits(patched)
    return found


def differences(found: dict[str, np.ndarray], cnn: Explained, mlp: Explained) -> dict[str, float]:
    zeros = np.zeros_like(cnn.inputs)
    native_saliency = found["saliency.native"]
    smooth, cross_entropy = found["smooth_grad_without_noise.native"], cross_entropy_gradients(cnn)
    gradient = cnn.network.input_gradients(cnn.inputs, cnn.targets)
    softmax = found["softmax.integrated"] * cnn.inputs
    inside, at_zero = found["softmax.probability"].reshape(-1, 2).T
    logit_of_0 = cnn.network.logits(cnn.inputs)[:, 0] - cnn.network.logits(zeros)[:, 0]
    occlusion, falls = found["occlusion.native"][..., 0], found["occlusion.completed"][..., 0]
    shap_change = change(mlp, mlp.baseline)[: FEW_OF["kernel_shap"]]
    first = [0, 1, 3, 4]  # the first value of each feature of the mlp
    return {
        "saliency: share of negative values": float((native_saliency < 0).mean()),
        "integrated gradients: raw sum misses the change of the logit by": incompleteness(
            found["integrated_gradients.native"], change(cnn, zeros)
        ),
        "integrated gradients: completed sum misses it by": incompleteness(
            found["integrated_gradients.completed"], change(cnn, zeros)
        ),
        "integrated gradients: difference of raw from the mean gradient": max(
            relative(found["integrated_gradients.native"], mean_gradient(cnn, 50)),
            relative(found["integrated_gradients_table.native"], mean_gradient(mlp, 50)),
        ),
        "integrated gradients: difference of completed from 2000 steps of Captum": max(
            relative(found["integrated_gradients.completed"], captum_integrated(cnn)),
            relative(found["integrated_gradients_table.completed"], captum_integrated(mlp)),
        ),
        "integrated gradients with a softmax: sum misses the change of the logit by": incompleteness(
            softmax, logit_of_0
        ),
        "integrated gradients with a softmax: sum misses the change of the probability by": incompleteness(
            softmax, inside - at_zero
        ),
        "smooth grad without noise: difference from the gradient of the cross-entropy": relative(smooth, cross_entropy),
        "smooth grad without noise: correlation with the gradient of the logit": float(
            np.corrcoef(smooth.ravel(), gradient.ravel())[0, 1]
        ),
        "smooth grad on logits: share of classes and inputs with nothing but zeros": float(
            (np.abs(found["smooth_grad_on_logits"]).max(axis=(2, 3, 4)) == 0).mean()
        ),
        "occlusion: difference from 1 - logit at 127.5, in the middle of a patch": relative(
            occlusion[:, 1::3, 1::3], filled_with_grey(cnn, 3)
        ),
        "occlusion: largest raw value over the largest fall of the logit": float(
            np.abs(occlusion).max() / np.abs(falls).max()
        ),
        "occlusion: raw values within one patch differ by, of the largest": float(
            np.ptp(occlusion[:, 3:6, 3:6], axis=(1, 2)).max() / np.abs(occlusion).max()
        ),
        "occlusion: correlation of raw values with the fall of the logit": float(
            np.corrcoef(occlusion[:, 1::3, 1::3].ravel(), falls[:, 1::3, 1::3].ravel())[0, 1]
        ),
        "grad-cam: difference of raw from guided weights": relative(found["grad_cam.native"], guided_grad_cam(cnn)),
        "grad-cam: correlation of guided with plain gradients": float(
            np.corrcoef(found["grad_cam.native"].ravel(), found["grad_cam_signed.completed"].ravel())[0, 1]
        ),
        "grad-cam: share of negative raw values": float((found["grad_cam.native"] < 0).mean()),
        "var grad: raw over completed": float(
            np.median(found["var_grad.native"] / np.maximum(found["var_grad.completed"], 1e-30))
        ),
        "kernel shap: raw sum misses the change of the logit by": incompleteness(
            found["kernel_shap.native"][0][:, first], shap_change
        ),
        "kernel shap: completed sum misses it by": incompleteness(
            found["kernel_shap.completed"][0][:, first], shap_change
        ),
        "lime: raw over completed, by the size of their vectors": float(
            np.linalg.norm(found["lime.native"]) / np.linalg.norm(found["lime.completed"])
        ),
    }


BANDS = {
    "saliency: share of negative values": (0.3, 0.7),
    # Without the factor the sum is of other units: it misses by about as much as there is.
    "integrated gradients: raw sum misses the change of the logit by": (0.8, 1.3),
    # Both ends have full weights instead of half ones, and ReLUs have kinks: an error of order 1 / n_steps.
    "integrated gradients: completed sum misses it by": (0.005, 0.05),
    "integrated gradients: difference of raw from the mean gradient": (0.0, FLOAT32),
    "integrated gradients: difference of completed from 2000 steps of Captum": (0.005, 0.05),
    # tf-explain strips no softmax here: it explains the probability (200 steps, so less error than above).
    "integrated gradients with a softmax: sum misses the change of the logit by": (0.7, 1.1),
    "integrated gradients with a softmax: sum misses the change of the probability by": (0.0, 0.04),
    "smooth grad without noise: difference from the gradient of the cross-entropy": (0.0, FLOAT32),
    "smooth grad without noise: correlation with the gradient of the logit": (-0.8, -0.5),
    # Keras divides logits by their sum, takes that for probabilities and clips them: few pass.
    "smooth grad on logits: share of classes and inputs with nothing but zeros": (0.5, 1.0),
    "occlusion: difference from 1 - logit at 127.5, in the middle of a patch": (0.0, FLOAT32),
    "occlusion: largest raw value over the largest fall of the logit": (50.0, 200.0),
    "occlusion: raw values within one patch differ by, of the largest": (0.2, 0.7),
    "occlusion: correlation of raw values with the fall of the logit": (-0.4, 0.2),
    "grad-cam: difference of raw from guided weights": (0.0, FLOAT32),
    "grad-cam: correlation of guided with plain gradients": (0.3, 0.8),
    "grad-cam: share of negative raw values": (0.3, 0.8),
    "var grad: raw over completed": (64 / 63 - 1e-4, 64 / 63 + 1e-4),
    "kernel shap: raw sum misses the change of the logit by": (0.1, 0.5),
    "kernel shap: completed sum misses it by": (0.0, FLOAT32),
    "lime: raw over completed, by the size of their vectors": (1.05, 1.3),
}


def test_every_difference_has_its_number(found, cnn, mlp):
    measured = differences(found, cnn, mlp)
    assert measured.keys() == BANDS.keys()
    outside = {name: value for name, value in measured.items() if not BANDS[name][0] <= value <= BANDS[name][1]}
    assert not outside


def test_the_path_needs_two_steps(told):
    assert not told["one_step_is_finite"]
    assert "n_steps" in availability("tensorflow", m.IntegratedGradients(n_steps=1)).reason


def test_one_class_for_a_whole_batch(told):
    assert told["class_vector"] == "TypeError"


def test_grad_cam_would_take_a_pooling_for_the_last_convolution(told):
    assert told["inferred_layer"] == "layer4"
    assert CONVOLUTION == 2


def test_occlusion_takes_rows_for_columns(found, told):
    """Of a 4 x 8 image the right half is never occluded, and the map has the shape of its transpose.

    The logit is the sum of the patch at row 0 and column 3, so at its place 1 - logit would be 1 - 4 * 127.5.
    """
    np.testing.assert_array_equal(found["occlusion.wide"], np.zeros((8, 4)))
    assert "4 x 8" in told["not_square"]


def test_occlusion_is_what_keras_predict_gives(found, given, cnn):
    """Our stand-in for the model, which spares Keras's progress bars, changes nothing."""
    expected = found["occlusion.keras"]
    ours = 1 - cnn.network.logits(given["cnn.inputs"][:1])[0, 1]  # what is common to all patches
    assert np.abs(expected - ours).max() > 1
    direct = Explained("cnn", given)
    direct.inputs, direct.targets = given["cnn.inputs"][:1], np.array([1])
    assert relative(expected[None, 1::3, 1::3], filled_with_grey(direct, 3)) < FLOAT32


@pytest.mark.parametrize("name", ["integrated_gradients", "smooth_grad", "occlusion_clipped"])
def test_native_is_what_tf_explain_gives_image_by_image(name, found):
    """All classes at once, in chunks, are the library's own numbers."""
    ours, theirs = found[f"{name}.native"], found[f"one_by_one.{name}"]
    if name == "smooth_grad":
        ours, theirs = ours[0], theirs[:FEW]
    ours = ours[..., 0] if name == "occlusion_clipped" else ours
    assert relative(ours, theirs) < FLOAT32


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_chunks_of_any_number_of_examples_are_traced_once(count, found, told):
    np.testing.assert_array_equal(found[f"chunks.{count}"], 12 * np.arange(count) + 0.5)
    assert told["traces"] == 1


def test_a_network_that_is_asked_often_is_traced_once(cnn, found, told):
    """Layer by layer eleven times, and then by one graph for any number of rows."""
    assert told["layer_calls"] == 12
    np.testing.assert_allclose(found["often.logits"], cnn.network.logits(cnn.inputs), atol=1e-5)
    assert found["often.differences"].max() < 1e-5


def test_compiled_draws_ignore_a_second_seed(told):
    """Known of Xplique in TensorFlow 2.14; when this fails, its methods need not run uncompiled any more."""
    assert told["seeds"] == {"noise": False, "coalitions": False}


def test_xpliques_cosine_kernel_prefers_what_is_unlike(told):
    itself, one_value, opposite = told["cosine"]
    assert itself == pytest.approx(math.exp(-4))  # distance 1 + cosine = 2
    assert itself < one_value < opposite == pytest.approx(1)


def test_what_the_catalogue_claims_was_explained(found):
    cells = {kind: row.by.get("tensorflow", NotAvailable(reason="")) for kind, row in METHODS.items()}
    claimed = {kind for kind, cell in cells.items() if not isinstance(cell, NotAvailable)}
    explained = {type(method) for _, method in itertools.chain(DETERMINISTIC.values(), SAMPLED.values())}
    assert claimed == explained
    for title, (_, method) in itertools.chain(DETERMINISTIC.items(), SAMPLED.items()):
        entry = availability("tensorflow", method)
        assert isinstance(entry, Implementation)
        # A difference that says what completed is has a completed variant, and none other has.
        assert (f"{title}.completed" in found) == (
            "ompleted" in entry.differs and method != m.Saliency(absolute=False)
        ), title
