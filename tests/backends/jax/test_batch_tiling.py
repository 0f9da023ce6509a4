"""Tiles and shares are ways to compute: every example counts once, and no size of a batch compiles anew."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.backends.contract import Model
from trustml.backends.jax import tiling
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.tiling import Tiling, choose_tiling, deal, sum_tiles
from trustml.backends.jax.training import PlainTrainer
from trustml.backends.settings import PrivateSettings
from trustml.models.layers import Architecture, Conv2D, Dense, Dropout, Flatten, ReLU
from trustml.models.residual import resnet18
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, mnist_cnn
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain

pytestmark = [pytest.mark.jax]
OPTIMIZER = SGD(learning_rate=0.1)


@given(
    rows=st.integers(0, 70),
    small=st.sampled_from([4, 8]),
    large=st.sampled_from([0, 6, 16, 32]),
    shares=st.integers(1, 3),
)
def test_every_example_is_in_one_block_of_one_part(rows, small, large, shares):
    cut = Tiling(small=small, large=large, shares=shares)
    numbers = np.arange(1, rows + 1)
    dealt = deal(numbers[:, None].astype(np.float32), numbers, cut, capacity=70)
    assert 1 <= len(dealt) <= shares
    assert len({(len(share.head[1]), len(share.tail[1])) for share in dealt}) == 1
    assert [share.first for share in dealt] == [0, *np.cumsum([share.rows for share in dealt])[:-1]]
    seen = []
    for share in dealt:
        inputs, labels = (np.concatenate(pair) for pair in zip(share.head, share.tail, strict=True))
        seen.append(labels[: share.rows])
        np.testing.assert_array_equal(inputs[:, 0], labels)
        assert not labels[share.rows :].any()
        assert len(share.head[1]) in (0, large) and not len(share.tail[1]) % small
        assert len(share.head[1]) + len(share.tail[1]) < max(2 * share.rows, 70 // shares) + large + 2 * small
    np.testing.assert_array_equal(np.concatenate(seen), numbers)


@pytest.mark.parametrize(("small", "large"), [(4, 0), (4, 16), (8, 8), (4, 28), (4, 40), (4, 64), (4, 18)])
def test_blocks_sum_to_what_all_rows_sum_to(small, large):
    cut = Tiling(small, large, shares=1)
    program = jax.jit(
        lambda share: sum_tiles(
            cut,
            lambda tile, start: ((tile[0][:, 0] * tile[2]).sum(), (tile[2] * (start + 1)).sum(), tile[2].sum()),
            share,
        )
    )
    for count in (0, 1, 4, 17, 39, 40):
        numbers = np.arange(1, count + 1)
        (share,) = deal(numbers[:, None].astype(np.float32), numbers, cut, capacity=40)
        total, starts, examples = program(share)
        assert float(total) == numbers.sum() and float(examples) == count
        head = large if count > large // 2 else 0
        begins = [0 if row < head else head + (row - head) // small * small for row in range(count)]
        assert float(starts) == sum(begins) + count
    assert program._cache_size() <= 2


def test_few_rows_do_not_fill_the_large_tile():
    cut = Tiling(small=8, large=64, shares=1)
    (few,) = deal(np.ones((10, 1), np.float32), np.ones(10, np.int64), cut, capacity=80)
    (many,) = deal(np.ones((40, 1), np.float32), np.ones(40, np.int64), cut, capacity=80)
    assert not len(few.head[1]) and len(many.head[1]) == 64


def test_large_examples_make_small_blocks_on_every_core_and_small_ones_large_tiles(monkeypatch):
    monkeypatch.setattr(tiling, "cores", lambda: 2)
    image = choose_tiling(mnist_cnn(), (28, 28, 1), copies=1, expected=256)
    assert image.shares == 2 and image.large == 0 and 8 <= image.small <= 64
    assert choose_tiling(mnist_cnn(), (28, 28, 1), copies=8, expected=256).small <= image.small
    vector = choose_tiling(mlp([256, 128], classes=10), (784,), copies=1, expected=256)
    assert vector.shares == 1 and vector.large == 256


def test_examples_of_more_than_the_cache_are_trained_on_too(monkeypatch):
    monkeypatch.setattr(tiling, "cores", lambda: 2)
    photographs = choose_tiling(resnet18(classes=10), (224, 224, 3), copies=1, expected=64)
    assert photographs == Tiling(small=8, large=0, shares=2)


def test_any_cut_gives_the_same_sums_and_steps(monkeypatch):
    convolution = Conv2D(filters=3, kernel=(2, 2), stride=(2, 2))
    layers = (convolution, ReLU(), Flatten(), Dropout(rate=0.5), Dense(units=10))
    architecture, shape = Architecture(layers=layers), (4, 4, 2)
    generator = np.random.default_rng(0)
    model = Model(
        architecture=architecture,
        input_shape=shape,
        weights=initial_weights(architecture, shape, generator=np.random.default_rng(1)),
    )
    inputs = generator.normal(size=(21, *shape)).astype(np.float32)
    labels = generator.integers(0, 10, 21)
    found = []
    for cut in (Tiling(32, 0, 1), Tiling(4, 8, 2)):
        for module in ("dp", "training"):
            monkeypatch.setattr(f"trustml.backends.jax.{module}.choose_tiling", lambda *_, cut=cut, **__: cut)
        settings = PrivateSettings(optimizer=OPTIMIZER, expected_batch_size=21, noise_seed=(1, 2, 3, 4))
        private = DPTrainer(model, settings=settings, dropout_seed=0)
        told = private.accumulate(inputs[:, None], labels, clipping_norm=0.5)
        sums = private.clipped_sum()
        private.update(clipping_norm=0.5, noise_multiplier=1.0, learning_rate=0.1)
        plain = PlainTrainer(model, regime=Plain(epochs=1, batch_size=21, optimizer=OPTIMIZER), dropout_seed=0)
        plain.step(inputs, labels, learning_rate=0.1)
        found.append((told, sums, private.weights(), plain.weights()))
    for told, *weights in found[1:]:
        assert told == found[0][0]
        for ours, first in zip(weights, found[0][1:], strict=True):
            for name in first:
                np.testing.assert_allclose(ours[name], first[name], rtol=0, atol=1e-5)


def test_the_block_of_a_private_step_holds_most_batches_and_no_more_than_a_microbatch():
    architecture = mlp([4], classes=2)
    weights = initial_weights(architecture, (3,), generator=np.random.default_rng(1))
    model = Model(architecture=architecture, input_shape=(3,), weights=weights)
    for microbatch, large in ((64, 64), (0, 1024 + 2 * 32)):
        settings = PrivateSettings(
            optimizer=OPTIMIZER, expected_batch_size=1024, noise_seed=(1, 2, 3, 4), micro_batch_size=microbatch
        )
        assert DPTrainer(model, settings=settings, dropout_seed=0)._tiling.large == large


@given(rows=st.integers(0, 200), large=st.integers(1, 70))
def test_uniform_blocks_all_have_one_size(rows, large):
    numbers = np.arange(1, rows + 1)
    cut = Tiling(small=8, large=large, shares=1, uniform=True)
    dealt = deal(numbers[:, None].astype(np.float32), numbers, cut, capacity=rows)
    assert {(len(share.head[1]), len(share.tail[1])) for share in dealt} == {(large, 0)}
    np.testing.assert_array_equal(np.concatenate([share.head[1][: share.rows] for share in dealt]), numbers)


def test_noise_is_drawn_anew_for_every_step():
    architecture = mlp([4], classes=2)
    weights = initial_weights(architecture, (3,), generator=np.random.default_rng(1))
    model = Model(architecture=architecture, input_shape=(3,), weights=weights)
    settings = PrivateSettings(optimizer=OPTIMIZER, expected_batch_size=1, noise_seed=(1, 2, 3, 4))
    trainer = DPTrainer(model, settings=settings, dropout_seed=0)
    noises = []
    for _ in range(3):
        trainer.update(clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.0)
        noises.append(np.concatenate([share.ravel() for share in trainer.gradient().values()]))
    assert not np.intersect1d(noises[0], noises[1]).size and not np.intersect1d(noises[1], noises[2]).size
    assert jnp.isfinite(jnp.asarray(noises)).all()
