"""The bound on what float32 adds to the sensitivity, against sums as float32 takes them."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.privacy.rounding import summation_rounding


@pytest.mark.parametrize("terms", [16, 64, 256, 1024])
def test_two_neighbouring_sums_differ_by_less(terms):
    """Unit vectors all alike, the worst direction, added one by one, with one more in front."""
    generator = np.random.default_rng(0)
    worst = 0.0
    for _ in range(20):
        direction = generator.normal(size=400)
        rows = (direction / np.linalg.norm(direction))[None] + 1e-3 * generator.normal(size=(terms, 400))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        before = after = np.zeros(400, np.float32)
        after = after + rows[-1]
        for row in rows:
            before, after = before + row, after + row
        difference = after.astype(np.float64) - before - rows[-1].astype(np.float64)
        worst = max(worst, float(np.linalg.norm(difference)))
    assert worst < summation_rounding(terms)
    assert worst > 0.01 * summation_rounding(terms)  # it bounds this, and not anything at all


def test_it_is_small_for_batches_that_are_used():
    assert 2.4e-4 < summation_rounding(256) < 2.5e-4
    assert summation_rounding(4096) < 0.016
