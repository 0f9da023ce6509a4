"""Norms that decide how far a gradient is scaled down, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.backends.torch.given_rows import clip_rows, outer_square_norms, square_norms

pytestmark = pytest.mark.torch
CLOSE = 2e-6


def exact(rows: np.ndarray) -> np.ndarray:
    return np.square(rows.astype(np.float64)).sum(axis=1)


@given(count=st.integers(1, 5000), seed=st.integers(0, 2**31), scale=st.floats(-12, 12), outlier=st.floats(0, 5))
@settings(max_examples=100, deadline=None)
def test_norms_are_those_in_float64(count, seed, scale, outlier):
    rows = np.random.default_rng(seed).normal(size=(3, count)) * 10**scale
    rows[:, 0] *= 10**outlier
    rows = rows.astype(np.float32)
    np.testing.assert_allclose(square_norms(torch.from_numpy(rows)), exact(rows), rtol=2 * CLOSE)


@pytest.mark.parametrize("count", [36_864, 147_456, 2_359_296])
@pytest.mark.parametrize("others", [2.0**-12 * 0.99, 0.7123])
def test_many_small_numbers_beside_a_large_one_count(count, others):
    rows = np.full((1, count), others, np.float32)
    rows[:, 0] = 1.0
    found = square_norms(torch.from_numpy(rows)).numpy()
    assert abs(np.sqrt(found / exact(rows)) - 1).max() < CLOSE
    (total,) = clip_rows([torch.from_numpy(rows)], clipping_norm=0.5, per_layer=False)
    assert float(total.double().norm()) < 0.5 * (1 + 1e-5)


def test_torch_itself_loses_them():
    """Known defect of PyTorch 2.13; when this fails it was fixed, and our own norm may go."""
    rows = torch.full((1, 2_359_296), 2.0**-12 * 0.99)
    rows[:, 0] = 1.0
    assert float(torch.linalg.vector_norm(rows, dim=1)) < 0.995 * float(rows.double().norm())


def test_a_norm_of_an_outer_product_is_never_too_small():
    inputs, outputs = torch.full((1, 4), 1e18), torch.full((1, 3), 1e-23)  # the squares of the latter underflow
    true = float(inputs.double().square().sum() * outputs.double().square().sum())
    assert float(outer_square_norms(inputs, outputs)) >= true
    ordinary = torch.randn(5, 4), torch.randn(5, 3)
    expected = ordinary[0].double().square().sum(1) * ordinary[1].double().square().sum(1)
    torch.testing.assert_close(outer_square_norms(*ordinary).double(), expected, rtol=2 * CLOSE, atol=0)
