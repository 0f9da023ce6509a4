"""Clipped sums through recurrent layers and transposed convolutions, against autograd on one example at a time."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from trustml.models.layers import GRU, LSTM, Architecture, ConvTranspose1D, Dense, GlobalMaxPool
from trustml.models.weights import initial_weights

pytestmark = pytest.mark.jax

NETWORK = Architecture(
    layers=(GRU(units=3), ConvTranspose1D(filters=4, kernel=3, padding=(1, 0)), LSTM(units=2), GlobalMaxPool())
    + (Dense(units=3),)
)
SHAPE, EXAMPLES, NORM = (4, 2), 5, 0.4


@pytest.mark.parametrize("copies", [pytest.param(1, marks=pytest.mark.long), 2])  # one: conformance/test_backends.py
def test_the_sum_is_that_of_one_example_at_a_time(copies):
    import jax

    from trustml.backends.jax.clipping import clipped_gradients
    from trustml.backends.jax.network import apply

    draw = np.random.default_rng(0)
    params = {
        name: draw.normal(size=array.shape).astype(np.float32)
        for name, array in initial_weights(NETWORK, SHAPE, generator=draw).items()
    }
    inputs = draw.normal(size=(EXAMPLES, copies, *SHAPE)).astype(np.float32)
    labels, mask = draw.integers(3, size=EXAMPLES), np.array([1, 1, 1, 1, 0], np.float32)

    def loss(params, rows, label):
        return -jax.nn.log_softmax(apply(NETWORK, params, rows))[:, label].mean()

    each = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))(params, inputs, labels)
    squares = sum(np.square(np.asarray(part, np.float64)).reshape(EXAMPLES, -1).sum(axis=1) for part in each.values())
    norms = np.sqrt(squares)
    assert (norms > NORM).any()
    clip = functools.partial(clipped_gradients, NETWORK, per_layer=False)
    sums, unclipped = jax.jit(clip)(
        params, (inputs, labels, mask), clipping_norm=np.float32(NORM), key=jax.random.key(0)
    )
    scales = mask * np.minimum(1, NORM / norms)
    assert unclipped == ((norms <= NORM) & (mask > 0)).sum()
    for name, part in sums.items():
        expected = np.tensordot(scales, np.asarray(each[name]), axes=1)
        assert np.linalg.norm(part - expected) < 1e-5 * np.linalg.norm(expected), name
