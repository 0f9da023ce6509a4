"""Noise is a function of Threefry's words, written out here in float64, and has both tails."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tests.backends.normal_law import check_draws, check_tail
from trustml.backends.jax.noise import add_noise, noise_key, normal_of_words, standard_noise, standard_number
from trustml.privacy.tails import TAILS

pytestmark = [pytest.mark.jax]
WORDS = st.integers(0, 2**32 - 1)
LIKE = {  # of small arrays, which are drawn together, and a large one between them
    name: np.zeros(shape, np.float32) for name, shape in (("a", (7, 3)), ("b", 5), ("c", (64, 65)), ("d", (2, 2, 2)))
}
TOTAL = sum(part.size for part in LIKE.values())
DRAW = jax.jit(lambda key: standard_noise(key, like=LIKE))
TRANSFORM = jax.jit(normal_of_words)
BITS = jax.jit(lambda key: jax.random.bits(key, (TOTAL,), np.uint64))


def reference(words: np.ndarray, beyond: float = 0.5) -> np.ndarray:
    """Normal numbers of 64-bit words: the last bit a sign, the halves without their last bits a tail probability."""
    parts = (words >> np.uint64(33) << np.uint64(31)) + (words >> np.uint64(1) & np.uint64(2**31 - 1))
    p = np.where(parts == 0, beyond, parts.astype(np.float64) + 0.5) * 2.0**-62
    return np.where(words & np.uint64(1), 1, -1) * special.ndtri(p / 2)


def transformed(words: np.ndarray, beyond: float = 0.5) -> np.ndarray:
    high, low = (words >> np.uint64(32)).astype(np.uint32), words.astype(np.uint32)
    return np.asarray(TRANSFORM(high, low, np.float32(beyond)))


@settings(deadline=None, max_examples=25)
@given(seed=st.tuples(WORDS, WORDS, WORDS, WORDS), step=WORDS)
def test_the_numbers_are_made_of_the_words_of_jax_one_array_after_the_other(seed, step):
    key = jax.random.fold_in(noise_key(seed), step)
    drawn = DRAW(key)
    assert {name: part.shape for name, part in drawn.items()} == {name: part.shape for name, part in LIKE.items()}
    flat = np.concatenate([np.asarray(part).ravel() for part in drawn.values()])
    with jax.enable_x64(True):
        words = np.asarray(BITS(key))
    np.testing.assert_allclose(flat, reference(words), rtol=2e-6, atol=3e-7)


@settings(deadline=None, max_examples=50)
@given(words=st.lists(st.one_of(*(st.integers(0, most) for most in (2**64 - 1, 2**40, 8))), min_size=32, max_size=32))
def test_the_transform_holds_for_all_words(words):
    words = np.array(words, np.uint64)
    for beyond in (2.0**-33, 0.3, 1.0):
        np.testing.assert_allclose(transformed(words, beyond), reference(words, beyond), rtol=1e-6, atol=3e-7)


def test_what_jax_itself_draws_has_23_bits():
    """Known limit of JAX 0.10; when this fails it was fixed."""
    key, least = jax.random.key(3), np.nextafter(np.float32(-1), np.float32(0))
    uniform = jax.random.uniform(key, (1000,), minval=least, maxval=1.0)
    np.testing.assert_allclose(jax.random.normal(key, (1000,)), np.sqrt(2) * jax.lax.erf_inv(uniform), rtol=1e-6)
    ends = np.sqrt(2) * special.erfinv(np.array([least, 1 - 2.0**-22], np.float64))
    assert ends.tolist() == pytest.approx([-5.42, 5.1], abs=0.15)


def test_both_tails_are_reached():
    """What ``jax.random.normal`` cannot: it ends at -5.42 and +5.22."""
    words = np.array([0, 1], np.uint64)
    least = 2.0**-33
    assert transformed(words, least).tolist() == pytest.approx([11.24, -11.24], abs=0.01)
    assert np.abs(transformed(words, least)).min() > TAILS["jax"].largest
    leading = np.array([1 << place for place in range(2, 64) if place != 32], np.uint64)
    sizes = transformed(leading)
    assert (np.diff(sizes) < 0).all()
    assert sizes[0] > 8.9
    assert np.array_equal(transformed(leading | np.uint64(1)), -sizes)


@pytest.mark.parametrize("bits", [0, 3, 10, 22, 30, 33, 45])
def test_the_law_of_the_tail(bits):
    def sizes(words: np.ndarray) -> np.ndarray:
        """Drop the last bit of the upper half as the transform does: shift the lower part of the word down."""
        upper, lower = words >> np.uint64(33), words >> np.uint64(1) & np.uint64(2**32 - 1)
        z = transformed(upper << np.uint64(33) | lower >> np.uint64(1) << np.uint64(1)).astype(np.float64)
        return -np.log(2) - special.log_ndtr(-np.abs(z))

    check_tail(sizes, bits=bits)


def test_the_numbers_are_normal_and_independent():
    like = {"": jax.ShapeDtypeStruct((1_000_000,), np.float32)}
    draw = jax.jit(lambda step: standard_noise(jax.random.fold_in(noise_key((5, 6, 7, 8)), step), like=like)[""])
    steps = iter(range(100))
    check_draws(lambda: np.asarray(draw(np.uint32(next(steps)))), draws=12)


@pytest.mark.long
def test_a_thousand_million_numbers_are_normal():
    like = {"": jax.ShapeDtypeStruct((5_000_000,), np.float32)}
    draw = jax.jit(lambda step: standard_noise(jax.random.fold_in(noise_key((9, 9, 9, 9)), step), like=like)[""])
    steps = iter(range(1000))
    check_draws(lambda: np.asarray(draw(np.uint32(next(steps)))), draws=200)


def test_many_keys_at_once_give_what_each_gives():
    keys = jax.random.split(noise_key((1, 2, 3, 4)), 3)
    together = jax.jit(jax.vmap(DRAW))(keys)
    for number, key in enumerate(keys):
        for name, part in DRAW(key).items():
            np.testing.assert_allclose(together[name][number], part, rtol=1e-6)


def test_one_number_is_the_first_of_many():
    key = noise_key((1, 2, 3, 4))
    assert float(jax.jit(standard_number)(key)) == pytest.approx(float(DRAW(key)["a"][0, 0]), rel=1e-6)


def test_noise_is_scaled_and_added():
    key = noise_key((1, 2, 3, 4))
    sums = {name: part + np.float32(3) for name, part in LIKE.items()}
    fresh = DRAW(key)
    for name, part in jax.jit(add_noise)(sums, key, deviation=0.5).items():
        np.testing.assert_allclose(part, 3 + 0.5 * fresh[name], rtol=1e-6)
