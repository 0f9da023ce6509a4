"""A decimal mark is believed of the column that shows it, and what may be two numbers is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.test_tables import CLASSES, ROWS, csv, refused, table
from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.models.tasks import Regression
from trustml.scenario.sources import Csv, Json


def numbers(dataset, column: int = 0) -> set[float]:
    rows = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    return {round(float(value), 4) for value in rows[:, column]}


def of(values, count: int = ROWS) -> list[str]:
    return (list(values) * count)[:count]


def two(folder, train, test, separator: str = ";", **fields) -> Csv:
    (folder / "test.csv").write_text(table(f"v{separator}y", of(test), CLASSES, separator=separator))
    source = csv(folder, table(f"v{separator}y", of(train), CLASSES, separator=separator))
    return Csv(path=source.path, label="y", test_path=str(folder / "test.csv"), **fields)


def one(folder, first, second, **fields) -> Csv:
    return csv(folder, table("a;b;y", of(first), of(second), CLASSES, separator=";"), **fields)


@pytest.mark.parametrize(
    ("train", "test"),
    [(["1,253", "1,5"], ["1.253"]), (["1,100,200"], ["1,253"]), (["1.253", "2.5"], ["1,253"])],
)
def test_a_number_of_one_file_that_may_be_two_is_refused(tmp_path, train, test):
    refused(two(tmp_path, train, test), "column 'v'", "data.decimal")
    for mark in ",.":
        try:
            found = numbers(load_dataset(two(tmp_path, train, test, decimal=mark)))
        except DataError as error:
            assert "do not follow data.decimal" in str(error)
        else:
            assert 1.253 in found or 1253 in found


def test_a_mark_of_one_column_is_not_forced_on_another(tmp_path):
    found = load_dataset(one(tmp_path, ["1.100,50", "2.200,75"], ["48.1374", "9.5"]))
    assert numbers(found) == {1100.5, 2200.75} and numbers(found, 1) == {48.1374, 9.5}
    assert any("the decimal mark is ',' in 'a'" in warning for warning in found.warnings)
    refused(one(tmp_path, ["1.100,50"], ["48.137"]), "column 'b' holds numbers such as '48.137'", "data.decimal")
    refused(one(tmp_path, ["0,25"], ["1.125"]), "column 'b' holds numbers such as '1.125'")
    refused(one(tmp_path, ["0,25"], ["1,125"]), "column 'b' holds numbers such as '1,125'", "data.decimal")
    assert numbers(load_dataset(one(tmp_path, ["0,25"], ["1.125"], decimal=",")), 1) == {1125}
    assert numbers(load_dataset(one(tmp_path, ["0,25"], ["1.125"], drop=("b",)))) == {0.25}
    plain = load_dataset(one(tmp_path, ["0.25"], ["1.125"]))
    assert numbers(plain, 1) == {1.125}


def test_targets_are_read_by_the_mark_of_their_own_column(tmp_path):
    def targets(*values: str, **fields) -> set[float]:
        text = table("x;y", of(["0,5", "1,5"]), of(values), separator=";")
        found = load_dataset(csv(tmp_path, text, **fields), Regression())
        return {round(float(value), 4) for value in np.concatenate([found.train.labels, found.test.labels])[:, 0]}

    assert targets("0.05", "4.45") == {0.05, 4.45}
    assert targets("0,05", "4,45") == {0.05, 4.45}
    assert targets("1.250", "2.5", decimal=None) == {1.25, 2.5}
    assert targets("1.250", "2,5", decimal=",") == {1250, 2.5}
    for values, told in (
        (("1.250", "4.450"), "label 'y' holds numbers such as '1.250', which may be read in two ways"),
        (("4.45", "0,05"), "target '0,05' at row 1 is no number"),
        (("1_005", "2"), "target '1_005' at row 0 is no number"),
        (("1,250", "2,250"), "data.decimal"),
    ):
        with pytest.raises(DataError, match=told):
            targets(*values)
    with pytest.raises(DataError, match=r"target '4.45' at row 0 is no number"):
        targets("4.45", "0,05", decimal=",")


def test_underscores_are_no_digits_in_targets_of_json(tmp_path):
    rows = ", ".join(f'{{"x": {row}, "y": "{row}_005"}}' for row in range(9))
    (tmp_path / "t.json").write_text(f"[{rows}]")
    with pytest.raises(DataError, match="target '0_005' at row 0 is no number"):
        load_dataset(Json(path=str(tmp_path / "t.json"), label="y"), Regression())


def test_a_column_is_text_in_both_files_or_in_none(tmp_path):
    found = load_dataset(two(tmp_path, ["1.10", "1.2", "beta"], ["1.10", "1.2"], ","))
    assert found.input_shape == (3,)
    codes = load_dataset(two(tmp_path, ["01", "10", "11", "11"], ["10", "11", "", ""], ","))
    assert codes.input_shape == (4,)  # 01, 10, 11, and one for what is missing
    assert load_dataset(two(tmp_path, ["1", "2"], ["1.5", ""], ",")).input_shape == (2,)
    for name, value in (("a", '"1.10"'), ("b", "1.10")):
        (tmp_path / f"{name}.json").write_text(f'[{{"v": {value}, "y": 0}}, {{"v": {value}, "y": 1}}]')
    source = Json(path=str(tmp_path / "a.json"), test_path=str(tmp_path / "b.json"), label="y")
    refused(source, "column 'v' is text in one file and no text in the other")
