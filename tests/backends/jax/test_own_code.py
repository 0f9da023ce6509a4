"""A JAX network of somebody's own code: what it must keep to, and its clipped sums held against one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

from trustml.backends.contract import Model
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.native import look_at
from trustml.backends.jax.network import JaxNetwork
from trustml.backends.settings import PrivateSettings
from trustml.errors import UsageError
from trustml.models.layers import Architecture, NativeModule
from trustml.models.native import trusting_code
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.jax
FOLDER = str(Path(__file__).parents[2] / "own_code")
SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def trusted():
    with trusting_code():
        yield


def looked_at(name):
    return look_at(NativeModule(backend="jax", module=f"jax_networks:{name}", folder=FOLDER), SHAPE, (0,))


def model_of(name):
    found = looked_at(name)
    parameters = tuple((key, array.shape) for key, array in found.weights[0].items())
    layer = NativeModule(
        backend="jax", module=f"jax_networks:{name}", folder=FOLDER, parameters=parameters, outputs=found.outputs
    )
    return Model(architecture=Architecture(layers=(layer,)), input_shape=SHAPE, weights=found.weights[0])


def by_hand(weights, inputs, label):
    """Outputs, and gradients of the loss of one example, by the formulas of the network in jax_networks."""
    hidden = np.tanh(inputs @ weights["first.w"] + weights["first.b"])
    outputs = hidden @ weights["last"]
    shares = np.exp(outputs) / np.exp(outputs).sum()
    above = shares - np.eye(10)[label]
    below = (weights["last"] @ above) * (1 - hidden**2)
    return outputs, {"first.w": np.outer(inputs, below), "first.b": below, "last": np.outer(hidden, above)}


@pytest.mark.parametrize("name", ["normalised", "crowded", pytest.param("pair", marks=pytest.mark.long)])
def test_the_clipped_sum_is_that_of_examples_one_by_one(name):
    model = model_of(name)
    generator = np.random.default_rng(3)
    count = 24 if name == "crowded" else 5  # it mixes examples of larger batches than any trial has
    inputs, labels = generator.normal(0, 1, (count, *SHAPE)).astype(np.float32), generator.integers(0, 10, count)
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=4, noise_seed=(1, 2, 3, 4))
    trainer = DPTrainer(model, settings=settings, dropout_seed=0)
    assert trainer.accumulate(inputs[:, None], labels, clipping_norm=0.5).finite
    assert list(trainer.weights()) == ["first.b", "first.w", "last"]

    rows = inputs.reshape(count, -1).astype(np.float64)
    if name == "normalised":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    outputs, total = [], {part: np.zeros(array.shape) for part, array in model.weights.items()}
    for row, label in zip(rows, labels, strict=True):
        given, gradient = by_hand(model.weights, row, label)
        outputs.append(given)
        norm = np.sqrt(sum((part**2).sum() for part in gradient.values()))
        for part, array in gradient.items():
            total[part] += array * min(1.0, 0.5 / norm)
    for part, array in trainer.clipped_sum().items():
        np.testing.assert_allclose(array, total[part], atol=1e-5)
    np.testing.assert_allclose(JaxNetwork(model).logits(inputs[:5]), outputs[:5], atol=1e-5)


@pytest.mark.parametrize(
    "name, mixes, draws",
    [("pair", "", False), ("centred", "the network of jax_networks:centred", False), ("dropped", "", True)],
)
def test_mixing_is_found_and_dropout_is_none(name, mixes, draws):
    found = looked_at(name)
    assert (found.mixes, found.draws, found.moves, found.outputs) == (mixes, draws, (), (10,))


@pytest.mark.parametrize(
    "name, said",
    [
        ("counted", "parameter steps is int32, and every parameter is trained as float32"),
        ("turned", "parameter turn is complex64, .*; hold two real ones instead"),
        ("colliding", "two parameters have one name"),
    ],
)
def test_a_parameter_that_float32_cannot_hold_is_refused_by_name(name, said):
    with pytest.raises(UsageError, match=said):
        looked_at(name)


@pytest.mark.parametrize("library", ["flax", "haiku", "equinox"])
def test_modules_of_libraries_give_what_they_give_by_themselves(library):
    pytest.importorskip(library)
    from tests.own_code import jax_library_networks as networks

    for name in networks.OF[library]:
        layer = NativeModule(backend="jax", module=f"jax_library_networks:{name}", folder=FOLDER)
        found = look_at(layer, SHAPE, (0,))
        if name in networks.MOVING:
            assert found.moves == networks.MOVING[name]
            continue
        assert (found.mixes, found.moves, found.outputs) == ("", (), (10,)), name
        parameters = tuple((key, array.shape) for key, array in found.weights[0].items())
        layer = NativeModule(
            backend="jax", module=layer.module, folder=FOLDER, parameters=parameters, outputs=found.outputs
        )
        model = Model(architecture=Architecture(layers=(layer,)), input_shape=SHAPE, weights=found.weights[0])
        inputs = np.random.default_rng(0).normal(0, 1, (3, *SHAPE)).astype(np.float32)
        expected = networks.outputs(name, inputs)
        np.testing.assert_allclose(JaxNetwork(model).logits(inputs), expected, atol=1e-5)
