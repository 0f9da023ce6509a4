"""Noise by Box and Muller's transform, with a radius fine enough for both tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.normal_law import check_draws, check_tail
from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.dp import OpacusTrainer
from trustml.backends.torch.noise import add_noise, fill_with_normal, noise_generator, noise_words, standard_normal
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.privacy.rounding import summation_rounding
from trustml.privacy.tails import TAILS
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
RADII = st.one_of(*(st.integers(0, most) for most in (2**63 - 1, 8, 2**40)))


def transformed(radius: list[int], angle: list[int], beyond: int = 2**62) -> np.ndarray:
    words = torch.tensor(radius, dtype=torch.int64), torch.tensor(angle, dtype=torch.int32)
    found = torch.empty(2 * len(radius))
    fill_with_normal(found, *words, beyond=torch.tensor(beyond))
    return found.numpy().reshape(2, -1)


@settings(deadline=None, max_examples=100)
@given(radius=RADII, angle=st.integers(-(2**31), 2**31 - 1), beyond=st.integers(0, 2**63 - 1))
def test_the_transform_is_that_of_box_and_muller(radius, angle, beyond):
    parts = radius or (beyond + 0.5) * 2.0**-63
    length, turn = math.sqrt(-2 * (math.log(parts) - 63 * math.log(2))), 2 * math.pi * angle / 2**32
    expected = [length * math.cos(turn), length * math.sin(turn)]
    assert transformed([radius], [angle], beyond).ravel() == pytest.approx(expected, rel=1e-6, abs=5e-6)


def test_what_torch_itself_draws_has_24_bits():
    """Known limit of PyTorch 2.13, so of Opacus's and pfl's noise; when this fails it was fixed."""
    drawn = torch.randn(1_600_000, generator=noise_generator((1, 2, 3, 4), CPU)).double().numpy().reshape(-1, 2, 8)
    squares = (drawn**2).sum(axis=1)
    parts = np.exp(-squares[squares > 12] / 2) * 2.0**24
    assert len(parts) > 1000
    assert np.abs(parts - parts.round()).max() < 0.2


def test_both_tails_are_reached_where_those_of_torch_end_at_six():
    outermost = transformed([0, 0], [0, -(2**31)], beyond=0)[0]
    assert outermost == pytest.approx([13.27, -13.27], abs=0.01)
    assert np.abs(outermost).min() > TAILS["torch"].largest
    sizes = transformed([1 << place for place in range(63)], [0] * 63)[0]
    assert sizes[0] > 9.3
    assert (np.diff(sizes) < 0).all()


@pytest.mark.parametrize("bits", [0, 3, 10, 24, 33, 45])
def test_the_law_of_the_tail(bits):
    def sizes(words: np.ndarray) -> np.ndarray:
        radius = torch.from_numpy((words >> np.uint64(1)).astype(np.int64))
        found = torch.empty(2 * len(words))
        fill_with_normal(found, radius, torch.zeros(len(words), dtype=torch.int32), beyond=torch.tensor(0))
        return found[: len(words)].numpy().astype(np.float64) ** 2 / 2

    check_tail(sizes, bits=bits)


@pytest.mark.parametrize("made", [noise_words, noise_generator])
def test_the_numbers_are_normal_and_independent(made):
    generator = made((5, 6, 7, 8), CPU)
    check_draws(lambda: standard_normal(1_000_001, generator=generator, device=CPU).numpy(), draws=12)


@pytest.mark.long
def test_a_thousand_million_numbers_are_normal():
    generator = noise_words((9, 9, 9, 9), CPU)
    check_draws(lambda: standard_normal(5_000_000, generator=generator, device=CPU).numpy(), draws=200)


@pytest.mark.parametrize("made", [noise_words, noise_generator])
def test_small_and_odd_sizes(made):
    for size in (1, 2, 3, 7, 131_073):
        drawn = standard_normal(size, generator=made((1, 2, 3, 4), CPU), device=CPU)
        assert drawn.shape == (size,)
        assert len(set(drawn.tolist())) > 0.99 * size


def test_words_are_those_of_sfc64_and_no_bit_of_them_is_used_twice():
    """A radius is the last 63 bits of a word, two angles are a word, and the last radius is for the outermost part."""
    words = np.random.SFC64(np.random.SeedSequence([1, 2, 3, 4])).random_raw(7)
    radii = [int(word) & (2**63 - 1) for word in words[:5]]
    angles = words[5:].view(np.int32)[:4]
    expected = transformed(radii[:4], angles.tolist(), beyond=radii[4]).ravel()
    found = standard_normal(8, generator=noise_words((1, 2, 3, 4), CPU), device=CPU)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("word", range(4))
def test_every_word_of_the_seed_changes_the_noise(word):
    seeds = [(1, 2, 3, 4), tuple(number + (place == word) for place, number in enumerate((1, 2, 3, 4)))]
    drawn = [standard_normal(1000, generator=noise_words(seed, CPU), device=CPU).numpy() for seed in seeds]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.2


def test_noise_is_scaled_and_added_and_none_is_drawn_without_a_deviation():
    sums = [torch.full((2, 3), 5.0), torch.ones(4)]
    generators = [noise_generator((1, 2, 3, 4), CPU) for _ in range(2)]
    drawn = standard_normal(10, generator=generators[0], device=CPU)
    noisy = add_noise(sums, deviation=0.5, generator=generators[1])
    assert torch.equal(noisy[0], 5 + 0.5 * drawn[:6].view(2, 3))
    assert torch.equal(noisy[1], 1 + 0.5 * drawn[6:])
    state = generators[1].get_state()
    quiet = add_noise(sums, deviation=0.0, generator=generators[1])
    assert all(torch.equal(one, other) and one is not other for one, other in zip(quiet, sums, strict=True))
    assert torch.equal(state, generators[1].get_state())


@pytest.mark.parametrize("mode", ["hooks", "functorch", "ew", "book_keeping"])
def test_every_mode_adds_this_noise(mode, monkeypatch):
    """Opacus's own is never drawn, and what is added to the sum is the vector of the generator."""
    monkeypatch.setattr("opacus.optimizers.optimizer._generate_noise", None)
    architecture = mlp([5], classes=3)
    weights = initial_weights(architecture, (4,), generator=np.random.default_rng(2))
    model = Model(architecture=architecture, input_shape=(4,), weights=weights)
    chosen = PrivateSettings(optimizer=SGD(), expected_batch_size=8, noise_seed=(1, 2, 3, 4), grad_sample_mode=mode)
    trainer = OpacusTrainer(model, settings=chosen, dropout_seed=0)
    trainer.update(clipping_norm=0.5, noise_multiplier=2.0, learning_rate=0.1)
    shapes = [parameter.shape for parameter in trainer._parameters.values()]
    drawn = standard_normal(sum(map(math.prod, shapes)), generator=noise_words((1, 2, 3, 4), CPU), device=CPU)
    found = [parameter.flatten() for parameter in trainer._gradient]
    np.testing.assert_allclose(torch.cat(found).numpy(), drawn.numpy() * (1 + summation_rounding(8)) / 8, rtol=1e-6)
