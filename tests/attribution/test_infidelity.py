"""Infidelity: by hand, exact where it must be, indifferent to what must not count, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import every_value, gaussian_steps, random_inputs, random_linear, random_squares
from trustml.attribution.infidelity import (
    best_scale,
    infidelity,
    logit_changes,
    products,
    random_features,
    removal_steps,
    scaled_infidelity,
    unexplained_share,
)

SHAPE = (6, 5, 2)
FLOAT32 = 1e-8
"""Logits of order 10 have errors of order 1e-6 in float32, 1e-5 when 60 of them are added; infidelity squares them."""


def test_by_hand():
    foretold, changes = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [3.0, 1.0]])
    np.testing.assert_array_equal(infidelity(foretold, changes), [0.5, 5.0])
    # Best scale: (2 + 4) / (1 + 4) = 1.2, leaving (0.8^2 + 0.4^2) / 2 = 0.4 of a mean square of 4.
    np.testing.assert_array_equal(best_scale(foretold, changes), [1.2, 0.0])
    np.testing.assert_allclose(scaled_infidelity(foretold, changes), [0.4, 5.0], rtol=1e-14)  # double rounding
    np.testing.assert_allclose(unexplained_share(foretold, changes), [0.1, 1.0], rtol=1e-14)
    assert np.isnan(unexplained_share(foretold, np.zeros((2, 2)))).all()


def test_a_squared_logit_by_hand():
    # f(x) = x^2 at 3, whose gradient is 6, for steps 1 and -1: f falls by 5 and rises by 7.
    inputs, steps = np.array([[3.0]], np.float32), np.array([[[1.0], [-1.0]]], np.float32)
    changes = logit_changes(lambda rows: rows**2, inputs=inputs, targets=np.array([0]), steps=steps)
    np.testing.assert_array_equal(changes, [[5.0, -7.0]])
    slopes = products(np.array([[6.0]], np.float32), steps=steps)
    np.testing.assert_array_equal(slopes, [[6.0, -6.0]])
    assert infidelity(slopes, changes) == 1.0
    # Input times gradient is 18 for the way 3 from zero, which is the same slope.
    np.testing.assert_array_equal(products(np.array([[18.0]], np.float32), steps=steps, span=inputs), slopes)


def drawn_steps(kind: str, inputs: np.ndarray, baseline: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    many = {"examples": len(inputs), "samples": 20, "generator": generator}
    if kind == "noise":
        return gaussian_steps(inputs, stdev=0.3, samples=20, generator=generator)
    removed = (
        random_squares(SHAPE, side=3, **many)
        if kind == "squares"
        else random_features(every_value(SHAPE), share=0.2, **many)
    )
    return removal_steps(inputs, baseline=baseline, removed=removed)


kinds = st.sampled_from(["noise", "squares", "features"])


@settings(max_examples=30, deadline=None)
@given(kinds, st.integers(0, 2**16))
def test_exact_attributions_of_a_linear_model_have_none(kind, seed):
    model = random_linear(SHAPE, classes=3, seed=seed)
    inputs, baseline = random_inputs(4, SHAPE, seed=seed), random_inputs(4, SHAPE, seed=seed + 1)
    targets = np.array([0, 1, 2, 0])
    steps = drawn_steps(kind, inputs, baseline, seed)
    changes = logit_changes(model.predict, inputs=inputs, targets=targets, steps=steps)
    slopes = products(model.gradients(targets), steps=steps)
    shares = products(model.contributions(inputs, targets, baseline=baseline), steps=steps, span=inputs - baseline)
    for foretold in (slopes, shares):
        assert infidelity(foretold, changes).max() < FLOAT32
        np.testing.assert_allclose(best_scale(foretold, changes), 1, atol=1e-4)  # float32 logits over changes near 1


@settings(max_examples=30, deadline=None)
@given(kinds, st.integers(0, 2**16), st.sampled_from([2.0**-10, 0.5, 8.0]))
def test_scaling_forms_do_not_see_the_scale_and_are_never_worse(kind, seed, scale):
    model = random_linear(SHAPE, classes=3, seed=seed)
    inputs, attributions = random_inputs(4, SHAPE, seed=seed), random_inputs(4, SHAPE, seed=seed + 2)
    targets = np.array([0, 1, 2, 0])
    steps = drawn_steps(kind, inputs, np.zeros_like(inputs), seed)
    changes = logit_changes(model.predict, inputs=inputs, targets=targets, steps=steps)
    one, other = (products(a.astype(np.float32), steps=steps) for a in (attributions, scale * attributions))
    # Double rounding.
    np.testing.assert_allclose(scaled_infidelity(other, changes), scaled_infidelity(one, changes), rtol=1e-9)
    share = unexplained_share(one, changes)
    assert ((share >= 0) & (share <= 1 + 1e-12)).all()
    np.testing.assert_allclose(share, unexplained_share(one, 100 * changes), rtol=1e-9)
    assert (scaled_infidelity(one, changes) <= infidelity(one, changes) * (1 + 1e-12)).all()


def test_attributions_of_the_opposite_sign_foretell_nothing():
    """The best scale of any sign would call them exact."""
    model = random_linear(SHAPE, classes=3, seed=0)
    inputs, targets = random_inputs(4, SHAPE, seed=0), np.array([0, 1, 2, 0])
    steps = drawn_steps("noise", inputs, np.zeros_like(inputs), 0)
    changes = logit_changes(model.predict, inputs=inputs, targets=targets, steps=steps)
    foretold = products(model.gradients(targets), steps=steps)
    assert unexplained_share(foretold, changes).max() < 1e-6
    np.testing.assert_array_equal(unexplained_share(-foretold, changes), 1)


def test_squares_and_features_are_what_they_say():
    generator = np.random.default_rng(0)
    squares = random_squares((4, 5, 2), side=2, examples=300, samples=3, generator=generator)
    assert squares.shape == (300, 3, 4, 5, 2)
    assert (squares.sum(axis=(2, 3, 4)) == 8).all()
    np.testing.assert_array_equal(squares[..., 0], squares[..., 1])
    assert (squares[..., 0].any(axis=2).sum(axis=2) == 2).all()
    # Each of the 3 x 4 places has the same chance; the corner pixel is covered from one place alone.
    for row, column in ((0, 0), (0, 4), (3, 0), (3, 4)):
        share = squares[:, :, row, column, 0].mean()
        assert share == pytest.approx(1 / 12, abs=0.03)  # three standard errors of 900 draws
    assert random_squares((3, 3, 1), side=3, examples=1, samples=1, generator=generator).all()
    features = np.array([0, 1, 1, 2, 3])
    sets = random_features(features, share=0.3, examples=400, samples=2, generator=generator)
    np.testing.assert_array_equal(sets[..., 1], sets[..., 2])
    assert (sets[..., [0, 1, 3, 4]].sum(axis=2) == 2).all()  # 0.3 of four features, rounded up
    np.testing.assert_allclose(sets.mean(axis=(0, 1)), 0.5, atol=0.055)  # three standard errors of 800 draws
    with pytest.raises(ValueError, match="does not fit into 4 x 5"):
        random_squares((4, 5, 2), side=5, examples=1, samples=1, generator=generator)


def test_a_value_that_cannot_move_contributes_nothing():
    inputs = np.array([[1.0, 2.0]], np.float32)
    steps = np.array([[[5.0, 1.0]]], np.float32)
    found = products(np.array([[7.0, 4.0]], np.float32), steps=steps, span=inputs - np.array([[1.0, 0.0]], np.float32))
    np.testing.assert_array_equal(found, [[2.0]])


@pytest.mark.parametrize("kind", ["noise", "squares", "features"])
def test_random_attributions_do_worse(kind):
    model = random_linear(SHAPE, classes=3, seed=1)
    inputs = random_inputs(50, SHAPE, seed=1)
    targets = np.arange(50) % 3
    steps = drawn_steps(kind, inputs, np.zeros_like(inputs), 0)
    changes = logit_changes(model.predict, inputs=inputs, targets=targets, steps=steps)
    good = products(model.gradients(targets), steps=steps)
    chance = products(random_inputs(50, SHAPE, seed=2), steps=steps)
    assert infidelity(good, changes).max() < FLOAT32
    # Independent of the changes, it adds its own mean square to theirs.
    assert infidelity(chance, changes).mean() > 1.5 * (changes**2).mean()
    # Exact slopes leave nothing. A free scale explains one direction in m among the steps: m is 20 for noise, and
    # no less than 3 for squares that overlap (the participation ratio of their Gram matrix).
    assert unexplained_share(good, changes).max() < 1e-6
    assert unexplained_share(chance, changes).mean() > 1 - 1 / 3
