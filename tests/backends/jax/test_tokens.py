"""Gradients of tables by the rows that tokens take, against tables that are written out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from trustml.backends.jax.tokens import attention, scattered, tied_gradients
from trustml.models.token_layers import Attention

ROWS, WIDTH = 6, 3
IDS = np.array([[2, 5, 2, 2, 0], [1, 1, 1, 1, 1], [0, 1, 2, 3, 4]])


@pytest.fixture
def back() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*IDS.shape, WIDTH)).astype(np.float32)


def written(back: np.ndarray) -> np.ndarray:
    """Gradient of each example by the whole table."""
    found = np.zeros((len(IDS), ROWS, WIDTH))
    for example, (ids, rows) in enumerate(zip(IDS, back, strict=True)):
        np.add.at(found[example], ids, rows)
    return found


def test_a_token_that_comes_again_counts_with_its_sum(back):
    whole = written(back)
    found = scattered(jnp.asarray(IDS), jnp.asarray(back), ROWS)
    np.testing.assert_allclose(found.square_norms(), np.square(whole).sum(axis=(1, 2)), rtol=1e-5)
    scales = np.array([0.5, 2.0, 0.0], np.float32)
    np.testing.assert_allclose(found.weighted_sum(jnp.asarray(scales)), np.tensordot(scales, whole, 1), atol=1e-5)


def test_places_that_cancel_leave_nothing():
    """Norms from products of positions would leave the rounding of 1e8 here."""
    ids = jnp.zeros((1, 2), jnp.int32)
    one = np.full((1, 1, WIDTH), 1e4, np.float32)
    found = scattered(ids, jnp.concatenate([one, -one], axis=1), ROWS)
    assert float(found.square_norms()[0]) == 0.0


def test_a_tied_table_has_the_sum_of_both_uses(back):
    generator = np.random.default_rng(1)
    seen, g = (generator.normal(size=(3, 4, size)).astype(np.float32) for size in (WIDTH, ROWS))
    lookups = scattered(jnp.asarray(IDS), jnp.asarray(back), ROWS)
    expected = written(back) + np.einsum("nsr,nsw->nrw", g, seen)
    found = np.asarray(tied_gradients(lookups, jnp.asarray(seen), jnp.asarray(g))).swapaxes(1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_step_without_a_key_gives_nothing_and_no_other_step_changes():
    values = np.random.default_rng(0).normal(size=(1, 4, 4)).astype(np.float32)
    layer = Attention(heads=2, causal=True)
    found = np.asarray(attention(layer, values, values, values, np.array([[0.0, 0.0, 1.0, 1.0]])))
    assert not found[0, :2].any()
    np.testing.assert_allclose(found[0, 2], values[0, 2], atol=1e-6)  # it sees itself alone
