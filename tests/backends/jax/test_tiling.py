"""Pieces, cores and straight paths are ways to compute: they change no number, and compile nothing twice."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.backends.jax.explained import model_of, request
from trustml.backends.jax import gradient_methods, network, tiling
from trustml.backends.jax.attribution import explain
from trustml.backends.jax.network import JaxNetwork
from trustml.backends.jax.straight_paths import gauss_legendre
from trustml.models.layers import Architecture, AvgPool, Conv2D, Dense, Flatten, ReLU, Tanh
from trustml.models.zoo import mlp, mnist_cnn
from trustml.scenario import methods as m

pytestmark = [pytest.mark.jax]

CONV = Conv2D(filters=3, kernel=(3, 3), padding=((1, 1), (1, 1)))
BENT = {
    "after a convolution and a pool": (CONV, AvgPool(size=(2, 2), stride=(2, 2)), Tanh(), Flatten(), Dense(units=4)),
    "at once": (ReLU(), CONV, Tanh(), Flatten(), Dense(units=4)),
    "nowhere": (Flatten(), Dense(units=5), Dense(units=4)),
}
IMAGES = np.random.default_rng(0).normal(size=(5, 6, 6, 2)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_tiles_give_what_all_rows_give(count, size):
    rows, more = np.arange(count * 2.0).reshape(count, 2), np.arange(count)
    held = []

    def one(rows, more):
        held.append(len(rows))
        return rows.sum(axis=1) * more

    found = jax.jit(lambda *arrays: tiling.in_tiles(one, arrays, size=size))(rows, more)
    np.testing.assert_array_equal(found, rows.sum(axis=1) * more)
    assert max(held) <= size


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_every_core_gets_a_share_and_nothing_is_lost(monkeypatch, cores, count):
    monkeypatch.setattr(tiling, "cores", lambda: cores)
    shares = []

    def call(rows):
        shares.append(len(rows))
        return jnp.asarray(rows) ** 2

    rows = np.arange(1.0, count + 1)
    np.testing.assert_array_equal(tiling.on_every_core(call, rows), rows**2)
    assert len(set(shares)) == 1 and len(shares) <= cores

    borders = []

    def some(begin, end):
        borders.append((begin, end))
        return jnp.asarray(rows[begin:end].sum())

    assert tiling.sums_on_every_core(some, count) == rows.sum()
    numbers = [number for begin, end in sorted(borders) for number in range(begin, end)]
    assert numbers == list(range(count)) and len(borders) <= cores


def test_large_activations_make_small_tiles():
    large = tiling.rows_at_once(mnist_cnn(), (28, 28, 1))
    small = tiling.rows_at_once(mlp([32], classes=10), (64,))
    assert 8 <= large < small <= 512
    assert large.bit_count() == small.bit_count() == 1


@pytest.mark.parametrize(
    ("bent", "rows", "cores"),
    [  # in short each place of the bend once, in pieces and dealt out
        pytest.param(bent, rows, cores, marks=() if (rows, cores) == short else pytest.mark.long)
        for bent, short in zip(BENT, ((2, 2), (64, 2), (2, 1)), strict=True)
        for rows, cores in itertools.product((2, 64), (1, 2))
    ],
)
def test_integrated_gradients_are_the_mean_of_gradients_wherever_the_network_bends(monkeypatch, bent, rows, cores):
    """Against gradients at every point by the network itself, which knows nothing of straight ways."""
    monkeypatch.setattr(tiling, "cores", lambda: cores)
    monkeypatch.setattr(gradient_methods, "rows_at_once", lambda architecture, shape: rows)
    gradient_methods._program.clear_cache()
    model = model_of(Architecture(layers=BENT[bent]), IMAGES.shape[1:])
    asked = request(model, IMAGES, m.IntegratedGradients(n_steps=7))
    network, change = JaxNetwork(model), IMAGES - asked.baseline
    expected = np.zeros(IMAGES.shape)
    for point, share in zip(*gauss_legendre(7), strict=True):
        gradients = network.input_gradients(asked.baseline + point * change, asked.targets)
        expected += share * gradients * change
    np.testing.assert_allclose(explain(asked)["native"], expected, rtol=1e-4, atol=1e-6)
    gradient_methods._program.clear_cache()


def test_numbers_that_are_arguments_compile_nothing_anew():
    model = model_of(mlp([8], classes=4), (6,))
    inputs = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)

    def compiled(*methods: m.Method) -> int:
        before = gradient_methods._program._cache_size() + gradient_methods._noisy_sums._cache_size()
        for method in methods:
            explain(request(model, inputs, method))
        return gradient_methods._program._cache_size() + gradient_methods._noisy_sums._cache_size() - before

    assert compiled(m.Saliency()) == 1
    assert compiled(m.Saliency(absolute=False, name="signed"), m.InputXGradient()) == 0
    assert compiled(m.IntegratedGradients(n_steps=50)) == 1
    assert compiled(m.IntegratedGradients(n_steps=8, baseline=0.5, name="few"), m.IntegratedGradients(n_steps=64)) == 0
    assert compiled(m.SmoothGrad(n_samples=3)) == 1
    assert compiled(m.SmoothGrad(n_samples=3, stdev=0.3, statistic="variance", name="variance")) == 0


def test_numbers_of_rows_compile_few_programs(monkeypatch):
    """Predictions and gradients of any number of rows, in tiles of eight at the most, against each row alone."""
    monkeypatch.setattr(network, "rows_at_once", lambda *_: 8)
    asked = JaxNetwork(model_of(mlp([7], classes=3), (6,)))
    rows = np.random.default_rng(2).normal(size=(21, 6)).astype(np.float32)
    targets = np.arange(21) % 3
    alone = np.concatenate([asked.logits(row[None]) for row in rows])
    slopes = np.concatenate([asked.input_gradients(rows[i : i + 1], targets[i : i + 1]) for i in range(21)])
    programs = (network._logits, network._gradients)
    before = [program._cache_size() for program in programs]
    for count in range(22):
        np.testing.assert_allclose(asked.logits(rows[:count]), alone[:count], atol=1e-6)
        found = asked.input_gradients(rows[:count], targets[:count])
        np.testing.assert_allclose(found, slopes[:count], atol=1e-6)
    assert [program._cache_size() - size for program, size in zip(programs, before, strict=True)] == [3, 3]
