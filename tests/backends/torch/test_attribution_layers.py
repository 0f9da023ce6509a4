"""Methods of a layer: by hand where the rest of the network is linear, and their completeness at every layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.backends.torch.explaining import CNN, IMAGE, gap, missing, model_of, request
from trustml.attribution.upsample import upsample
from trustml.backends.torch.attribution import explain
from trustml.models.layers import GELU, Architecture, AvgPool, Conv2D, Dense, Flatten, Tanh
from trustml.models.shapes import layer_shapes
from trustml.scenario import methods as m

pytestmark = pytest.mark.torch
ROUNDING = 1e-5
PIXELWISE = Architecture(layers=(Conv2D(filters=3, kernel=(1, 1)), Flatten(), Dense(units=4)))
"""Linear, and every pixel by itself up to the last layer."""

SMOOTH = Architecture(
    layers=(
        Conv2D(filters=4, padding=((1, 1), (0, 1))),
        GELU(),
        AvgPool(),
        Conv2D(filters=4, kernel=(2, 2)),
        Tanh(),
        Flatten(),
        Dense(units=6),
        GELU(),
        Dense(units=3),
    )
)


@pytest.fixture
def pixelwise():
    model = model_of(PIXELWISE)
    asked = request(m.LayerActivation(layer=0), model, baseline=np.random.default_rng(3).random(IMAGE))
    kernel = model.weights["0.kernel"][0, 0]
    gradient = model.weights["2.kernel"].T.reshape(4, 6, 8, 3)[asked.targets]
    activation = asked.inputs @ kernel + model.weights["0.bias"]
    change = (asked.inputs - asked.baseline) @ kernel
    return asked, gradient, activation, change


def test_layers_of_a_linear_model(pixelwise):
    asked, gradient, activation, change = pixelwise
    for method, expected in [
        (m.LayerActivation(layer=0), activation),
        (m.LayerGradientXActivation(layer=0), activation * gradient),
        (m.LayerIntegratedGradients(layer=0, n_steps=5), change * gradient),
        (m.LayerDeepLift(layer=0), change * gradient),
        (m.InternalInfluence(layer=0, n_steps=5), gradient),
    ]:
        found = explain(dataclasses.replace(asked, method=method))
        assert list(found) == ["native"]
        assert gap(found["native"], expected) < ROUNDING, method.title


def test_captum_stops_conductance_short_of_both_ends_of_the_path(pixelwise):
    asked, gradient, _, change = pixelwise
    for n_steps in (5, 20):
        found = explain(dataclasses.replace(asked, method=m.LayerConductance(layer=0, n_steps=n_steps)))["native"]
        first = (1 + np.polynomial.legendre.leggauss(n_steps + 1)[0][0]) / 2
        assert gap(found, change * gradient * (1 - 2 * first)) < ROUNDING


def test_grad_cam_of_a_linear_rest(pixelwise):
    asked, gradient, activation, _ = pixelwise
    expected = (gradient.mean(axis=(1, 2), keepdims=True) * activation).sum(axis=-1)
    asked = dataclasses.replace(asked, method=m.GradCam(layer=0, relu=False))
    assert gap(explain(asked)["native"], expected) < ROUNDING
    asked = dataclasses.replace(asked, method=m.GradCam(layer=0))
    assert gap(explain(asked)["native"], np.maximum(expected, 0)) < ROUNDING


def test_a_neuron_is_named_channels_last(pixelwise):
    asked, *_ = pixelwise
    row, column, channel = 4, 7, 2
    method = m.NeuronIntegratedGradients(layer=0, neuron=(row, column, channel), n_steps=5)
    expected = np.zeros_like(asked.inputs)
    expected[:, row, column] = (asked.inputs - asked.baseline)[:, row, column] * asked.model.weights["0.kernel"][
        0, 0, :, channel
    ]
    assert gap(explain(dataclasses.replace(asked, method=method))["native"], expected) < ROUNDING
    flat = m.NeuronIntegratedGradients(layer=1, neuron=((row * 8 + column) * 3 + channel,), n_steps=5)
    assert gap(explain(dataclasses.replace(asked, layer=1, method=flat))["native"], expected) < ROUNDING


def test_guided_grad_cam_is_the_product():
    asked = request(m.GuidedGradCam(layer=0))
    guided = explain(request(m.GuidedBackprop()))["native"]
    maps = explain(request(m.GradCam(layer=0)))["native"]
    found = explain(asked)
    rows, columns = (np.arange(after) * before // after for after, before in zip((6, 8), maps.shape[1:], strict=True))
    assert gap(found["native"], guided * maps[:, rows][:, :, columns, None]) < ROUNDING
    assert gap(found["completed"], guided * 2 * upsample(maps, shape=IMAGE)) < ROUNDING


@pytest.mark.parametrize(
    "layer", [pytest.param(one, marks=pytest.mark.long if one % 3 else ()) for one in range(len(SMOOTH.layers))]
)
def test_attributions_to_any_layer_are_complete(layer):
    model = model_of(SMOOTH)
    asked = request(m.LayerIntegratedGradients(layer=layer), model, baseline=np.random.default_rng(3).random(IMAGE))
    found = explain(asked)["native"]
    assert found.shape[1:] == layer_shapes(SMOOTH, IMAGE)[layer + 1]
    assert missing(asked, found) < ROUNDING
    deep = dataclasses.replace(asked, method=m.LayerDeepLift(layer=layer))
    assert missing(deep, explain(deep)["completed"]) < ROUNDING
    errors = [
        missing(asked, explain(dataclasses.replace(asked, method=m.LayerConductance(layer=layer, n_steps=n)))["native"])
        for n in (40, 400)
    ]
    # Its rule is of first order, so that ten times the steps leave about a tenth of the error.
    assert errors[1] < max(errors[0] / 5, ROUNDING)
    assert errors[1] < 0.01


@pytest.mark.parametrize("layer", range(len(CNN.layers)))
def test_layers_of_a_padded_cnn_by_deep_lift(layer):
    asked = request(m.LayerDeepLift(layer=layer), baseline=np.random.default_rng(3).random(IMAGE))
    assert missing(asked, explain(asked)["completed"]) < ROUNDING
