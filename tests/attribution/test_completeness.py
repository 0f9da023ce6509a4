"""Completeness by hand, and on models where it must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import random_inputs, random_linear
from trustml.attribution.completeness import completeness


def test_by_hand():
    attributions = np.array([[[1.0, 2.0], [-0.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]]], np.float32)
    found = completeness(attributions, logits=np.array([4.0, 1.0]), baseline_logits=np.array([1.0, 2.0]))
    np.testing.assert_array_equal(found.errors, [0.5, 2.0])
    np.testing.assert_array_equal(found.changes, [3.0, 1.0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_contributions_of_a_linear_model_are_complete_and_slopes_are_not(seed):
    model = random_linear((3, 2), classes=3, seed=seed)
    inputs, baseline = random_inputs(4, (3, 2), seed=seed), random_inputs(4, (3, 2), seed=seed + 1)
    targets = np.array([0, 1, 2, 0])
    ends = {
        "logits": model.target_logits(inputs, targets),
        "baseline_logits": model.target_logits(baseline, targets),
    }
    exact = completeness(model.contributions(inputs, targets, baseline=baseline), **ends)
    assert exact.errors.max() < 1e-5  # float32 sums of six terms of order 10
    slopes = completeness(model.gradients(targets), **ends)
    assert slopes.errors.max() > 1e-2


def test_random_attributions_do_worse():
    model = random_linear((64,), classes=3, seed=0)
    inputs, baseline = random_inputs(50, (64,), seed=0), np.zeros((50, 64), np.float32)
    targets = np.arange(50) % 3
    found = completeness(
        random_inputs(50, (64,), seed=5),
        logits=model.target_logits(inputs, targets),
        baseline_logits=model.target_logits(baseline, targets),
    )
    # Two independent sums of 64 terms of variance 1 differ by sqrt(128) = 11.3, in absolute mean 9.0.
    assert found.errors.mean() == pytest.approx(9.0, rel=0.3)
