"""How layers get what they take, where PyTorch minds the order in memory."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
from torch import nn
from torch.nn import functional

from trustml.backends.contract import Model
from trustml.backends.torch import native
from trustml.backends.torch.network import build_module, to_input
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, NativeModule, ReLU
from trustml.models.weights import initial_weights

pytestmark = pytest.mark.torch
SHAPE = (3, 3, 4)


def built():
    architecture = Architecture(layers=(GroupNorm(groups=2), Flatten(), Dense(units=2)))
    weights = initial_weights(architecture, SHAPE, generator=np.random.default_rng(0))
    return build_module(Model(architecture=architecture, input_shape=SHAPE, weights=weights))


def own(monkeypatch):
    network = nn.Sequential(nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(36, 2))
    monkeypatch.setattr(native, "load_callable", lambda layer: lambda: network)
    return native.own_module(NativeModule(backend="torch", module="some:one", folder="/"), SHAPE)


@pytest.mark.parametrize("of", ["ours", "somebody's own"])
def test_a_group_norm_to_whose_images_no_gradient_goes_gets_them_channels_first(monkeypatch, of):
    """Else the step after it would end this very process, see docs/findings.md."""
    module = built() if of == "ours" else own(monkeypatch)
    images = to_input(np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32))
    assert not images.is_contiguous(), "else there is nothing to lay out"
    seen, normalised = [], functional.group_norm
    monkeypatch.setattr(
        functional, "group_norm", lambda given, *rest: (seen.append(given.is_contiguous()), normalised(given, *rest))[1]
    )
    loss = module.train()(images).sum()
    assert seen == [True]
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module.eval()(images)
    assert seen == [True, True]


@pytest.mark.parametrize("training", [True, False])
def test_images_go_on_channels_first_behind_a_group_norm(training):
    """Channels-last, each norm would take four times as long."""
    layers = (
        Conv2D(filters=4),
        GroupNorm(groups=2),
        ReLU(),
        Conv2D(filters=4),
        GroupNorm(groups=2),
        Flatten(),
        Dense(units=2),
    )
    architecture = Architecture(layers=layers)
    weights = initial_weights(architecture, (8, 8, 3), generator=np.random.default_rng(0))
    module = build_module(Model(architecture=architecture, input_shape=(8, 8, 3), weights=weights)).train(training)
    seen: list[bool] = []
    for layer in module:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.is_contiguous()))
    module(to_input(np.ones((2, 8, 8, 3), np.float32)).requires_grad_())
    assert seen == [False, *[True] * 6]
