"""Noise is JAX's own, number for number, however many arrays it is cut into."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.backends.jax.noise import add_noise, noise_key, standard_noise

pytestmark = [pytest.mark.jax]
WORDS = st.integers(0, 2**32 - 1)
LIKE = {"a": np.zeros((7, 3), np.float32), "b": np.zeros(5, np.float32), "c": np.zeros((2, 2, 2), np.float32)}
DRAW = jax.jit(lambda key: standard_noise(key, like=LIKE))
DRAW_AS_JAX = jax.jit(lambda key: jax.random.normal(key, (sum(part.size for part in LIKE.values()),)))


@settings(deadline=None, max_examples=25)
@given(seed=st.tuples(WORDS, WORDS, WORDS, WORDS), step=WORDS)
def test_the_numbers_are_those_of_jax_one_array_after_the_other(seed, step):
    key = jax.random.fold_in(noise_key(seed), step)
    drawn = DRAW(key)
    assert {name: part.shape for name, part in drawn.items()} == {name: part.shape for name, part in LIKE.items()}
    flat = np.concatenate([np.asarray(part).ravel() for part in drawn.values()])
    np.testing.assert_allclose(flat, DRAW_AS_JAX(key), rtol=1e-6)


def test_many_keys_at_once_give_what_each_gives():
    keys = jax.random.split(noise_key((1, 2, 3, 4)), 3)
    together = jax.vmap(lambda key: standard_noise(key, like=LIKE))(keys)
    for number, key in enumerate(keys):
        for name, part in standard_noise(key, like=LIKE).items():
            np.testing.assert_allclose(together[name][number], part, rtol=1e-6)


def test_noise_is_scaled_and_added():
    key = noise_key((1, 2, 3, 4))
    sums = jax.tree.map(lambda part: jnp.asarray(part) + 3, LIKE)
    for name, part in add_noise(sums, key, deviation=0.5).items():
        np.testing.assert_allclose(part, 3 + 0.5 * standard_noise(key, like=LIKE)[name], rtol=1e-6)
