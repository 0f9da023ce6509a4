"""Baselines, backgrounds and features, by their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.data.baselines import background_for, baseline_for, features_of
from trustml.errors import UsageError
from trustml.scenario.baselines import Background, Blur, Mean, TrainingExample

TRAIN = np.random.default_rng(0).random((20, 6, 5, 2)).astype(np.float32)
INPUTS = TRAIN[:4] + 1


def test_baselines_are_what_they_say():
    assert (baseline_for(0.5, inputs=INPUTS, train=TRAIN) == 0.5).all()
    np.testing.assert_allclose(baseline_for(Mean(), inputs=INPUTS, train=TRAIN)[2], TRAIN.mean(axis=0), atol=1e-6)
    one = baseline_for(TrainingExample(seed=3), inputs=INPUTS, train=TRAIN)
    assert (one == one[0]).all() and any((one[0] == example).all() for example in TRAIN)
    assert all(array.dtype == np.float32 for array in (one, baseline_for(1, inputs=INPUTS, train=TRAIN)))


def test_blur_smooths_pixels_and_keeps_examples_and_channels_apart():
    blurred = baseline_for(Blur(sigma=1.0), inputs=INPUTS, train=TRAIN)
    assert blurred.std() < INPUTS.std()
    changed = INPUTS.copy()
    changed[1], changed[0, :, :, 1] = 9, 9
    again = baseline_for(Blur(sigma=1.0), inputs=changed, train=TRAIN)
    np.testing.assert_array_equal(again[0, :, :, 0], blurred[0, :, :, 0])
    np.testing.assert_array_equal(again[2:], blurred[2:])


def test_a_background_is_drawn_without_repetition():
    drawn = background_for(Background(count=20, seed=1), train=TRAIN)
    assert len(np.unique(drawn.reshape(20, -1), axis=0)) == 20
    np.testing.assert_array_equal(drawn, background_for(Background(count=20, seed=1), train=TRAIN))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 9))
def test_patches_cover_an_image_without_gaps(height, width, channels, patch):
    if patch > min(height, width):
        with pytest.raises(UsageError, match="does not fit"):
            features_of((height, width, channels), patch=patch)
        return
    found = features_of((height, width, channels), patch=patch)
    assert found.shape == (height, width, channels)
    assert (np.unique(found) == np.arange(found.max() + 1)).all()
    assert (found == found[:, :, :1]).all()
    assert np.bincount(found.ravel()).max() <= patch * patch * channels
    assert found.max() + 1 == -(-height // patch) * -(-width // patch)


def test_columns_of_a_table_are_their_groups():
    assert features_of((4,)).tolist() == [0, 1, 2, 3]
    assert features_of((4,), groups=(0, 1, 1, 2)).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: baseline_for(Blur(), inputs=np.zeros((2, 3), np.float32), train=TRAIN), "Blur is for images"),
        (lambda: background_for(Background(count=21), train=TRAIN), "21 is more than the 20"),
        (lambda: features_of((4, 4, 1), patch=0), "patch: 0"),
    ],
)
def test_what_cannot_be_is_said(ask, words):
    with pytest.raises(UsageError, match=words):
        ask()
