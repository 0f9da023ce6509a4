"""Measures against other people's formulas and by their properties."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from trustml.measures.accuracy import wilson_interval
from trustml.measures.agreement import max_abs_difference
from trustml.measures.completeness import completeness_errors, completeness_rows
from trustml.measures.evidence import Explanation
from trustml.measures.means import mean_with_interval
from trustml.measures.measure import MEASURES
from trustml.measures.notes import note_of
from trustml.measures.row import About
from trustml.scenario.methods import IntegratedGradients


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_equals_scipy(trials, share):
    successes = round(trials * share)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_max_abs_difference_is_relative_to_the_first():
    assert max_abs_difference(np.array([[2.0, -4.0]]), np.array([[2.0, -3.0]])) == 0.25
    assert np.isnan(max_abs_difference(np.zeros((1, 2)), np.ones((1, 2))))


def test_means_leave_out_what_is_undefined():
    mean = mean_with_interval(np.array([1.0, np.nan, 3.0]))
    assert (mean.value, mean.n) == (2.0, 2)
    assert mean.low <= mean.value <= mean.high
    assert mean_with_interval(np.array([np.nan])) is None
    alone = mean_with_interval(np.array([np.nan, 3.0]))  # of which every resample is the same
    assert (alone.value, alone.n, alone.low, alone.high, alone.interval) == (3.0, 1, None, None, None)


def test_completeness_is_exact_for_a_linear_model():
    generator = np.random.default_rng(0)
    inputs, weights = generator.normal(size=(5, 4)), generator.normal(size=(4, 3))
    targets = np.array([0, 1, 2, 0, 1])
    explanation = Explanation(
        record=None,
        job=None,
        method=IntegratedGradients(),
        library="any",
        seconds=0.0,
        first_seconds=0.0,
        attributions={},
        totals={"native": (inputs * weights.T[targets]).sum(axis=1), "raw": weights.T[targets].sum(axis=1)},
        logits=inputs @ weights,
        baseline_logits=np.zeros((5, 3)),
        targets=targets,
        probes={},
    )
    errors, changes = completeness_errors(explanation, variant="native")
    assert errors.max() < 1e-12 < changes.min()
    missing_the_factor, _ = completeness_errors(explanation, variant="raw")
    assert missing_the_factor.max() > 0.1


def test_passes_are_told_beside_the_error_and_whoever_missed_it():
    totals = np.array([1.0, 0.995, 0.9])
    explanation = Explanation(
        record=SimpleNamespace(backend="jax"),
        job=None,
        method=IntegratedGradients(n_steps=64, max_completeness_error=0.01),
        library="any",
        seconds=0.0,
        first_seconds=0.0,
        attributions={"native": np.zeros((3, 2)), "common": np.zeros((3, 2))},
        totals={"native": totals, "common": totals},
        logits=np.array([[1.0], [1.0], [1.0]]),
        baseline_logits=np.zeros((3, 1)),
        targets=np.zeros(3, int),
        probes={},
        passes={"native": np.array([28, 28, 28]), "common": np.array([3, 5, 64])},
        tried=(4, 8, 16),
    )
    evidence = SimpleNamespace(
        explanations=[explanation],
        row=lambda measure, value, *, subject, about=None, **rest: (measure, value, subject, note_of(about or About())),
    )
    found = {(measure, subject): (value, note) for measure, value, subject, note in completeness_rows(evidence)}
    value, note = found["explain_passes", "common (jax)"]
    assert value == 24 and "1 of 3 examples are not there" in note and "error of 0.01" in note
    value, note = found["explain_passes", "any"]
    assert value == 28 and "all of 4, 8, 16 steps" in note
    assert "64 steps" not in found["attribution_completeness_error", "any"][1]


def test_every_measure_is_described():
    for name, measure in MEASURES.items():
        assert measure.title and measure.unit and measure.meaning.endswith("."), name
