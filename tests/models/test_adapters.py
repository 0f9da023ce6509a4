"""Pairs of LoRA beside dense layers: they begin as nothing, and after they are merged nothing is left but their sum."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.models.adapters import merged, starting_pairs, with_adapters
from trustml.models.layers import Architecture, Dense, Tanh
from trustml.models.shapes import weight_shapes
from trustml.models.transformers import encoder
from trustml.models.weights import initial_weights
from trustml.scenario.trainable import LoRA
from trustml.scenario.trained_part import trained_part

CASES = {
    "chain": (Architecture(layers=(Dense(units=6), Tanh(), Dense(units=3))), (4,)),
    "attention": (encoder(vocabulary=9, classes=3, width=4, heads=2, blocks=1), (5,)),
}


def adapted(case: str):
    """A model, the same with pairs, and what is beside what."""
    architecture, shape = CASES[case]
    generator = np.random.default_rng(0)
    model = Model(
        architecture=architecture,
        input_shape=shape,
        weights=initial_weights(architecture, shape, generator=generator),
    )
    part = trained_part((LoRA(rank=2, alpha=3.0),), architecture, shape)
    pairs = starting_pairs(part.architecture, shape, part.beside, generator=generator)
    inputs = generator.integers(1, 9, (3, *shape)).astype(np.float32)
    both = Model(architecture=part.architecture, input_shape=shape, weights=model.weights | pairs)
    return model, both, part, inputs, generator


@pytest.mark.parametrize("case", CASES)
def test_a_network_with_pairs_begins_as_the_one_without(case):
    model, both, part, inputs, _ = adapted(case)
    assert set(both.weights) == set(weight_shapes(part.architecture, model.input_shape))
    np.testing.assert_array_equal(logits(both, inputs), logits(model, inputs))
    whole = merged(both.weights, part.beside, scale=part.scale)
    assert whole.keys() == model.weights.keys()
    assert all(np.array_equal(whole[name], array) for name, array in model.weights.items())


@pytest.mark.parametrize("case", CASES)
def test_merged_pairs_give_the_same_logits(case):
    model, both, part, inputs, generator = adapted(case)
    for name in part.trained:
        both.weights[name] = generator.normal(0, 0.5, both.weights[name].shape).astype(np.float32)
    whole = msgspec.convert(merged(both.weights, part.beside, scale=part.scale), dict)
    found = logits(Model(architecture=model.architecture, input_shape=model.input_shape, weights=whole), inputs)
    expected = logits(both, inputs)
    assert np.abs(expected - logits(model, inputs)).max() > 0.1, "the pairs do nothing"
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_a_pair_is_beside_what_it_is_asked_for():
    architecture, shape = CASES["chain"]
    found = with_adapters(architecture, ("2",), rank=1, scale=1.0)
    assert [name for name in weight_shapes(found, shape) if "down" in name or "up" in name] == [
        "2.down.kernel",
        "2.up.kernel",
    ]
    assert set(weight_shapes(architecture, shape)) < set(weight_shapes(found, shape))
