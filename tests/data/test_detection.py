"""What is found out of a table: separators, quotes, no header, decimal marks, dates, columns of many texts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.real_tables import REAL, source_of, write_frames
from tests.data.test_tables import CLASSES, NUMBERS, PLAIN, ROWS, column, csv, refused, table
from trustml.data.datasets import load_dataset
from trustml.data.preparation import preparation_notes
from trustml.scenario.sources import Csv, Json, Text

YEAR = 365.2425


def test_blanks_separate_where_nothing_else_does(tmp_path):
    rows = "\n".join(f" {number}   'b c'\t{name} " for number, name in zip(NUMBERS, CLASSES, strict=True))
    dataset = load_dataset(csv(tmp_path, f"'a'  'b'  'y'\n{rows}\n"))
    assert dataset.feature_names == ("a", "b") and dataset.input_shape == (2,)
    assert dataset.warnings == ("found in the file: columns are separated by blanks; quotes are '",)


def test_tabs_in_the_header_and_blanks_in_the_rows(tmp_path):
    rows = "\n".join(f'{number}  7 "x {name}" {name}' for number, name in zip(NUMBERS, CLASSES, strict=True))
    assert load_dataset(csv(tmp_path, f"a\tb c\ty\n{rows}\n")).feature_names == ("a", "b", "c")


def test_a_comma_that_fits_no_row_is_no_separator(tmp_path):
    text = table("a, of b;y", NUMBERS, CLASSES, separator=";").replace("a, of b", "a, of, b")
    assert load_dataset(csv(tmp_path, text)).feature_names == ("a, of, b",)
    refused(csv(tmp_path, text, separator=","), "header has 3 fields")


def test_quotes_of_one_stroke_are_names_where_they_are_named_so(tmp_path):
    text = PLAIN.replace("a,y", "'a','y'")
    assert load_dataset(csv(tmp_path, text)).feature_names == ("a",)
    assert load_dataset(csv(tmp_path, text, label="'y'")).feature_names == ("'a'",)


def test_columns_without_a_header_are_named_by_their_numbers(tmp_path):
    body = PLAIN.partition("\n")[2]
    dataset = load_dataset(csv(tmp_path, body, label="column2"))
    assert dataset.feature_names == ("column1",) and len(dataset.train) + len(dataset.test) == ROWS
    assert "there is no header" in dataset.warnings[0]
    text = table("x,no", CLASSES, CLASSES)  # no number shows that the first row is none of names
    refused(csv(tmp_path, text, label="column2"), "no column 'column2'")
    assert load_dataset(csv(tmp_path, text, label="column2", header=False)).input_shape == (3,)
    refused(csv(tmp_path, body, label="y"), "no header", "data.header")
    refused(csv(tmp_path, body, label="y", header=True), "names no column 'y'; choose among 0.0, no")


def test_names_of_rows_are_left_out_where_that_is_said(tmp_path):
    lines = PLAIN.splitlines()
    shifted = "\n".join([lines[0], *(f"r{number},{line}" for number, line in enumerate(lines[1:]))])
    refused(csv(tmp_path, shifted), "header has 2 fields, but line 2 has 3", "data.row_names")
    for text in (shifted, shifted.replace("a,y", ",a,y"), shifted.replace("a,y", "who,a,y")):
        dataset = load_dataset(csv(tmp_path, text, row_names=True))
        assert dataset.feature_names == ("a",)
        np.testing.assert_allclose(column(dataset), np.sort(NUMBERS), rtol=1e-6)


@pytest.mark.parametrize(("encoding", "mark"), [("utf-32", True), ("utf-16-le", False), ("cp1250", False)])
def test_other_encodings_are_found_by_their_mark_or_told(tmp_path, encoding, mark):
    content = table("větší,y", NUMBERS, CLASSES).encode(encoding)
    dataset = load_dataset(csv(tmp_path, content, encoding=None if mark else encoding))
    assert dataset.feature_names == ("větší",)
    assert f"text is {encoding}" in dataset.warnings[-1]


def test_an_encoding_that_is_none_is_refused(tmp_path):
    refused(csv(tmp_path, PLAIN, encoding="base64"), "data.encoding", "'base64'")
    refused(csv(tmp_path, "ü,y\n".encode("latin-1"), encoding="utf-8"), "cannot be read as CSV")


def test_both_files_are_read_with_the_decimal_mark_that_one_shows(tmp_path):
    commas = [str(number).replace(".", ",") for number in NUMBERS]
    (tmp_path / "test.csv").write_text(table("a;y", commas, CLASSES, separator=";"))
    train = csv(tmp_path, table("a;y", range(ROWS), CLASSES, separator=";"))
    dataset = load_dataset(Csv(path=train.path, label="y", test_path=str(tmp_path / "test.csv")))
    np.testing.assert_allclose(np.sort(dataset.test.inputs[:, 0]), np.sort(NUMBERS), rtol=1e-6)
    points = csv(tmp_path, table("a;y", [f"1,2{i % 10}4.5" for i in range(ROWS)], CLASSES, separator=";"))
    refused(Csv(path=points.path, label="y", test_path=str(tmp_path / "test.csv")), "written otherwise")


@pytest.mark.parametrize(
    ("values", "fields", "days"),
    [
        (["2000-01-01", "2000/01/03"], {}, 2),
        (["2000-01-01 00:00", "2000-01-02T12:00:00.000Z"], {}, 1.5),
        (["2000-01-01T00:00+00:00", "2000-01-02T00:00+02:00"], {}, 1 - 2 / 24),
        (["01.01.2000", "03.01.2000"], {}, 2),
        (["1/1/2000", "13/1/2000"], {}, 12),
        (["1/1/2000", "1/13/2000 12:00 PM"], {}, 12.5),
        (["1/1/2000", "3/1/2000"], {"dates": "day first"}, 2),
        (["1/1/2000", "3/1/2000"], {"dates": "month first"}, 60),
        (["Jan 2000", "Feb 2000"], {}, 31),
        (["Jan 1 2000", "3-Jan-2000"], {"dates": "day first"}, 2),
        (["2000-01-01", "1999-12-31"], {}, 0),
    ],
)
def test_dates_become_years_since_2000(tmp_path, values, fields, days):
    dataset = load_dataset(csv(tmp_path, table("a,y", values * (ROWS // 2), CLASSES), **fields))
    assert column(dataset).max() == pytest.approx(days / YEAR, abs=1e-6)
    shown = values[0] == "1/1/2000" and not fields  # by the number above 12
    assert dataset.preparation.learned_columns == (("a",) if shown else ())
    assert "dates in 'a'" in dataset.warnings[0]


def test_a_column_of_dates_and_other_forms_stays_text(tmp_path):
    values = ["10:30"] * 22 + [".25", "1.25"] * 8 + ["NA"] * 2  # .25 is no number with a decimal comma
    dataset = load_dataset(csv(tmp_path, table("a;y", values, CLASSES, separator=";"), decimal=","))
    assert dataset.input_shape == (4,)
    rows = "\n".join(f"'d'{number} {name}" for number, name in enumerate(CLASSES))
    assert load_dataset(csv(tmp_path, f"a y\n{rows}\n", separator=" ")).input_shape == (ROWS,)


def test_times_of_the_day_and_missing_dates(tmp_path):
    dataset = load_dataset(csv(tmp_path, table("a,y", ["6:00", "18:00:00"] * (ROWS // 2), CLASSES)))
    assert set(column(dataset)) == {0.25, 0.75}
    refused(csv(tmp_path, table("a,y", ["6:00", "25:00"] * (ROWS // 2), CLASSES)), "'25:00' at row 1")
    dates = [f"2001-01-{1 + i % 28:02}" for i in range(ROWS - 2)]
    gaps = load_dataset(csv(tmp_path, table("a,y", ["", "NA", *dates], CLASSES)))
    assert gaps.feature_groups == (0, 0) and column(gaps, 1).sum() == 2


def test_a_declared_mark_does_not_depend_on_the_rows(tmp_path):
    for first in ("", 0.5):
        dataset = load_dataset(csv(tmp_path, table("a,y", [first, *NUMBERS[1:]], CLASSES), marked=("a",)))
        assert dataset.feature_groups == (0, 0) and dataset.preparation.categories == "none"
        assert column(dataset, 1).sum() == (first == "")


def many_texts(rows: int = 200) -> str:
    return table("name,a,y", [f"n{i}" for i in range(rows)], range(1, rows + 1), CLASSES * (rows // ROWS))


def test_a_column_of_many_texts_is_left_out_with_a_word(tmp_path):
    dataset = load_dataset(csv(tmp_path, many_texts()))
    assert dataset.feature_names == ("a",) and dataset.preparation.left_out_columns == ("name",)
    assert dataset.preparation.categories == "of the data"
    assert (
        "left out: 'name' (200)" in dataset.warnings[-2] and "count the rows are features: 'a'" in dataset.warnings[-1]
    )
    (note,) = preparation_notes(dataset.preparation)
    assert "name" in note and "no epsilon" in note
    refused(csv(tmp_path, many_texts(), drop=("a",)), "no column is left", "'name' holds 200", "data.hashing.name")
    refused(csv(tmp_path, many_texts(), categorical="refuse"), "column 'name' holds text")


def test_hashed_text_depends_on_no_other_row(tmp_path):
    whole = load_dataset(csv(tmp_path, many_texts(), hashing={"name": 8}, drop=("a",)))
    assert whole.input_shape == (8,) and whole.preparation.learned_columns == () == whole.preparation.left_out_columns
    inputs = np.concatenate([whole.train.inputs, whole.test.inputs])
    assert (inputs.sum(axis=1) == 1).all() and (inputs.sum(axis=0) > 5).all()
    few = load_dataset(csv(tmp_path, table("name,y", ["n0", ""] * 20, CLASSES), hashing={"name": 8}))
    assert few.input_shape == (8,) and len(np.unique(few.train.inputs, axis=0)) == 2
    n0 = few.train.inputs[few.train.labels == 0][0]
    assert n0.argmax() == 1  # of BLAKE2b, and so for ever
    refused(csv(tmp_path, many_texts(), hashing={"name": 8}, categories={"name": ("n0",)}), "take it out")


def test_declared_categories_have_all_texts_or_one_for_missing_ones(tmp_path):
    text = table("a,y", ["s", "", "s", "l"] * (ROWS // 4), CLASSES)
    refused(csv(tmp_path, text, categories={"a": ("s", "l")}), "10 missing values", "data.missing to category")
    assert load_dataset(csv(tmp_path, text, categories={"a": ("s", "l")}, missing="category")).input_shape == (3,)
    assert load_dataset(csv(tmp_path, text, categories={"a": ("s", "l", "(missing)")})).input_shape == (3,)


ROWS_OF_OBJECTS = [{"a": i / 8, "b": "x" if i % 3 else None, "y": "no" if i % 2 else "yes"} for i in range(ROWS)]


@pytest.mark.parametrize("lines", [False, True])
def test_json_of_objects(tmp_path, lines):
    text = "\n".join(map(json.dumps, ROWS_OF_OBJECTS)) if lines else json.dumps(ROWS_OF_OBJECTS)
    (tmp_path / "t.json").write_text(text)
    dataset = load_dataset(Json(path=str(tmp_path / "t.json"), label="y"))
    assert dataset.class_names == ("no", "yes") and dataset.feature_names == ("a", "b") and dataset.input_shape == (3,)
    np.testing.assert_array_equal(column(dataset), np.arange(ROWS) / 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]", "is empty"),
        ('{"a": 1', "line 1"),
        ('[{"a": 1, "y": 0}, 3]', "row 1 is no object"),
        ('[{"a": 1, "a": 2, "y": 0}]', "one name twice"),
        ('[{"a": NaN, "y": 0}]', "NaN is no JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('[{"a": ' + "9" * 400 + ', "y": 0}, {"a": 0.5, "y": 1}]', "beyond"),
        ('[{"a": [1], "y": "x"}, {"a": [2], "y": "z"}]', "column 'a' holds a list a row"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path, text, words):
    (tmp_path / "t.json").write_text(text)
    refused(Json(path=str(tmp_path / "t.json"), label="y"), words)


@pytest.mark.skipif(
    "TRUSTML_REAL_TABLES" not in os.environ, reason="TRUSTML_REAL_TABLES names no folder of real tables"
)
def test_real_files_load_with_only_the_label_named(tmp_path):
    write_frames(tmp_path)
    for name in REAL:
        dataset = load_dataset(source_of(Path(os.environ["TRUSTML_REAL_TABLES"]), tmp_path, name))
        assert dataset.classes >= 2 and dataset.feature_names, name


@pytest.mark.parametrize("fields", [{"decimal": ","}, {"categories": {"x": ("u", "v")}}])
def test_a_nameless_column_that_counts_rows_may_be_text(tmp_path, fields):
    text = table(";x;y", range(ROWS), ["u", "v"] * (ROWS // 2), CLASSES, separator=";")
    assert load_dataset(csv(tmp_path, text, **fields)).feature_names == ("x",)
    (tmp_path / "t.csv").write_text(table(",text,label", range(ROWS), ["good", "bad"] * (ROWS // 2), CLASSES))
    assert len(load_dataset(Text(path=str(tmp_path / "t.csv"), length=4)).train) == 32
    letters = table(";x;y", ["k", "l"] * (ROWS // 2), NUMBERS, CLASSES, separator=";")
    refused(csv(tmp_path, letters, decimal="."), "column 1 has no name")


def test_a_first_row_that_may_be_names_or_data_is_refused(tmp_path):
    rows = table("5.0,3.000,0", NUMBERS, NUMBERS, [0, 1] * (ROWS // 2))
    refused(csv(tmp_path, rows, label="0"), "has no header", "set it to true")
    assert load_dataset(csv(tmp_path, rows, label="0", header=True)).feature_names == ("5.0", "3.000")
    named = table("2019,2020,label", NUMBERS, NUMBERS, CLASSES)
    refused(csv(tmp_path, named, label="column3"), "first row holds 'label'", "data.header")
    years = table("2019,size,no", NUMBERS, NUMBERS, CLASSES)
    refused(csv(tmp_path, years, label="column3"), "first row holds 'size'")
    found = load_dataset(csv(tmp_path, named, label="column3", header=False))
    assert found.class_names == ("label", "no", "yes")


def test_one_bad_byte_makes_no_other_encoding_of_a_file(tmp_path):
    content = table("größe,y", NUMBERS, CLASSES).encode()
    refused(csv(tmp_path, content + b"0.5,\xff\n"), f"the byte 0xff at {len(content) + 4}", "data.encoding")
    assert load_dataset(csv(tmp_path, table("größe,y", NUMBERS, CLASSES).encode("cp1252"))).feature_names == ("größe",)


def test_lines_of_json_end_where_lines_end_and_fields_may_be_long(tmp_path):
    rows = [{"a": row, "b": "x\u2028\u0085" * (row % 2) + "z", "y": CLASSES[row]} for row in range(ROWS)]
    (tmp_path / "t.jsonl").write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert load_dataset(Json(path=str(tmp_path / "t.jsonl"), label="y")).input_shape == (3,)
    long = table("text,label", ["b" * 200_000, "c"] * 4, ["no", "yes"] * 4)
    (tmp_path / "t.csv").write_text(long)
    assert len(load_dataset(Text(path=str(tmp_path / "t.csv"), length=4, test_fraction=0.5)).train) == 4


def test_the_order_of_dates_and_the_mark_of_what_is_missing_are_told(tmp_path):
    text = table("a,b,y", ["1/1/2000", "13/1/2000"] * (ROWS // 2), ["none", "1", "2", "1"] * (ROWS // 4), CLASSES)
    said = " ".join(load_dataset(csv(tmp_path, text)).warnings)
    assert "dates in 'a', day first" in said and "'b' (10, such as 'none')" in said
    scores = table("a,y", ["2:10", "3:15"] * (ROWS // 2), CLASSES)
    assert "dates in 'a', times of the day" in load_dataset(csv(tmp_path, scores)).warnings[0]
    mixed = table("a,y", ["01.02.2000", "2/13/2000"] * (ROWS // 2), CLASSES)
    refused(csv(tmp_path, mixed), "two forms, such as '01.02.2000' and '2/13/2000'")


def test_a_column_without_a_number_to_standardise_by_is_refused(tmp_path):
    (tmp_path / "test.csv").write_text(PLAIN.replace("a,y", "a,b,y").replace(",no", ",1,no").replace(",yes", ",2,yes"))
    train = csv(tmp_path, PLAIN.replace("a,y", "a,b,y").replace(",no", ",,no").replace(",yes", ",,yes"))
    source = Csv(path=train.path, label="y", test_path=str(tmp_path / "test.csv"), scaling="standard")
    refused(source, "column 'b' has no value in any training row", "data.drop")
