"""What a model's outputs are taken for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trustml
from trustml.auditing.outputs import accuracy, meaning_of, to_logits, values_instead
from trustml.errors import DataError


def softmax(values):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_logits_and_their_probabilities_mean_the_same(seed, classes):
    logits = np.random.default_rng(seed).normal(0, 3, (20, classes))
    chances = softmax(logits)
    one, other = meaning_of(logits, "auto"), meaning_of(chances, "auto")
    assert (one.scale, other.scale) == ("logits", "probabilities")
    np.testing.assert_allclose(softmax(to_logits(logits, one)), chances, atol=1e-12)
    np.testing.assert_allclose(softmax(to_logits(chances, other)), chances, atol=1e-9)


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
def test_one_column_speaks_for_class_1(shape):
    chance = np.linspace(0.1, 0.9, 9).reshape(shape)
    both = np.stack([1 - chance.ravel(), chance.ravel()], axis=1)
    meaning = meaning_of(chance, "auto")
    assert meaning.single and meaning.scale == "probabilities"
    np.testing.assert_allclose(softmax(to_logits(chance, meaning)), both, atol=1e-9)
    logit = np.log(chance / (1 - chance))
    np.testing.assert_allclose(softmax(to_logits(logit, meaning_of(logit, "auto"))), both, atol=1e-9)


def test_certain_probabilities_stay_finite():
    assert np.isfinite(to_logits(np.eye(3), meaning_of(np.eye(3), "auto"))).all()


@pytest.mark.parametrize(
    ("raw", "wanted", "words"),
    [
        (np.full((4, 3), 0.5), "auto", "add up to 1.5 to 1.5, not to 1"),
        (np.full((4, 3), 0.5), "probabilities", "add up to 1.5"),
        (np.full((4, 2), 0.55), "auto", "add up to 1.1"),
        (np.array([[2.0, 3.0]]), "auto", "add up to 5"),
        (np.array([[-1.0, 2.0]]), "probabilities", "lie between -1 and 2"),
        (np.array([[3.0], [0.5]]), "auto", "lie between 0.5 and 3"),
        (np.array([[np.nan, 1.0]]), "auto", "not finite for 1 of 1"),
        (np.zeros((2, 3, 4)), "auto", r"shape \(2, 3, 4\)"),
        (np.array([["a", "b"]]), "auto", "of type"),
    ],
)
def test_what_can_be_neither_is_one_line(raw, wanted, words):
    with pytest.raises(DataError, match=words) as raised:
        meaning_of(raw, wanted)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wanted", ["auto", "logits"])
@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 1, 0]), np.array([[3.0], [9.0], [0.0]]), np.array([0.0, 1.0]), np.array([1, 2, 3])]
)
def test_classes_are_neither_probabilities_nor_logits_and_no_setting_makes_them_so(labels, wanted):
    with pytest.raises(DataError, match="one whole number an example") as raised:
        meaning_of(labels, wanted)
    said = str(raised.value)
    assert "these are classes" in said and "predict_proba" in said
    assert "outputs='logits'" not in said and "outputs='probabilities'" not in said and "\n" not in said
    if labels.max() > 1:
        with pytest.raises(DataError, match="these are classes"):
            meaning_of(labels, "probabilities")


def test_a_column_of_zeros_and_ones_is_probabilities_where_that_is_stated():
    assert meaning_of(np.array([0.0, 1.0, 1.0]), "probabilities").single


@pytest.mark.parametrize("decimals", [1, 2, 3, 4])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_rounded_probabilities_are_read_within_their_rounding(decimals, classes, kind):
    logits = np.random.default_rng(decimals).normal(0, 2, (500, classes))
    rounded = softmax(logits).round(decimals).astype(kind)
    worst = np.abs(rounded.sum(axis=1, dtype=float) - 1).max()
    if worst > 0.05:
        with pytest.raises(DataError, match="say outputs='probabilities'"):
            meaning_of(rounded, "auto")
    meaning = meaning_of(rounded, "auto" if worst <= 0.05 else "probabilities")
    assert meaning.scale == "probabilities" and worst <= meaning.sum_tolerance + 1e-6
    assert ("within their rounding" in meaning.note) == (worst > 1e-3)
    assert ("hides" in meaning.note) == (worst > 1e-3)
    assert np.isfinite(to_logits(rounded, meaning)).all()


def test_shares_of_a_few_votes_are_not_called_rounded():
    votes = np.random.default_rng(0).multinomial(20, [0.5, 0.3, 0.2], 500) / 20
    assert meaning_of(votes, "auto").note == "read as probabilities: every row adds up to 1, of 2 decimals at most"


def test_what_rounding_does_not_explain_is_refused():
    rounded = np.tile([0.25, 0.25, 0.52], (5, 1))  # 1.02, and three roundings to two decimals reach 0.015
    with pytest.raises(DataError, match=r"add up to 1\.02"):
        meaning_of(rounded, "auto")
    assert meaning_of(np.tile([0.25, 0.25, 0.51], (5, 1)), "auto").scale == "probabilities"


def test_rows_far_from_1_are_not_taken_for_rounded_probabilities():
    halves = np.tile(np.repeat([0.1, 0.0], 5), (8, 1))  # ten roundings to one decimal reach 0.5
    with pytest.raises(DataError, match=r"add up to 0\.5 to 0\.5; .*say outputs='probabilities'"):
        meaning_of(halves, "auto")
    assert meaning_of(halves, "probabilities").scale == "probabilities"


def test_independent_probabilities_of_several_labels_are_not_called_logits():
    sigmoids = np.random.default_rng(0).uniform(0, 1, (20, 5))
    with pytest.raises(DataError, match="several labels") as raised:
        meaning_of(sigmoids, "auto")
    assert "logits" not in str(raised.value)


def test_logits_without_a_negative_one_can_be_stated():
    assert meaning_of(np.array([[2.0, 3.0]]), "logits").scale == "logits"


def test_accuracy_counts_the_largest():
    assert accuracy(np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([1, 1])) == 0.5


def test_values_of_a_regression_are_taken_as_they_are():
    values = np.array([3.0, 2.0, 7.0])
    meaning = meaning_of(values, "values")
    assert (meaning.scale, meaning.single) == ("values", False)
    np.testing.assert_array_equal(to_logits(values, meaning), values[:, None])
    with pytest.raises(DataError, match="gives 3 numbers an example, where labels are targets"):
        meaning_of(np.ones((4, 3)), "values")


NUMBERS = np.arange(-5, 15)


@pytest.mark.parametrize(
    "give", [lambda x: x - 0.4, lambda x: abs(x) + 0.1, lambda x: x.round(), lambda x: x / 40 + 0.3]
)
def test_a_regression_whose_labels_are_whole_is_told_how_to_say_so(give):
    inputs = NUMBERS[:, None].astype(float)
    asked = {"train": (inputs[::2], NUMBERS[::2]), "holdout": (inputs[1::2], NUMBERS[1::2]), "checks": ("performance",)}

    def model(x):
        return give(x[:, 0])

    found = {one.id: one.title for one in trustml.audit(model, **asked).findings}
    assert "say outputs='values', if labels are numbers" in found["data.predictions"]
    found = {one.id: one.title for one in trustml.audit(model, **asked, outputs="values").findings}
    assert "one number an example" in found["data.predictions"]


@pytest.mark.parametrize(
    ("raw", "labels"),
    [(np.zeros((4, 2)), np.arange(4)), (np.zeros(4), np.array([0, 1, 1, 0])), (np.zeros(4), np.array(list("abca")))],
)
def test_what_can_only_be_classes_is_not_called_a_number(raw, labels):
    assert values_instead(raw, labels) == ""
