"""Enlarging by hand, by properties, and as PyTorch does it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.attribution.upsample import upsample


def test_by_hand():
    found = upsample(np.array([[[0.0, 4.0]]], np.float32), shape=(1, 4, 1))
    # Centres at 0.5 and 1.5 of two; new centres at 0.25, 0.75, 1.25, 1.75.
    np.testing.assert_array_equal(found[0, 0, :, 0], [0.0, 1.0, 3.0, 4.0])


sides = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(sides, sides, sides, sides, st.integers(1, 3), st.integers(0, 2**16))
def test_range_scale_and_channels(rows, columns, height, width, channels, seed):
    maps = np.random.default_rng(seed).standard_normal((2, rows, columns)).astype(np.float32)
    found = upsample(maps, shape=(height, width, channels))
    pixels = found.sum(axis=3)
    slack = 1e-6 * np.abs(maps).max()  # float32
    assert pixels.min() >= maps.min() - slack
    assert pixels.max() <= maps.max() + slack
    np.testing.assert_array_equal(upsample(4 * maps, shape=(height, width, channels)), 4 * found)
    np.testing.assert_array_equal(found, np.repeat(found[..., :1], channels, axis=3))
    if (rows, columns) == (height, width):
        np.testing.assert_allclose(pixels, maps, atol=slack)


@pytest.mark.torch
@pytest.mark.parametrize(
    "sizes", [((3, 3), (8, 8)), ((7, 5), (28, 30)), ((4, 6), (4, 6)), ((8, 9), (5, 4)), ((1, 1), (3, 2))]
)
def test_pytorch_interpolates_the_same(sizes):
    import torch

    before, after = sizes
    maps = np.random.default_rng(0).standard_normal((3, *before)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(maps)[:, None], size=after, mode="bilinear", align_corners=False
    )
    # float32 weights there, float64 here, of values of order 1.
    np.testing.assert_allclose(upsample(maps, shape=(*after, 1))[..., 0], theirs[:, 0].numpy(), atol=1e-6)
