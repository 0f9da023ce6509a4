"""Tables to numbers: categories, known ranges, a test file of its own, and the census data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trustml.data.datasets import load_dataset
from trustml.data.preparation import Preparation, preparation_notes
from trustml.errors import DataError
from trustml.scenario.read import from_plain, read_scenario, to_plain
from trustml.scenario.sources import Csv

TABLE = pd.DataFrame(
    {
        "age": [20, 30, 40, 50, 60, 25],
        "colour": ["red", "blue", None, "red", "green", "blue"],
        "size": ["s", "l", "s", "l", "s", "l"],
        "y": [0, 1, 0, 1, 0, 1],
    }
)


def source(folder, table=TABLE, **fields) -> Csv:
    table.to_csv(folder / "t.csv", index=False)
    return Csv(**{"path": str(folder / "t.csv"), "label": "y", "test_fraction": 0.34, "missing": "category", **fields})


def everything(dataset) -> np.ndarray:
    """All rows in some order."""
    return np.concatenate([dataset.train.inputs, dataset.test.inputs])


def test_text_becomes_one_column_a_category_and_one_feature(tmp_path):
    dataset = load_dataset(source(tmp_path))
    assert dataset.feature_names == ("age", "colour", "size")
    assert dataset.feature_groups == (0, 1, 1, 1, 1, 2, 2)  # (missing), blue, green, red; l, s
    rows = everything(dataset)
    assert (rows[:, 1:5].sum(axis=1) == 1).all() and (rows[:, 5:].sum(axis=1) == 1).all()
    assert rows[:, 1].sum() == 1
    assert dataset.preparation == Preparation(
        scaling="none", categories="of the data", classes="of the data", learned_columns=("colour", "size")
    )
    (note,) = preparation_notes(dataset.preparation)
    assert "colour, size" in note and "no epsilon" in note


def test_what_is_declared_is_not_learned(tmp_path):
    declared = {"colour": ("red", "blue", "green", "black"), "size": ("s", "l")}
    given = {"categories": declared, "ranges": {"age": (0.0, 100.0)}}
    marked = load_dataset(source(tmp_path, **given, marked=("age",)))
    assert marked.preparation.categories == "declared"
    assert load_dataset(source(tmp_path, TABLE.dropna(), **given, missing="refuse")).preparation == marked.preparation
    dataset = load_dataset(source(tmp_path, **given))
    assert dataset.preparation == Preparation(
        scaling="declared constants", categories="marks not declared", classes="of the data"
    )
    assert dataset.feature_groups == (
        0,
        1,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
    )  # black is unseen; one more each for a missing one
    np.testing.assert_allclose(np.sort(everything(dataset)[:, 0]), [-0.6, -0.5, -0.4, -0.2, 0, 0.2], atol=1e-6)


def test_declared_columns_do_not_depend_on_whether_a_value_is_missing(tmp_path):
    declared = {"colour": ("red", "blue", "green"), "size": ("s", "l")}
    whole = load_dataset(source(tmp_path, TABLE.dropna(), categories=declared))
    assert len(TABLE.dropna()) < len(TABLE)
    some = load_dataset(source(tmp_path, categories=declared))
    assert whole.feature_groups == some.feature_groups


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"missing": "refuse"}, "'colour' holds 1 missing values, the first at row 2"),
        ({"categorical": "refuse"}, "'colour' holds text such as 'red'"),
        ({"categories": {"colour": ("red", "blue")}}, "'green' at row 4, none of its declared"),
        ({"categories": {"smell": ("a",)}}, "data.categories names no column 'smell'"),
        ({"drop": ("smell",)}, "data.drop names no column 'smell'"),
        ({"ranges": {"age": (5.0, 5.0)}}, "5.0 is not below 5.0"),
    ],
)
def test_what_cannot_be_encoded_is_named(tmp_path, fields, words):
    with pytest.raises(DataError, match=words):
        load_dataset(source(tmp_path, **fields))


def test_too_many_categories_are_refused(tmp_path):
    table = pd.DataFrame({"name": [f"n{i}" for i in range(200)], "y": [0, 1] * 100})
    with pytest.raises(DataError, match="200 different texts"):
        load_dataset(source(tmp_path, table))


def test_a_test_file_of_its_own_is_encoded_alike(tmp_path):
    other = TABLE.assign(colour=["violet", "red", "red", "red", "red", "red"], size="s")
    other[list(reversed(list(TABLE)))].to_csv(tmp_path / "test.csv", index=False)
    dataset = load_dataset(source(tmp_path, test_path=str(tmp_path / "test.csv")))
    assert (len(dataset.train), len(dataset.test)) == (6, 6)
    assert dataset.input_shape == (8,)
    np.testing.assert_array_equal(dataset.test.labels, TABLE.y)
    np.testing.assert_array_equal(dataset.test.inputs[:, 0], TABLE.age)
    other.drop(columns="age").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match="column 'age' is not in both files"):
        load_dataset(source(tmp_path, test_path=str(tmp_path / "test.csv")))


def test_dropped_columns_are_gone(tmp_path):
    dataset = load_dataset(source(tmp_path, drop=("age", "colour")))
    assert dataset.feature_names == ("size",) and dataset.input_shape == (2,)


@pytest.mark.long  # test_files_and_datasets.py reads its file, too
def test_the_census_data_loads_whole(real_data, monkeypatch):
    monkeypatch.setenv("TRUSTML_DATA", str(real_data))
    from trustml.scenario.ready import find_scenario

    scenario = read_scenario(find_scenario("adult"))
    assert from_plain(to_plain(scenario)) == scenario
    dataset = load_dataset(scenario.data)
    assert (len(dataset.train), len(dataset.test)) == (32_561, 16_281)
    assert dataset.class_names == ("<=50K", ">50K")
    assert len(dataset.feature_names) == 12
    assert np.abs(dataset.train.inputs).max() <= 1
    assert dataset.train.labels.mean() == pytest.approx(0.2408, abs=1e-4)  # as the set's own description has it
    assert dataset.test.labels.mean() == pytest.approx(0.2362, abs=1e-4)
