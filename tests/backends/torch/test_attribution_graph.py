"""Explanations of residual networks: Captum's against ours by the definition, and where Captum's hooks lose a path."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.torch.explaining import gap, model_of, request
from trustml.backends.jax.attribution import explain as by_definition
from trustml.backends.torch.attribution import explain
from trustml.models.layers import (
    Add,
    Architecture,
    Concatenate,
    Conv2D,
    Dense,
    GlobalAvgPool,
    Layer,
    Node,
    ReLU,
)
from trustml.scenario import methods as m

pytestmark = [pytest.mark.torch, pytest.mark.jax]
SHAPE = (6, 6, 2)
SIDE = ((1, 1), (1, 1))


def node(name: str, layer: Layer, *inputs: str) -> Node:
    return Node(name=name, layer=layer, inputs=inputs)


def convolution() -> Conv2D:
    return Conv2D(filters=4, padding=SIDE)


RELU_AFTER_THE_SUM = Architecture(
    layers=(
        node("stem", convolution()),
        node("relu", ReLU()),
        node("long", convolution()),
        node("sum", Add(), "long", "relu"),
        node("relu2", ReLU()),
        node("half", Conv2D(filters=6, stride=(2, 2), padding=SIDE)),
        node("short", Conv2D(filters=6, kernel=(1, 1), stride=(2, 2)), "relu2"),
        node("sum2", Add(), "half", "short"),
        node("relu3", ReLU()),
        GlobalAvgPool(),
        Dense(units=3),
    )
)
RELU_BESIDE_THE_SUM = Architecture(
    layers=(
        node("stem", convolution()),
        node("relu", ReLU()),
        node("long", convolution()),
        node("sum", Add(), "long", "stem"),
        node("relu2", ReLU()),
        node("both", Concatenate(), "relu2", "sum"),
        GlobalAvgPool(),
        Dense(units=3),
    )
)
LONG = 2
METHODS = (
    m.IntegratedGradients(n_steps=8),
    m.DeepLift(),
    m.LRP(epsilon=1e-2),
    m.GradCam(layer=LONG),
    m.LayerIntegratedGradients(layer=LONG, n_steps=8),
    m.LayerConductance(layer=LONG, n_steps=8),
    m.LayerDeepLift(layer=LONG),
    m.InternalInfluence(layer=LONG, n_steps=8),
)


def asked(architecture: Architecture, method: m.Method):
    baseline = 0.3 * np.random.default_rng(3).random(SHAPE)
    return request(method, model_of(architecture, SHAPE), count=3, baseline=baseline)


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, marks=() if isinstance(one, m.LRP | m.LayerDeepLift) else pytest.mark.long) for one in METHODS],
    ids=lambda one: type(one).__name__,
)
def test_captum_is_right_where_a_relu_follows_the_sum(method):
    question = asked(RELU_AFTER_THE_SUM, method)
    assert gap(explain(question)["native"], by_definition(question)["native"]) < 1e-4


@pytest.mark.parametrize("method", [m.DeepLift(), m.GuidedBackprop(), m.Deconvolution()], ids=lambda one: one.title)
def test_a_relu_beside_the_sum_loses_a_path(method):
    """When the first assertion fails, Captum was fixed, and `apart` can lose that part."""
    question = asked(RELU_BESIDE_THE_SUM, method)
    found, right = explain(question), by_definition(question)["native"]
    assert gap(found["native"], right) > 0.05
    assert gap(found["completed"], right) < 1e-4


def test_relevance_goes_both_ways_and_is_kept():
    question = asked(RELU_BESIDE_THE_SUM, m.LRP(epsilon=1e-2))
    assert gap(explain(question)["native"], by_definition(question)["native"]) < 1e-4
