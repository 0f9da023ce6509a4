"""Where Captum's DeepLIFT departs from the rescale rule, and what is left of that when it is fixed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.backends.torch.explaining import CNN, IMAGE, gap, missing, model_of, request
from trustml.backends.torch.attribution import explain
from trustml.models.layers import (
    GELU,
    Architecture,
    AvgPool,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    ReLU,
    Tanh,
)
from trustml.models.zoo import mlp, mnist_cnn, small_cnn
from trustml.scenario import methods as m

pytestmark = pytest.mark.torch
ROUNDING = 1e-5


def cnn(*layers: Layer) -> Architecture:
    return Architecture(layers=(Conv2D(filters=5), *layers, Flatten(), Dense(units=8), ReLU(), Dense(units=3)))


OVERLAPPING = cnn(ReLU(), MaxPool(size=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1))))
DEPARTING = {
    "ReLU before MaxPool": cnn(ReLU(), MaxPool()),
    "MaxPool before ReLU": cnn(MaxPool(), ReLU()),
    "overlapping windows": OVERLAPPING,
    "GELU": cnn(GELU(), AvgPool()),
    "one activation after another": cnn(ReLU(), Dropout(rate=0.1), Tanh(), AvgPool()),
    "small_cnn": small_cnn(classes=3),
    "padded cnn": CNN,
}


def asked_with_a_training_like_baseline(architecture: Architecture, shape: tuple[int, ...] = IMAGE):
    baseline = np.random.default_rng(3).random(shape)
    return request(m.DeepLift(), model_of(architecture, shape), count=12, baseline=baseline)


@pytest.mark.parametrize("name", DEPARTING)
def test_known_departures(name):
    """When the first assertion fails, Captum was fixed there, and `deep_lift_rules` can lose that part."""
    asked = asked_with_a_training_like_baseline(DEPARTING[name])
    found = explain(asked)
    assert missing(asked, found["native"]) > 0.05
    assert missing(asked, found["completed"]) < ROUNDING


def test_the_network_of_the_mnist_examples():
    asked = asked_with_a_training_like_baseline(mnist_cnn(), (28, 28, 1))
    found = explain(asked)
    assert missing(asked, found["native"]) > 0.05
    assert missing(asked, found["completed"]) < ROUNDING


@pytest.mark.parametrize(
    "architecture",
    [cnn(ReLU(), AvgPool()), cnn(Tanh()), Architecture(layers=(Flatten(), *mlp([9, 7], classes=3).layers))],
)
def test_other_networks_need_no_mending(architecture):
    asked = asked_with_a_training_like_baseline(architecture)
    found = explain(asked)
    assert list(found) == ["native"]
    assert missing(asked, found["native"]) < ROUNDING


def test_over_a_background_the_mended_one_is_complete_on_average():
    asked = request(m.DeepLiftShap(), model_of(small_cnn(classes=3)))
    each = [
        explain(
            dataclasses.replace(asked, method=m.DeepLift(), baseline=np.broadcast_to(one, asked.inputs.shape).copy())
        )
        for one in asked.background
    ]
    found = explain(asked)
    for variant in ("native", "completed"):
        assert gap(found[variant], np.mean([one[variant] for one in each], axis=0)) < ROUNDING


def test_where_nothing_changes_captum_gives_every_example_the_gradient_of_the_first():
    """Issue 1276; both channels change alike, and the convolution subtracts them."""
    layers = (Conv2D(filters=1, kernel=(1, 1), bias=False), MaxPool(), Flatten(), Dense(units=2))
    model = model_of(Architecture(layers=layers), (2, 2, 2))
    model.weights["0.kernel"][0, 0, :, 0] = 1, -1
    inputs = np.zeros((2, 2, 2, 2), np.float32)
    inputs[0, 0, 0, 0] = inputs[1, 1, 1, 0] = 1
    asked = request(m.DeepLift(), model, count=2)
    asked = dataclasses.replace(asked, inputs=inputs + 0.5, baseline=inputs, targets=np.array([0, 1]))
    second = dataclasses.replace(asked, inputs=inputs[1:] + 0.5, baseline=inputs[1:], targets=np.array([1]))
    together, alone = explain(asked), explain(second)
    assert gap(together["native"][1:], alone["native"]) > 0.5
    assert gap(together["completed"][1:], alone["completed"]) < ROUNDING
    slope = model.weights["3.kernel"][0, 1] * 0.5
    assert alone["completed"][0, 1, 1] == pytest.approx([slope, -slope])
