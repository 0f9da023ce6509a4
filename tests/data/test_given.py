"""An image or a row that a reader gives: as the model of a run gets it, and unchanged where nothing was changed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from trustml.data.given import (
    Feature,
    black_and_white,
    features_given,
    image_given,
    row_as_csv,
    row_given,
    source_of,
)
from trustml.errors import UsageError
from trustml.scenario.sources import Csv, Digits, Idx, Images

TABLE = Csv(path="x.csv", label="y", ranges={"age": (17.0, 90.0)}, categories={"colour": ("red", "green")})
NAMES, GROUPS = ("age", "colour", "income", "size"), (0, 1, 1, 2, 2, 3)
ROWS = np.array([[0.1, 0, 1, 5.5, 0, 1.25], [-0.3, 1, 0, 2.5, 1, 0.5]], np.float32)


def features():
    return features_given(NAMES, GROUPS, TABLE, examples=ROWS)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_features_are_shown_in_the_unit_of_the_data_where_the_scenario_says_it():
    shown = {one.name: one.shown(ROWS[0]) for one in features()}
    assert shown == {
        "age": pytest.approx(57.15),
        "colour": "green",
        "income": 5.5,
        "income [2]": 0.0,
        "size": 1.25,
    }
    scaled = features_given(NAMES, GROUPS, Csv(path="x", label="y", scaling="standard"), examples=ROWS)
    assert [one.span for one in scaled] == [None] * 5 and scaled[1].categories == ("category 1", "category 2")


def test_a_row_goes_to_csv_and_back_without_a_changed_bit():
    text = row_as_csv(features(), ROWS[0])
    row, unused = row_given(text.encode(), features(), base=ROWS[0])
    assert row.tobytes() == ROWS[0].tobytes() and not unused


def test_a_row_changes_what_it_names():
    row, unused = row_given(b"colour,age,y\nred,90,>50K\n7,8,9\n", features(), base=ROWS[0])
    assert unused == ("y",)
    assert row.tolist() == pytest.approx([1.0, 1, 0, 5.5, 0, 1.25])
    assert ROWS[0, 1] == 0  # the base is a copy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"age\nold\n", "age: 'old' is no number"),
        (b"colour\nblue\n", "'blue' is none of its categories; choose among red, green"),
        (b"a,b\n1\n", "as many values"),
        (b"", "as many values"),
        (b"a\n1\n", "names no feature"),
        (b"age\nnan\n", "age: 'nan' is no finite number"),
        (b"size\n1e300\n", "size: '1e300' is no finite number of the model's, float32"),
        (b"\xff\xfe\x00", "no CSV file in UTF-8"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(content, said):
    with pytest.raises(UsageError, match=said):
        row_given(content, features(), base=ROWS[0])


@pytest.mark.parametrize("place", [0, 1, 4])
def test_an_empty_cell_is_refused_by_name(place):
    feature = features()[place]
    with pytest.raises(UsageError, match=f"^{feature.name}: is empty; give a value"):
        feature.put(ROWS[0].copy(), None)


def test_a_range_of_one_value_leaves_nothing_to_change():
    feature, row = Feature(name="age", columns=(0,), span=(3.0, 3.0)), ROWS[0].copy()
    feature.put(row, "3")
    assert row.tobytes() == ROWS[0].tobytes()
    with pytest.raises(UsageError, match=r"^age: the run knows no value of it but 3; leave it as it is"):
        feature.put(row, 4.0)


def test_an_image_is_resized_and_scaled_as_the_source_declares():
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:, 8:] = 255
    found = image_given(png(pixels), Digits(), shape=(8, 8, 1), span=(0.0, 1.0))
    assert found.shape == (8, 8, 1) and found.dtype == np.float32
    assert found[0, 0, 0] == 0 and found[0, 7, 0] == 1
    inverted = image_given(png(pixels), Digits(), shape=(8, 8, 1), span=(0.0, 1.0), invert=True)
    np.testing.assert_allclose(inverted, 1 - found)
    span, known = black_and_white(Idx(images="a", labels="b", mean=0.5, deviation=0.25), found)
    assert known and span == (-2.0, 2.0)
    np.testing.assert_allclose(image_given(png(pixels), None, shape=(8, 8, 1), span=span), found * 4 - 2)
    cut = image_given(png(pixels.repeat(2, 0)), Images(path="", fit="crop"), shape=(8, 8, 3), span=(0, 1))
    np.testing.assert_allclose(cut, np.repeat(found, 3, axis=2), atol=1 / 255)


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(20)])
def test_what_is_no_image_is_refused_in_a_line(content):
    with pytest.raises(UsageError, match=r"^image: is no PNG or JPEG image"):
        image_given(content, Digits(), shape=(8, 8, 1), span=(0.0, 1.0))


def test_black_and_white_are_those_of_the_examples_where_the_record_does_not_say():
    assert black_and_white(None, ROWS) == ((pytest.approx(-0.3), 5.5), False)
    assert source_of({"data": {"kind": "Digits"}}) == Digits()
    assert source_of({"data": {"kind": "Newer"}}) is None and source_of({}) is None
