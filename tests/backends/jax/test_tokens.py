"""Gradients of tables by the rows that tokens take, against tables that are written out."""

from __future__ import annotations

import functools

import jax
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
    scales = np.array([0.5, 2.0, 0.0], np.float32)

    @jax.jit
    def both(ids, back, scales):
        found = scattered(ids, back, ROWS)
        return found.square_norms(), found.weighted_sum(scales)

    squares, total = both(IDS, back, scales)
    np.testing.assert_allclose(squares, np.square(whole).sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(total, np.tensordot(scales, whole, 1), atol=1e-5)


def test_places_that_cancel_leave_nothing():
    """Norms from products of positions would leave the rounding of 1e8 here."""
    ids = np.zeros((1, 2), np.int32)
    one = np.full((1, 1, WIDTH), 1e4, np.float32)
    squares = jax.jit(lambda ids, back: scattered(ids, back, ROWS).square_norms())
    assert float(squares(ids, np.concatenate([one, -one], axis=1))[0]) == 0.0


def test_a_tied_table_has_the_sum_of_both_uses(back):
    generator = np.random.default_rng(1)
    seen, g = (generator.normal(size=(3, 4, size)).astype(np.float32) for size in (WIDTH, ROWS))
    expected = written(back) + np.einsum("nsr,nsw->nrw", g, seen)
    found = jax.jit(lambda ids, back, *rest: tied_gradients(scattered(ids, back, ROWS), *rest))(IDS, back, seen, g)
    np.testing.assert_allclose(np.asarray(found).swapaxes(1, 2), expected, atol=1e-5)


def test_a_step_without_a_key_gives_nothing_and_no_other_step_changes():
    values = np.random.default_rng(0).normal(size=(1, 4, 4)).astype(np.float32)
    layer = Attention(heads=2, causal=True)
    attend = jax.jit(functools.partial(attention, layer))
    found = np.asarray(attend(values, values, values, np.array([[0.0, 0.0, 1.0, 1.0]])))
    assert not found[0, :2].any()
    np.testing.assert_allclose(found[0, 2], values[0, 2], atol=1e-6)  # it sees itself alone
