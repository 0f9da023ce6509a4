"""Signals of outputs: by definition where that is exact enough, by limits where that is not."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trustml.attacks.signals import logits_from_probabilities, signals_from_logits
from trustml.errors import UsageError

LOGITS = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-8, 8))


@given(LOGITS, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_signals_are_their_definitions(logits, seed):
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    found = signals_from_logits(logits, labels)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = p[np.arange(len(p)), labels]
    others = np.delete(p.ravel(), np.arange(len(p)) * p.shape[1] + labels).reshape(len(p), -1)
    np.testing.assert_allclose(found.loss, -np.log(own), atol=1e-9)
    np.testing.assert_allclose(found.confidence, own, atol=1e-12)
    np.testing.assert_allclose(found.scaled_confidence, np.log(own) - np.log(others.sum(1)), atol=1e-9)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p)).sum(1), atol=1e-9)
    expected = -(1 - own) * np.log(own) - (others * np.log1p(-others)).sum(1)
    np.testing.assert_allclose(found.modified_entropy, expected, atol=1e-7)
    np.testing.assert_array_equal(found.correct, np.argmax(logits, 1) == labels)


def test_extreme_logits_keep_their_digits():
    logits = np.array([[40.0, 0.0, 0.0], [80.0, 0.0, 0.0], [0.0, 900.0, 0.0]])
    found = signals_from_logits(logits, np.zeros(3, int))
    np.testing.assert_allclose(found.scaled_confidence, [40 - np.log(2), 80 - np.log(2), -900.0], rtol=1e-14)
    np.testing.assert_allclose(found.loss[:2], 2 * np.exp([-40.0, -80.0]), rtol=1e-12)
    assert found.loss[2] == pytest.approx(900)
    assert found.entropy[0] == pytest.approx(82 * np.exp(-40.0), rel=1e-9)
    # a sure and wrong answer has no entropy but a large modified entropy
    assert found.entropy[2] == 0.0 and found.modified_entropy[2] > 900
    assert found.modified_entropy[1] < found.modified_entropy[0] < 1e-15
    assert found.correct.tolist() == [True, True, False]


def test_float32_and_leading_axes():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 4])
    stacked = signals_from_logits(logits, labels)
    for name in ("loss", "scaled_confidence", "modified_entropy", "top_confidence", "correct"):
        one_by_one = np.stack([getattr(signals_from_logits(one, labels), name) for one in logits])
        np.testing.assert_array_equal(getattr(stacked, name), one_by_one)
    assert stacked.loss.dtype == np.float64


def test_probabilities_of_zero_and_one():
    p = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.25, 0.25]], np.float32)
    found = signals_from_logits(logits_from_probabilities(p, clamp=1e-6), np.zeros(3, int))
    assert found.scaled_confidence[0] == pytest.approx(-np.log(2e-6), abs=1e-9)
    assert found.loss[1] == pytest.approx(-np.log(1e-6), abs=1e-5)
    assert found.scaled_confidence[2] == pytest.approx(0.0, abs=1e-12)
    assert found.entropy[2] == pytest.approx(1.5 * np.log(2))


@given(LOGITS)
@settings(max_examples=40, deadline=None)
def test_probabilities_and_logits_agree(logits):
    labels = np.zeros(len(logits), int)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    a, b = (signals_from_logits(one, labels) for one in (logits, logits_from_probabilities(p)))
    np.testing.assert_allclose(a.scaled_confidence, b.scaled_confidence, atol=1e-7)
    np.testing.assert_allclose(a.modified_entropy, b.modified_entropy, atol=1e-7)


def test_rounded_rows_are_scaled_to_one():
    logits = logits_from_probabilities(np.array([[0.3333, 0.3333, 0.3333]]))
    np.testing.assert_allclose(np.exp(logits), float(Fraction(1, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.6]], "adds up to 1 only within 0.1"),
        ([[1.5, -0.5]], "-0.5 is negative"),
        ([[np.nan, 1.0]], "1 values are not finite"),
        ([[1.0]], "fewer than two classes"),
    ],
)
def test_what_are_no_probabilities(probabilities, message):
    with pytest.raises(UsageError, match=message):
        logits_from_probabilities(np.array(probabilities))
    with pytest.raises(UsageError, match="clamp"):
        logits_from_probabilities(np.array([[0.5, 0.5]]), clamp=0.0)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 1)), [0, 0], "one class only"),
        (np.zeros((2, 3)), [0, 3], "from 0 to 3"),
        (np.zeros((2, 3)), [0, -1], "from -1 to 0"),
        (np.zeros((2, 3)), [0.0, 1.0], "type float64"),
        (np.zeros((2, 3)), [0], "do not fit"),
        (np.array([[0, np.nan], [np.inf, 0]]), [0, 0], "2 values are not finite"),
    ],
)
def test_what_are_no_outputs(logits, labels, message):
    with pytest.raises(UsageError, match=message):
        signals_from_logits(logits, np.array(labels))
