"""Measures against other people's formulas and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ConstantInputWarning, binomtest, spearmanr
from trustml.measures.attribution import completeness_errors

from trustml.measures.accuracy import wilson_interval
from trustml.measures.agreement import max_abs_difference, mean_with_interval, spearman, topk_overlap
from trustml.measures.evidence import Explanation
from trustml.measures.measure import MEASURES

values = arrays(np.float64, (3, 6), elements=st.integers(-3, 3).map(float))


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_equals_scipy(trials, share):
    successes = round(trials * share)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@given(values, values)
def test_spearman_equals_scipy_with_ties_and_constants(first, second):
    found = spearman(first, second)
    for number in range(3):
        expected = spearmanr(first[number], second[number]).statistic
        assert found[number] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert ConstantInputWarning is not None


@given(values)
def test_an_attribution_agrees_with_itself(array):
    assert np.nanmin([*spearman(array, array), 1.0]) == pytest.approx(1.0)
    assert (topk_overlap(array, array) == 1).all()
    assert max_abs_difference(array, array) == 0 or not array.any()


def test_topk_overlap_counts_the_largest_magnitudes():
    first = np.array([[9.0, -8, 1, 0, 0, 0, 0, 0, 0, 0] * 2])
    second = np.array([[9.0, 0, 0, 0, 0, 0, 0, 0, 0, -8] * 2])
    assert topk_overlap(first, second, share=0.1).tolist() == [1.0]  # the two nines
    assert topk_overlap(first, second, share=0.2).tolist() == [0.5]  # and the eights, elsewhere


def test_max_abs_difference_is_relative_to_the_first():
    assert max_abs_difference(np.array([[2.0, -4.0]]), np.array([[2.0, -3.0]])) == 0.25
    assert np.isnan(max_abs_difference(np.zeros((1, 2)), np.ones((1, 2))))


def test_means_leave_out_what_is_undefined():
    mean = mean_with_interval(np.array([1.0, np.nan, 3.0]))
    assert (mean.value, mean.n) == (2.0, 2)
    assert mean.low <= mean.value <= mean.high
    assert mean_with_interval(np.array([np.nan])) is None


def test_completeness_is_exact_for_a_linear_model():
    generator = np.random.default_rng(0)
    inputs, weights = generator.normal(size=(5, 4)), generator.normal(size=(4, 3))
    targets = np.array([0, 1, 2, 0, 1])
    explanation = Explanation(
        record=None,
        job=None,
        library="any",
        attributions={"native": inputs * weights.T[targets], "raw": weights.T[targets]},
        logits=inputs @ weights,
        baseline_logits=np.zeros((5, 3)),
    )
    errors, changes = completeness_errors(explanation, targets, variant="native")
    assert errors.max() < 1e-12 < changes.min()
    missing_the_factor, _ = completeness_errors(explanation, targets, variant="raw")
    assert missing_the_factor.max() > 0.1


def test_every_measure_is_described():
    for name, measure in MEASURES.items():
        assert measure.title and measure.unit and measure.meaning.endswith("."), name
