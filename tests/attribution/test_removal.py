"""Deletion, insertion, comprehensiveness and sufficiency: by hand, by their properties, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import Linear, every_value, random_inputs, random_linear
from trustml.attribution.removal import (
    Erased,
    area,
    comprehensiveness,
    counts_of,
    deletion,
    erase,
    feature_ranks,
    insertion,
    sufficiency,
)
from trustml.catalogue.available import combine_of
from trustml.scenario.methods import FeatureAblation, IntegratedGradients

FLOAT32 = 2e-5
"""Logits of order 10 are sums of float32 products, whose order differs between batches."""


def by_hand() -> tuple[Linear, np.ndarray]:
    """Logit 0 is 4a + 2b + c - d, logit 1 is 0."""
    weights = np.array([[4, 2, 1, -1], [0, 0, 0, 0]], np.float32)
    return Linear(weights=weights, biases=np.zeros(2, np.float32)), np.ones((1, 4), np.float32)


def test_curves_by_hand():
    model, inputs = by_hand()
    given_to_both = {
        "inputs": inputs,
        "targets": np.array([0]),
        "attributions": model.gradients(np.array([0])),
        "baseline": np.zeros_like(inputs),
        "features": every_value((4,)),
        "fractions": (0, 0.25, 0.5, 0.75, 1),
    }
    out = deletion(model.predict, **given_to_both)
    np.testing.assert_array_equal(out.logits, [[6, 2, 0, -1, 0]])
    np.testing.assert_array_equal(out.fractions, [0, 0.25, 0.5, 0.75, 1])
    # The softmax of two classes is the logistic function; two units in the last place.
    np.testing.assert_allclose(out.probabilities, 1 / (1 + np.exp(-out.logits)), rtol=1e-15)
    back = insertion(model.predict, **given_to_both)
    np.testing.assert_array_equal(back.logits, [[0, 4, 6, 7, 6]])
    # Trapezoids of width 1/4: (6 + 2)/2 + (2 + 0)/2 + (0 - 1)/2 + (-1 + 0)/2 = 4, and 2 + 5 + 6.5 + 6.5 = 20.
    assert area(out.fractions, out.logits) == 1.0
    assert area(back.fractions, back.logits) == 5.0


def test_comprehensiveness_and_sufficiency_by_hand():
    model, inputs = by_hand()
    erased = erase(
        model.predict,
        inputs=inputs,
        targets=np.array([0]),
        attributions=model.gradients(np.array([0])),
        baseline=np.zeros_like(inputs),
        features=every_value((4,)),
        bins=(0.01, 0.5),
    )
    whole, without, only = (1 / (1 + np.exp(-np.array(logits))) for logits in ([6.0], [2.0, 0.0], [4.0, 6.0]))
    np.testing.assert_allclose(erased.whole, whole, rtol=1e-15)  # two units in the last place, here and below
    np.testing.assert_allclose(erased.without, [without], rtol=1e-15)
    np.testing.assert_allclose(erased.only, [only], rtol=1e-15)
    tiny = Erased(whole=np.array([0.75]), without=np.array([[0.5, 0.25]]), only=np.array([[0.75, 1.0]]))
    assert comprehensiveness(tiny) == 0.375
    assert sufficiency(tiny) == -0.125


def test_a_group_of_slopes_is_ranked_by_its_mean_and_moves_as_a_whole():
    features = np.array([0, 1, 1, 2])
    attributions = np.array([[1.0, 4.0, -1.0, 2.0]], np.float32)  # means 1, 1.5, 2
    np.testing.assert_array_equal(feature_ranks(attributions, features=features, combine="mean"), [[2, 1, 1, 0]])
    np.testing.assert_array_equal(feature_ranks(attributions, features=features), [[2, 0, 0, 1]])  # sums 1, 3, 2
    model, inputs = by_hand()
    out = deletion(
        model.predict,
        inputs=inputs,
        targets=np.array([0]),
        attributions=attributions,
        baseline=np.zeros_like(inputs),
        features=features,
        combine="mean",
    )
    np.testing.assert_allclose(out.fractions, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_array_equal(out.logits, [[6, 7, 4, 0]])


def category_of_eight() -> tuple[Linear, dict[str, np.ndarray]]:
    """A linear model, of which a category of eight columns is worth 3 and two numbers 1 and 0.5, exactly."""
    model = Linear(weights=np.array([[3.0] * 8 + [1, 0.5], [0] * 10], np.float32), biases=np.zeros(2, np.float32))
    inputs = np.array([[0, 0, 1, 0, 0, 0, 0, 0, 1, 1]], np.float32)
    baseline, targets = np.zeros_like(inputs), np.array([0])
    given = {"inputs": inputs, "targets": targets, "baseline": baseline, "features": np.array([0] * 8 + [1, 2])}
    return model, {**given, "attributions": model.contributions(inputs, targets, baseline=baseline)}


def test_contributions_of_the_columns_of_a_category_add_up():
    model, given = category_of_eight()
    combine = combine_of(IntegratedGradients())
    out = deletion(model.predict, combine=combine, **given)
    np.testing.assert_allclose(out.logits, [[4.5, 1.5, 0.5, 0]])
    assert area(out.fractions, out.probabilities)[0] == pytest.approx(0.7282, abs=5e-5)  # 0.889 in order of means
    back = insertion(model.predict, combine=combine, **given)
    np.testing.assert_allclose(back.logits, [[0, 3, 4, 4.5]])
    erased = erase(model.predict, combine=combine, **given)
    _, without, only = 1 / (1 + np.exp(-np.array([4.5, 1.5, 3.0])))
    np.testing.assert_allclose([erased.without[0, 0], erased.only[0, 0]], [without, only])


def test_ablation_of_the_same_model_ranks_its_category_by_its_value():
    model, given = category_of_eight()
    combine = combine_of(FeatureAblation())
    given["attributions"] = np.array([[3.0] * 8 + [1, 0.5]], np.float32)
    out = deletion(model.predict, combine=combine, **given)
    np.testing.assert_allclose(out.logits, [[4.5, 1.5, 0.5, 0]])
    given["attributions"][:, :8] = 0.9  # less than the first number, though eight of them are more
    out = deletion(model.predict, combine=combine, **given)
    np.testing.assert_allclose(out.logits, [[4.5, 3.5, 0.5, 0]])


def test_equal_attributions_keep_the_order_of_their_numbers():
    ranks = feature_ranks(np.array([[1, 2, 1, 2]], np.float32), features=every_value((4,)))
    np.testing.assert_array_equal(ranks, [[2, 0, 3, 1]])
    # Unstable sorting shows from 17 values on.
    thirds = np.arange(300) % 3
    wanted = [100 * (2 - third) + number // 3 for number, third in enumerate(thirds)]
    np.testing.assert_array_equal(feature_ranks(thirds[None], features=every_value((300,))), [wanted])


def test_shares_are_rounded_up_but_not_by_rounding_errors():
    np.testing.assert_array_equal(counts_of((0, 0.01, 0.1, 0.7, 1), features=30), [0, 1, 3, 21, 30])
    assert 0.07 * 100 > 7
    np.testing.assert_array_equal(counts_of((0.07, 0.55), features=100), [7, 55])
    with pytest.raises(ValueError, match="between 0 and 1"):
        counts_of((0, 1.5), features=3)


def anything(seed: int, shape: tuple[int, ...] = (4, 3, 2)):
    """A random model, with random everything, in pixels of two channels each."""
    model = random_linear(shape, classes=3, seed=seed)
    inputs, baseline, attributions = (random_inputs(5, shape, seed=seed + part) for part in range(3))
    features = np.repeat(np.arange(12).reshape(4, 3, 1), 2, axis=2)
    common = {"inputs": inputs, "targets": np.array([0, 1, 2, 0, 1]), "baseline": baseline, "features": features}
    return model, attributions, common


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_curves_begin_at_one_end_and_finish_at_the_other(seed):
    model, attributions, common = anything(seed)
    whole = model.target_logits(common["inputs"], common["targets"])
    nothing = model.target_logits(common["baseline"], common["targets"])
    out = deletion(model.predict, attributions=attributions, **common)
    back = insertion(model.predict, attributions=attributions, **common)
    for curve, first, last in ((out, whole, nothing), (back, nothing, whole)):
        np.testing.assert_allclose(curve.logits[:, 0], first, atol=FLOAT32)
        np.testing.assert_allclose(curve.logits[:, -1], last, atol=FLOAT32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**20]))
def test_the_scale_of_attributions_does_not_count(seed, scale):
    model, attributions, common = anything(seed)
    one, other = (deletion(model.predict, attributions=a, **common) for a in (attributions, attributions * scale))
    np.testing.assert_array_equal(one.logits, other.logits)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_inserting_the_best_first_is_deleting_the_worst_first_read_backwards(seed):
    model, attributions, common = anything(seed)
    back = insertion(model.predict, attributions=attributions, **common)
    out = deletion(model.predict, attributions=-attributions, **common)
    np.testing.assert_allclose(back.logits, out.logits[:, ::-1], atol=FLOAT32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_no_order_of_a_linear_model_beats_its_contributions(seed):
    model, attributions, common = anything(seed)
    best = model.contributions(common["inputs"], common["targets"], baseline=common["baseline"])
    for curve, sign in ((deletion, 1), (insertion, -1)):
        found, chance = (curve(model.predict, attributions=a, **common) for a in (best, attributions))
        worse = sign * (chance.logits - found.logits)
        assert (worse >= -FLOAT32).all()


def test_random_attributions_do_worse_on_a_linear_model():
    shape = (64,)
    model = random_linear(shape, classes=3, seed=7)
    inputs = random_inputs(100, shape, seed=7)
    targets = model.predict(inputs).argmax(axis=1)
    common = {"inputs": inputs, "targets": targets, "baseline": np.zeros_like(inputs), "features": every_value(shape)}
    good = model.contributions(inputs, targets, baseline=common["baseline"])
    chance = random_inputs(100, shape, seed=8)
    areas = {}
    for name, attributions in (("good", good), ("chance", chance)):
        out = deletion(model.predict, attributions=attributions, **common)
        back = insertion(model.predict, attributions=attributions, **common)
        erased = erase(model.predict, attributions=attributions, **common)
        areas[name] = [
            area(out.fractions, out.logits).mean(),
            area(back.fractions, back.logits).mean(),
            comprehensiveness(erased).mean(),
            sufficiency(erased).mean(),
        ]
    good_areas, chance_areas = areas["good"], areas["chance"]
    # A random order of a linear model falls in a straight line on average, to half the logit; the standard error
    # of these means over 100 examples is below 0.3 logits and 0.03.
    ends = model.target_logits(inputs, targets).mean() + model.biases[targets].mean()
    assert chance_areas[0] == pytest.approx(ends / 2, abs=1.0)
    assert good_areas[0] < chance_areas[0] - 5
    assert good_areas[1] > chance_areas[1] + 5
    assert good_areas[2] > chance_areas[2] + 0.2
    assert good_areas[3] < chance_areas[3] - 0.2
