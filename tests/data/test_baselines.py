"""Baselines, backgrounds and features, by their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.data.baselines import background_for, baseline_for, features_of
from trustml.errors import UsageError
from trustml.scenario.baselines import (
    Background,
    Blur,
    Constants,
    HeldOutExample,
    Mean,
    Median,
    PublicExample,
    TrainingExample,
)

TRAIN = np.random.default_rng(0).random((20, 6, 5, 2)).astype(np.float32)
HELDOUT = TRAIN[:6] + 2
INPUTS = TRAIN[:4] + 1
ROWS = {"train": TRAIN, "heldout": HELDOUT}


def test_baselines_are_what_they_say():
    assert (baseline_for(0.5, inputs=INPUTS, **ROWS) == 0.5).all()
    np.testing.assert_allclose(baseline_for(Mean(), inputs=INPUTS, **ROWS)[2], TRAIN.mean(axis=0), atol=1e-6)
    one = baseline_for(TrainingExample(seed=3), inputs=INPUTS, **ROWS)
    assert (one == one[0]).all() and any((one[0] == example).all() for example in TRAIN)
    assert all(array.dtype == np.float32 for array in (one, baseline_for(1, inputs=INPUTS, **ROWS)))


def test_blur_smooths_pixels_and_keeps_examples_and_channels_apart():
    blurred = baseline_for(Blur(sigma=1.0), inputs=INPUTS, **ROWS)
    assert blurred.std() < INPUTS.std()
    changed = INPUTS.copy()
    changed[1], changed[0, :, :, 1] = 9, 9
    again = baseline_for(Blur(sigma=1.0), inputs=changed, **ROWS)
    np.testing.assert_array_equal(again[0, :, :, 0], blurred[0, :, :, 0])
    np.testing.assert_array_equal(again[2:], blurred[2:])


def test_a_background_is_drawn_without_repetition():
    drawn = background_for(Background(count=20, seed=1), **ROWS)
    assert len(np.unique(drawn.reshape(20, -1), axis=0)) == 20
    np.testing.assert_array_equal(drawn, background_for(Background(count=20, seed=1), **ROWS))


def test_rows_come_from_where_they_are_said_to(tmp_path):
    public = TRAIN[:5] - 3
    np.savez(tmp_path / "p.npz", inputs=public)
    path = str(tmp_path / "p.npz")
    drawn = {
        rows: background_for(Background(count=4, rows=rows, path=path), **ROWS)
        for rows in ("training", "held-out", "public", "uniform")
    }
    for rows, source in (("training", TRAIN), ("held-out", HELDOUT), ("public", public)):
        assert all((row == source).all(axis=(1, 2, 3)).any() for row in drawn[rows]), rows
    assert drawn["uniform"].shape == (4, 6, 5, 2) and 0 <= drawn["uniform"].min() < drawn["uniform"].max() <= 1
    one = baseline_for(HeldOutExample(), inputs=INPUTS, **ROWS)[0]
    assert (one == HELDOUT).all(axis=(1, 2, 3)).any()
    asked = baseline_for(PublicExample(path=path, index=3), inputs=INPUTS, **ROWS)
    np.testing.assert_array_equal(asked[1], public[3])


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


def test_steps_of_a_series_are_features_with_all_their_channels():
    assert features_of((5, 2)).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]
    assert features_of((5, 2), patch=2).tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2]]
    series = np.zeros((1, 5, 2), np.float32)
    series[0, 2, 0] = 1
    blurred = baseline_for(Blur(sigma=1.0), inputs=series, **ROWS)
    assert blurred[0, 1, 0] == blurred[0, 3, 0] > 0 and not blurred[..., 1].any()  # along time, never across channels


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda: baseline_for(Blur(), inputs=np.zeros((2, 3), np.float32), **ROWS),
            "Blur is for images",
        ),
        (lambda: background_for(Background(count=21), **ROWS), "21 is more than the 20"),
        (lambda: features_of((4, 4, 1), patch=0), "patch: 0"),
        (lambda: features_of((4, 2), patch=5), "patch: 5 does not fit into sequences of 4 steps; use 1 to 4"),
    ],
)
def test_what_cannot_be_is_said(ask, words):
    with pytest.raises(UsageError, match=words):
        ask()


def test_medians_and_constants_stand_for_every_input(tmp_path):
    path = str(tmp_path / "public.npz")
    np.savez(path, inputs=np.stack([np.full(INPUTS.shape[1:], value, np.float32) for value in (0, 1, 5)]))
    for baseline, expected in (
        (Median(path=path), np.ones(INPUTS.shape[1:])),
        (Median(rows="training"), np.median(ROWS["train"], axis=0)),
        (Median(rows="held-out"), np.median(ROWS["heldout"], axis=0)),
    ):
        found = baseline_for(baseline, inputs=INPUTS, **ROWS)
        assert found.shape == INPUTS.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, np.broadcast_to(expected, INPUTS.shape), rtol=1e-6)
    channels = INPUTS.shape[-1]
    values = tuple(float(one) for one in range(channels))
    found = baseline_for(Constants(values=values), inputs=INPUTS, **ROWS)
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(channels, dtype=np.float32), INPUTS.shape))
    with pytest.raises(UsageError, match=f"{channels + 1} numbers do not go with inputs"):
        baseline_for(Constants(values=(0.0,) * (channels + 1)), inputs=INPUTS, **ROWS)


def test_a_mark_that_is_there_as_often_as_not_is_no_half():
    rows = np.array([[0.0, 1.0, -1.0, 2.0], [1.0, 1.0, 3.0, 4.0], [0.0, 0.0, -1.0, 7.0], [1.0, 1.0, 3.0, 9.0]])
    found = baseline_for(Median(rows="training"), inputs=rows[:1], train=rows, heldout=rows)
    np.testing.assert_array_equal(found, [[0.0, 1.0, -1.0, 5.5]])
    found = baseline_for(Median(rows="training"), inputs=rows[:1], train=rows[2:], heldout=rows)
    np.testing.assert_array_equal(found, [[0.5, 0.5, 1.0, 8.0]])  # of two rows any value may be a number
