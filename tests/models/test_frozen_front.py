"""Where a network is cut before what is trained: never where something else crosses, or is drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.models.frozen_front import cut_before, weights_of
from trustml.models.layers import Add, Architecture, Conv2D, Dense, Dropout, Flatten, Node, ReLU
from trustml.models.weights import initial_weights

IMAGE = (4, 4, 1)
BODY = (Conv2D(filters=2), ReLU(), Flatten())
CHAIN = Architecture(layers=(*BODY, Dense(units=5), ReLU(), Dense(units=3)))
ACROSS = Architecture(
    layers=(
        Node(name="body", layer=Flatten()),
        Node(name="wide", layer=Dense(units=3)),
        Node(name="short", layer=Dense(units=3), inputs=("body",)),
        Node(name="sum", layer=Add(), inputs=("wide", "short")),
    )
)


@pytest.mark.parametrize(("trained", "front"), [("5.kernel", 5), ("3.bias", 3)])
def test_what_lies_before_is_cut_off_and_computes_the_same(trained, front):
    weights = initial_weights(CHAIN, IMAGE, generator=np.random.default_rng(0))
    cut = cut_before(CHAIN, IMAGE, {trained})
    assert len(cut.front.nodes) == front
    before, after = weights_of(cut, IMAGE)
    assert {*before, *after} == set(weights) and trained in after
    inputs = np.random.default_rng(1).normal(size=(2, *IMAGE)).astype(np.float32)
    models = [
        Model(architecture=part, input_shape=shape, weights={name: weights[name] for name in names})
        for part, shape, names in ((cut.front, IMAGE, before), (cut.back, cut.features, after))
    ]
    whole = Model(architecture=CHAIN, input_shape=IMAGE, weights=weights)
    np.testing.assert_allclose(logits(models[1], logits(models[0], inputs)), logits(whole, inputs), rtol=1e-12)


@pytest.mark.parametrize(
    ("architecture", "trained"),
    [
        (CHAIN, "0.kernel"),  # the first layer
        (ACROSS, "short.kernel"),  # a value goes past it
        (Architecture(layers=(*BODY, Dense(units=5), Dropout(rate=0.5), Dense(units=3))), "5.kernel"),  # cut earlier
    ],
)
def test_nothing_that_would_change_is_cut_off(architecture, trained):
    cut = cut_before(architecture, IMAGE, {trained})
    assert cut is None or not any(isinstance(node.layer, Dropout) for node in cut.front.nodes)
    assert cut is None or len(cut.front.nodes) == 4
