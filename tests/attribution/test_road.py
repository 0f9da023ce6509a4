"""ROAD: the filling by hand and against a plain dense system, the curve by hand, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import Linear, random_inputs, random_linear
from trustml.attribution.road import imputation_noise, impute, road


def dense_fill(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The definition as one equation for each pixel, (h, w), solved at once."""
    height, width = image.shape
    matrix, right = np.eye(height * width), image.ravel().copy()
    for row, column in zip(*np.nonzero(removed), strict=True):
        here = row * width + column
        matrix[here], right[here] = 0, 0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                inside = 0 <= row + down < height and 0 <= column + across < width
                if inside and (down, across) != (0, 0):
                    weight = 1 / 6 if 0 in (down, across) else 1 / 12
                    matrix[here, here] += weight
                    matrix[here, here + down * width + across] = -weight
    return np.linalg.solve(matrix, right).reshape(height, width)


def test_one_pixel_by_hand():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1) ** 2
    removed = np.zeros((1, 3, 3), bool)
    removed[0, 0, 0] = True
    filled = impute(image, removed=removed, noise=np.zeros_like(image))
    # Corner: neighbours 1 and 9 weigh 1/6 each, 16 weighs 1/12: (10/6 + 16/12) / (5/12) = 7.2.
    assert filled[0, 0, 0, 0] == pytest.approx(7.2, rel=1e-6)  # float32
    np.testing.assert_array_equal(filled[0].ravel()[1:], image[0].ravel()[1:])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(1, 6), st.floats(0.1, 1))
def test_elimination_by_rows_solves_the_dense_system(seed, height, width, share):
    generator = np.random.default_rng(seed)
    images = generator.standard_normal((3, height, width, 2)).astype(np.float32)
    removed = generator.random((3, height, width)) < share
    removed[:, generator.integers(height), generator.integers(width)] = False
    filled = impute(images, removed=removed, noise=np.zeros_like(images))
    for example in range(3):
        for channel in range(2):
            wanted = dense_fill(images[example, :, :, channel].astype(np.float64), removed[example])
            # float32 of values of order 1.
            np.testing.assert_allclose(filled[example, :, :, channel], wanted, atol=1e-6)


def test_noise_is_added_to_what_is_filled_in_and_to_nothing_else():
    images = random_inputs(70, (4, 5, 1), seed=0)  # more than one piece of examples
    noise = imputation_noise(images, generator=np.random.default_rng(0))
    assert noise.std() == pytest.approx(0.01, rel=0.1)  # 1400 draws: 2 % standard error
    removed = np.random.default_rng(1).random((70, 4, 5)) < 0.4
    plain = impute(images, removed=removed, noise=np.zeros_like(images))
    noisy = impute(images, removed=removed, noise=noise)
    np.testing.assert_allclose(noisy - plain, np.where(removed[..., None], noise, 0), atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("order", "wanted"), [("most_relevant_first", [False, False]), ("least_relevant_first", [True, True])]
)
def test_the_curve_by_hand(order, wanted):
    # Class 0 if the first pixel is bright. Filled in from dark neighbours it is dark.
    weights = np.zeros((2, 2, 2, 1), np.float32)
    weights[0, 0, 0] = 1
    model = Linear(weights=weights, biases=np.array([0, 0.5], np.float32))
    image = np.array([1, 0, 0, 0], np.float32).reshape(1, 2, 2, 1)
    attributions = np.array([4, 3, 2, 1], np.float32).reshape(1, 2, 2, 1)
    found = road(
        model.predict,
        inputs=image,
        labels=np.array([0]),
        attributions=attributions,
        order=order,
        noise=np.zeros_like(image),
        fractions=(0.25, 0.5),
    )
    np.testing.assert_array_equal(found.fractions, [0.25, 0.5])
    np.testing.assert_array_equal(found.correct, [wanted])


@pytest.mark.parametrize(("examples", "calls"), [(3, [27]), (130, [1017, 153])])
def test_all_fractions_are_asked_for_together(examples, calls):
    """A few images at a time cost a network called layer by layer as much as a hundred."""
    model, inputs = random_linear((6, 5, 2), classes=3, seed=5), random_inputs(examples, (6, 5, 2), seed=6)
    labels, noise = np.arange(examples) % 3, imputation_noise(inputs, generator=np.random.default_rng(7))
    asked = []

    def predict(rows):
        asked.append(len(rows))
        return model.predict(rows)

    given = {"labels": labels, "attributions": inputs, "order": "most_relevant_first", "noise": noise}
    found = road(predict, inputs=inputs, **given)
    assert asked == calls
    ranks = (-inputs.sum(axis=3, dtype=np.float64)).reshape(examples, -1).argsort(axis=1, kind="stable").argsort(axis=1)
    for share, correct in zip(found.fractions, found.correct.T, strict=True):
        removed = (ranks < round(30 * share)).reshape(examples, 6, 5)
        filled = impute(inputs, removed=removed, noise=noise)
        np.testing.assert_array_equal(model.predict(filled).argmax(axis=1) == labels, correct)


def test_large_images_are_filled_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("trustml.attribution.road._FILLED_AT_ONCE", 20 * 8 * 8 * 3)
    asked, inputs = [], np.zeros((7, 8, 8, 3), np.float32)

    def predict(rows):
        asked.append(len(rows))
        return rows[:, 0, 0, :2]

    given = {"labels": np.zeros(7, np.int64), "attributions": inputs, "noise": np.zeros_like(inputs)}
    road(predict, inputs=inputs, order="most_relevant_first", fractions=(0.1, 0.2, 0.3), **given)
    assert asked == [18, 3]


def test_a_whole_image_cannot_be_filled_in():
    image = np.ones((1, 2, 2, 1), np.float32)
    with pytest.raises(ValueError, match="whole image of 4 pixels"):
        road(
            lambda rows: rows.reshape(len(rows), -1),
            inputs=image,
            labels=np.array([0]),
            attributions=image,
            order="most_relevant_first",
            noise=image,
            fractions=(0.9,),
        )


def test_random_attributions_do_worse_in_both_orders():
    shape = (8, 8, 1)
    model = random_linear(shape, classes=2, seed=3)
    inputs = random_inputs(200, shape, seed=3)
    labels = model.predict(inputs).argmax(axis=1)
    noise = imputation_noise(inputs, generator=np.random.default_rng(0))
    good = model.contributions(inputs, labels, baseline=np.zeros_like(inputs))
    chance = random_inputs(200, shape, seed=4)
    accuracy = {}
    for order in ("most_relevant_first", "least_relevant_first"):
        for name, attributions in (("good", good), ("chance", chance)):
            found = road(
                model.predict, inputs=inputs, labels=labels, attributions=attributions, order=order, noise=noise
            )
            accuracy[name, order] = found.correct.mean()
    # The standard error of a share of 200 examples is at most 0.035.
    assert accuracy["good", "most_relevant_first"] < accuracy["chance", "most_relevant_first"] - 0.15
    assert accuracy["good", "least_relevant_first"] > accuracy["chance", "least_relevant_first"] + 0.15
