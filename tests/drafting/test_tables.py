"""What a draft makes of the columns of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trustml import Classes, Labels, Regression
from trustml.drafting.draft import draft
from trustml.errors import DataError, UsageError

ROWS = 240


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    age = random.integers(20, 80, ROWS)
    return pd.DataFrame(
        {
            "patient_id": [f"P{number:04d}" for number in range(ROWS)],
            "age": age,
            "height": random.normal(170, 10, ROWS).round(1),
            "city": random.choice(["Bonn", "Ulm", "Kiel"], ROWS),
            "country": "DE",
            "ill": np.where(age + random.normal(0, 5, ROWS) > 50, "yes", "no"),
        }
    )


def written(table: pd.DataFrame, tmp_path, name: str = "people.csv"):
    path = tmp_path / name
    table.to_csv(path, index=False)
    return path


def test_names_of_rows_and_constants_are_left_out_by_name(table, tmp_path):
    found = draft(written(table, tmp_path), label="ill")
    source = found.scenario.data
    assert source.drop == ("patient_id", "country") and source.scaling == "standard"
    assert found.scenario.task == Classes()
    told = "\n".join(found.told)
    assert "'patient_id' is left out: it names the rows" in told
    assert "'country' is left out: it holds one value" in told
    chosen = {"data.drop", "data.hashing", "task", "model", "training"}
    assert chosen == set(found.scenario.chosen_from_data)
    plain = draft(written(table.drop(columns=["patient_id", "country"]), tmp_path), label="ill").scenario
    assert not plain.data.drop and chosen == set(plain.chosen_from_data)  # what was looked at


def test_a_copy_of_the_label_is_left_out_and_a_good_feature_is_not(table, tmp_path):
    table["ill_code"] = table["ill"].map({"yes": 1, "no": 0})
    table["nearly"] = table["ill_code"].where(table.index > 0, 1 - table["ill_code"])
    found = draft(written(table, tmp_path), label="ill")
    assert "ill_code" in found.scenario.data.drop and "nearly" not in found.scenario.data.drop
    table["pounds"] = 2.2046 * table["height"] + 3
    found = draft(written(table, tmp_path), label="height")
    assert "pounds" in found.scenario.data.drop and "age" not in found.scenario.data.drop


def test_the_logarithm_of_the_label_is_left_out_and_a_column_that_separates_is_told(table, tmp_path):
    table["log"] = np.log(table["height"])
    assert "log" in draft(written(table, tmp_path), label="height").scenario.data.drop
    table["after"] = np.where(table["ill"] == "yes", 1.0, -1.0) * (1 + np.arange(ROWS))
    found = draft(written(table, tmp_path), label="ill")
    assert "after" not in found.scenario.data.drop
    assert [line for line in found.told if "threshold" in line] == [
        "a threshold of 'after' alone tells the classes apart: drop it if it is known only afterwards"
    ]


def test_many_texts_are_hashed_and_texts_of_nearly_every_row_left_out(tmp_path, table):
    random = np.random.default_rng(1)
    table = pd.concat([table] * 3, ignore_index=True).drop(columns=["patient_id", "country"])
    table["street"] = random.choice([f"street {n}" for n in range(150)], len(table))
    table["remark"] = [f"remark {n}" for n in range(len(table))]
    source = draft(written(table, tmp_path), label="ill").scenario.data
    assert source.hashing == {"street": 32} and source.drop == ("remark",)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.arange(ROWS) % 2, Classes()),
        (np.arange(ROWS) % 5, Classes()),
        (np.arange(ROWS) * 7 % 61, Regression(target_range=(0.0, 60.0))),
        (np.arange(ROWS) / 239.0, Regression(target_range=(0.0, 1.0))),
        (np.array([-3.2, 18.9])[np.arange(ROWS) % 2], Regression(target_range=(-10.0, 20.0))),
        (np.array([-3, 18])[np.arange(ROWS) % 2], Classes()),
        (1000 + np.arange(ROWS) % 40, Regression(target_range=(1000.0, 1040.0))),
    ],
)
def test_the_task_follows_from_the_label(table, tmp_path, labels, task):
    table["ill"] = labels
    assert draft(written(table, tmp_path), label="ill").scenario.task == task


def test_several_labels(table, tmp_path):
    table["old"] = (table["age"] > 60).astype(int)
    table["tall"] = (table["height"] > 170).astype(int)
    found = draft(written(table, tmp_path), label=("old", "tall")).scenario
    assert found.task == Labels() and found.data.label == ("old", "tall")


def test_a_label_is_guessed_by_its_name_alone(table, tmp_path):
    with pytest.raises(UsageError, match=r"--label: .* name the one to learn: patient_id, age"):
        draft(written(table, tmp_path))
    assert draft(written(table.rename(columns={"ill": "Target"}), tmp_path)).scenario.data.label == "Target"
    with pytest.raises(UsageError, match=r"--label 'sick': .* choose among patient_id"):
        draft(written(table, tmp_path), label="sick")


def test_clients_by_a_column(table, tmp_path):
    found = draft(written(table, tmp_path), label="ill", clients="city").scenario
    assert found.data.keys == ("city",) and found.training[2].partition.columns == ("city",)


def test_fields_of_the_source_can_be_given(table, tmp_path):
    path = tmp_path / "people.csv"
    table.to_csv(path, index=False, sep="~")
    found = draft(path, label="ill", settings={"separator": "~", "drop": ("height",)}).scenario
    assert found.data.separator == "~" and found.data.drop == ("height", "patient_id", "country")
    with pytest.raises(UsageError, match=r"data\.seperator: is unknown; did you mean separator"):
        draft(path, label="ill", settings={"seperator": "~"})


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(UsageError, match="no column is left to learn from"):
        draft(written(pd.DataFrame({"id": range(50), "y": [0, 1] * 25}), tmp_path), label="y")


def test_other_forms_of_tables(table, tmp_path):
    for name, write in (
        ("a.parquet", table.to_parquet),
        ("a.jsonl", lambda p: table.to_json(p, orient="records", lines=True)),
    ):
        write(tmp_path / name)
        assert draft(tmp_path / name, label="ill").scenario.data.drop == ("patient_id", "country")


@pytest.mark.parametrize("value", ["5%", "1,5", "1,000", "inf"])
def test_a_label_that_can_be_read_in_two_ways_is_named(table, tmp_path, value):
    table["ill"] = table["age"].astype(str)
    table.loc[3, "ill"] = value
    with pytest.raises(DataError, match="'ill'"):
        draft(written(table, tmp_path), label="ill")


def test_columns_of_lists_are_refused_by_name(table, tmp_path):
    table["parts"] = [[1, 2]] * ROWS
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match="'parts'"):
        draft(tmp_path / "a.jsonl", label="ill")


def test_two_likely_labels_are_none_and_the_one_is_told(table, tmp_path):
    table = table.rename(columns={"ill": "class", "height": "y"})
    with pytest.raises(UsageError, match="2 columns named like labels; name the one to learn: y, class"):
        draft(written(table, tmp_path))
    told = draft(written(table.drop(columns="y"), tmp_path)).told
    assert "the label is 'class': 2 texts: classes." in told


def test_names_of_people_are_no_features_however_few_rows_there_are(tmp_path):
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}x" for n in range(90)]
    table = pd.DataFrame({"name": names, "age": np.arange(90) % 40, "label": np.arange(90) % 2})
    assert draft(written(table, tmp_path)).scenario.data.drop == ("name",)
