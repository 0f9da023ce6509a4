"""Complexity by hand, and against Quantus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.attribution.complexity import entropy, gini


def test_even_and_single_attributions():
    even, single, nothing = np.full((1, 8), -2.0), np.eye(8)[:1], np.zeros((1, 8))
    assert gini(even)[0] == pytest.approx(0)
    assert gini(single)[0] == pytest.approx(7 / 8)
    assert entropy(even)[0] == pytest.approx(np.log(8))
    assert entropy(single)[0] == pytest.approx(0)
    assert np.isnan(gini(nothing)[0]) and np.isnan(entropy(nothing)[0])


def test_gini_by_its_definition():
    values = np.array([[1.0, -2.0, 3.0, 6.0]])
    pairs = np.abs(np.abs(values[0])[:, None] - np.abs(values[0])[None, :]).sum()
    assert gini(values)[0] == pytest.approx(pairs / (2 * 4 * np.abs(values).sum()))


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_scale_does_not_matter(seed, factor):
    values = np.random.default_rng(seed).normal(size=(2, 3, 3, 1))
    np.testing.assert_allclose(gini(values * factor), gini(values), atol=1e-12)
    np.testing.assert_allclose(entropy(values * factor), entropy(values), atol=1e-9)


def test_quantus_gives_the_same():
    import quantus

    values = np.abs(np.random.default_rng(0).normal(size=(5, 20)))
    sparseness = quantus.Sparseness(normalise=False, abs=True, disable_warnings=True)
    complexity = quantus.Complexity(normalise=False, abs=True, disable_warnings=True)
    theirs = [measure.evaluate_batch(values.copy(), values.copy()) for measure in (sparseness, complexity)]
    np.testing.assert_allclose(gini(values), theirs[0], atol=1e-6)
    np.testing.assert_allclose(entropy(values), theirs[1], atol=1e-6)
