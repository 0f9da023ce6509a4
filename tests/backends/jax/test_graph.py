"""Random graphs, and explanations of residual networks by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import WHOLE
from tests.conformance.graphs import draw_graph
from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits

SHAPE = (6, 5, 2)


def random_model(seed: int) -> tuple[Model, np.ndarray, np.ndarray]:
    """A graph with weights and inputs that are its own."""
    from trustml.models.weights import initial_weights

    generator = np.random.default_rng(seed)
    architecture = draw_graph(generator, SHAPE)
    start = initial_weights(architecture, SHAPE, generator=generator)
    weights = {
        name: (part + 0.2 * generator.normal(size=part.shape)).astype(np.float32) for name, part in start.items()
    }
    model = Model(architecture=architecture, input_shape=SHAPE, weights=weights)
    return model, generator.normal(size=(3, *SHAPE)).astype(np.float32), generator.integers(10, size=3)


@pytest.mark.jax
@pytest.mark.torch
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12 if WHOLE else 5, deadline=None)
def test_random_graphs_are_the_same_function_and_have_the_same_gradients(seed):
    from trustml.backends.jax.network import JaxNetwork
    from trustml.backends.torch.network import TorchNetwork

    model, inputs, targets = random_model(seed)
    expected = logits(model, inputs)
    network = TorchNetwork(model)
    bound = 1e-5 * max(1, np.abs(expected).max())
    assert np.abs(network.logits(inputs) - expected).max() < bound
    other = JaxNetwork(model)
    assert np.abs(other.logits(inputs) - expected).max() < bound
    a, b = (one.input_gradients(inputs, targets) for one in (network, other))
    assert np.abs(a - b).max() < 1e-5 * max(1, np.abs(a).max())
