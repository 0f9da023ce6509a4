"""Tables as people have them: read rightly, or refused by name, never shifted, merged or reinterpreted silently."""

from __future__ import annotations

import datetime
import decimal
import gzip
import lzma
import tarfile
import types
import zipfile

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.data import files, npy, tables
from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.scenario.sources import Csv, Idx, Npz, Parquet

ROWS = 40


def csv(folder, text: str | bytes, **fields) -> Csv:
    path = folder / "t.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Csv(path=str(path), **{"label": "y", **fields})


def table(header: str, *columns, separator=",") -> str:
    return "\n".join([header, *(separator.join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"


NUMBERS = [round(0.1 * i, 1) for i in range(ROWS)]
CLASSES = ["no", "yes"] * (ROWS // 2)
PLAIN = table("a,y", NUMBERS, CLASSES)


def column(dataset, number=0) -> np.ndarray:
    return np.sort(np.concatenate([dataset.train.inputs, dataset.test.inputs])[:, number])


def refused(source, *words: str) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(source)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def test_rows_longer_or_shorter_than_the_header_are_refused_with_line_and_counts(tmp_path):
    lines = PLAIN.splitlines()
    longer = "\n".join([lines[0], *(f"{line},extra" for line in lines[1:])])
    refused(csv(tmp_path, longer), "header has 2 fields", "line 2 has 3", "and 37 more rows")
    refused(csv(tmp_path, PLAIN + "0.5\n"), "line 42 has 1")
    refused(csv(tmp_path, PLAIN.replace("0.5,", "0,5,")), "line 7 has 3", "quote values")


def test_a_quoted_separator_or_line_break_is_no_field(tmp_path):
    dataset = load_dataset(csv(tmp_path, PLAIN.replace("a,y", '"a, of\nb",y')))
    assert dataset.feature_names == ("a, of\nb",)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found(tmp_path, separator):
    dataset = load_dataset(csv(tmp_path, table(separator.join("ay"), NUMBERS, CLASSES, separator=separator)))
    np.testing.assert_allclose(column(dataset), np.sort(NUMBERS), rtol=1e-6)


def test_decimal_commas_and_groups_are_read_as_said_and_refused_unsaid(tmp_path):
    commas = [str(number).replace(".", ",") for number in NUMBERS]
    text = table("a;y", commas, CLASSES, separator=";")
    found = load_dataset(csv(tmp_path, text))  # 0,0 and 0,1 can be read one way
    np.testing.assert_allclose(column(found), np.sort(NUMBERS), rtol=1e-6)
    assert found.warnings == ("found in the file: columns are separated by ';'; the decimal mark is ',' in 'a'",)
    thousands = table("a;y", [f"{1 + i},234" for i in range(ROWS)], CLASSES, separator=";")
    refused(csv(tmp_path, thousands), "column 'a' holds numbers with commas such as '1,234'", "data.decimal")
    np.testing.assert_allclose(column(load_dataset(csv(tmp_path, text, decimal=","))), np.sort(NUMBERS), rtol=1e-6)
    grouped = table("a;y", [f"1.2{i % 10}4,5" for i in range(ROWS)], CLASSES, separator=";")
    assert column(load_dataset(csv(tmp_path, grouped, decimal=",")))[0] == 1204.5
    english = table("a,y", [f'"1,2{i % 10}4.5"' for i in range(ROWS)], CLASSES)
    assert "the decimal mark is '.' in 'a'" in " ".join(load_dataset(csv(tmp_path, english)).warnings)
    refused(csv(tmp_path, table("a,y", [f'"{number}"' for number in commas], CLASSES)), "numbers with commas")
    assert column(load_dataset(csv(tmp_path, english, decimal=".")))[0] == 1204.5
    # 1,5 is no group of three: it is not read as 15
    fifteen = csv(tmp_path, table("a,y", ['"1,5"'] * 20 + ["2"] * 20, CLASSES), decimal=".")
    refused(fifteen, "'1,5' at row 0; they do not follow data.decimal='.'")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    colours = ["grün", "weiß"] * (ROWS // 2)
    dataset = load_dataset(csv(tmp_path, table("größe,y", colours, CLASSES).encode(encoding)))
    assert dataset.feature_names == ("größe",) and dataset.input_shape == (2,)


def test_no_text_and_archives_are_named(tmp_path):
    refused(csv(tmp_path, b"\x00\xff\x00\x01" * 10), "zero bytes")
    refused(csv(tmp_path, lzma.compress(PLAIN.encode())), "xz archive", "unpack")
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("t.csv", PLAIN)
    refused(csv(tmp_path, (tmp_path / "z").read_bytes()), "zip archive")
    (tmp_path / "p.csv").write_text(PLAIN)
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(tmp_path / "p.csv", "p.csv")
    refused(csv(tmp_path, (tmp_path / "t.tar").read_bytes()), "tar archive")
    refused(csv(tmp_path, b"\x28\xb5\x2f\xfd rest"), "zstd")
    refused(Csv(path=str(tmp_path), label="y"), "is a folder")
    refused(csv(tmp_path, ""), "is empty")


def test_a_file_that_unpacks_to_more_than_memory_holds_is_given_up_on_the_way(tmp_path, monkeypatch):
    limit = 100_000
    monkeypatch.setattr(tables, "largest_now", lambda: limit)
    monkeypatch.setattr(npy, "largest_now", lambda: limit)
    monkeypatch.setattr(files, "largest_now", lambda: limit)
    bomb = gzip.compress(PLAIN.encode() + b"0.5,yes\n" * limit)
    assert len(bomb) < limit / 10
    refused(csv(tmp_path, bomb), "holds more than", "of the memory that is free")
    np.savez_compressed(tmp_path / "b.npz", inputs=np.zeros((limit, 2), np.float32), labels=np.zeros(limit))
    refused(Npz(path=str(tmp_path / "b.npz")), "unpacks to more than", "of the memory that is free")
    pd.DataFrame({"a": np.zeros(limit), "y": "no"}).to_parquet(tmp_path / "b.parquet")
    refused(Parquet(path=str(tmp_path / "b.parquet"), label="y"), "are more than")
    images = b"\0\0\x08\x03" + (100).to_bytes(4) + (64).to_bytes(4) + (64).to_bytes(4) + bytes(100 * 64 * 64)
    (tmp_path / "b.idx").write_bytes(gzip.compress(images))
    refused(Idx(images=str(tmp_path / "b.idx"), labels=str(tmp_path / "b.idx")), "more than the file can hold")


def test_the_limit_follows_the_memory_that_is_free(monkeypatch):
    free = types.SimpleNamespace(available=4 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert npy.largest_now() == 2**30
    free.available = 2**20
    assert npy.largest_now() == 2**28, "small files are read whatever else is going on"
    free.available = 2**50
    assert npy.largest_now() == npy.LARGEST_FILE


@pytest.mark.parametrize("column", ["b", "y"])
def test_text_of_parquet_that_is_no_utf_8_is_refused(tmp_path, column):
    frame = pd.DataFrame({"a": NUMBERS, "b": ["ab", "cd"] * (ROWS // 2), "y": ["ab", "cd"] * (ROWS // 2)})
    path = tmp_path / "t"
    frame[["a", column] if column == "y" else ["a", "b", "y"]].to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"ab", b"a\xff"))
    refused(Parquet(path=str(path), label="y"), "cannot be read as Parquet", "UTF8")


def test_a_table_without_rows_is_told_so(tmp_path):
    refused(csv(tmp_path, "a,y\n"), "holds no examples")


def test_twin_columns_are_refused_and_row_numbers_left_out_with_a_word(tmp_path):
    refused(csv(tmp_path, table("a,y,y", NUMBERS, CLASSES, CLASSES)), "column 'y' comes 2 times")
    found = pa.Table.from_arrays([pa.array([1, 2])] * 3, names=["a", "y", "y"])
    pq.write_table(found, tmp_path / "twins.parquet")
    refused(Parquet(path=str(tmp_path / "twins.parquet"), label="y"), "column 'y' comes 2 times")
    frame = pd.DataFrame({"a": NUMBERS, "y": CLASSES})
    dataset = load_dataset(csv(tmp_path, frame.to_csv()))
    assert dataset.feature_names == ("a",)
    assert "counts the rows: it was left out" in dataset.warnings[0]
    chosen = load_dataset(csv(tmp_path, frame.sample(frac=0.7, random_state=1).to_csv()))  # keeps its index, shuffled
    assert chosen.feature_names == ("a",) and "numbers the rows: it was left out" in chosen.warnings[0]
    refused(csv(tmp_path, table(",y", NUMBERS, CLASSES)), "column 1 has no name")
    written_twice = frame.assign(**{"Unnamed: 0": range(ROWS)})
    assert load_dataset(csv(tmp_path, written_twice.to_csv(index=False))).feature_names == ("a",)


def test_an_index_of_pandas_with_a_name_is_a_column(tmp_path):
    frame = pd.DataFrame({"a": NUMBERS, "y": CLASSES})
    frame.set_index("y").to_parquet(tmp_path / "t")
    assert load_dataset(Parquet(path=str(tmp_path / "t"), label="y")).class_names == ("no", "yes")
    frame.set_axis([f"r{i}" for i in range(ROWS)]).to_parquet(tmp_path / "u")
    dataset = load_dataset(Parquet(path=str(tmp_path / "u"), label="y"))
    assert dataset.feature_names == ("a",) and "index" in dataset.warnings[0]


def test_spaces_do_not_make_classes_and_names_like_na_do(tmp_path):
    spaced = load_dataset(csv(tmp_path, table("a,y", NUMBERS, ["yes", "yes ", "no", " no"] * (ROWS // 4))))
    assert spaced.class_names == ("no", "yes")
    named = load_dataset(csv(tmp_path, table("a,y", NUMBERS, ["None", "NA"] * (ROWS // 2))))
    assert named.class_names == ("NA", "None")
    refused(csv(tmp_path, table("a,y", NUMBERS, ["", *CLASSES[1:]])), "label")
    as_bytes = np.array([text.encode() for text in CLASSES])
    np.savez(tmp_path / "b.npz", inputs=np.array(NUMBERS)[:, None], labels=as_bytes)
    assert load_dataset(Npz(path=str(tmp_path / "b.npz"))).class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["12%", "13%"] * (ROWS // 2), "percentages such as '12%' at row 0"),
        (["2024-01-02", "2024-02-30"] * (ROWS // 2), "'2024-02-30' at row 1, which is no date"),
        (["oops", *NUMBERS[1:]], "numbers but for 1 of 40 values, such as 'oops' at row 0"),
        (["inf", *NUMBERS[1:]], "infinite"),
    ],
)
def test_numbers_that_are_none_are_refused_by_name(tmp_path, values, words):
    refused(csv(tmp_path, table("a,y", values, CLASSES)), "column 'a'", words)


@pytest.mark.parametrize("mark", ["-", "nan", "NA"])
def test_a_mark_among_numbers_is_a_missing_one_or_refused(tmp_path, mark):
    text = table("a,y", [mark, *NUMBERS[1:]], CLASSES)
    refused(csv(tmp_path, text, missing="refuse"), f"numbers but for 1 of 40 values, such as {mark!r} at row 0")
    assert f"missing values in 'a' (1, such as {mark!r})" in load_dataset(csv(tmp_path, text)).warnings[-1]


def test_columns_that_are_half_text_are_text(tmp_path):
    dataset = load_dataset(csv(tmp_path, table("a,y", ["1", "A", "2", "B"] * (ROWS // 4), CLASSES)))
    assert dataset.input_shape == (4,)


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_a_missing_number_is_zero_after_scaling_and_marked(tmp_path, scaling):
    holes = ["", "?", *(10 + number for number in NUMBERS[2:])]
    text = table("a,y", holes, CLASSES)
    refused(csv(tmp_path, text, missing="refuse"), "2 missing numbers", "data.missing to category")
    source = csv(tmp_path, text, scaling=scaling)
    dataset = load_dataset(source)
    assert dataset.feature_groups == (0, 0) and dataset.preparation.learned_columns == ("a",)
    rows = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    missing = rows[:, 1] == rows[:, 1].max()
    assert missing.sum() == 2 and (rows[missing, 0] == 0).all()
    if scaling == "none":
        assert rows[~missing, 0].min() > 10
    else:
        assert abs(dataset.train.inputs[:, 0].mean()) < 1e-6


def test_parquet_of_other_kinds(tmp_path):
    def source(values) -> Parquet:
        pd.DataFrame({"a": values, "y": CLASSES}).to_parquet(tmp_path / "t")
        return Parquet(path=str(tmp_path / "t"), label="y")

    days = pd.date_range("2000-01-01", periods=ROWS)
    for values in (days, days.tz_localize("Europe/Berlin"), [datetime.date(2000, 1, 1 + i % 31) for i in range(ROWS)]):
        found = column(load_dataset(source(values)))
        assert found[-1] == pytest.approx((30 if isinstance(values, list) else 39) / 365.2425, abs=2e-4)
    assert column(load_dataset(source([datetime.time(6 * (i % 4)) for i in range(ROWS)])))[-1] == 0.75
    assert column(load_dataset(source(pd.to_timedelta([i % 4 for i in range(ROWS)], unit="D"))))[-1] == 3
    refused(source([[1, 2]] * ROWS), "column 'a' holds a ndarray a row")
    refused(source([{"k": 1}] * ROWS), "column 'a' holds a dict a row")
    decimals = load_dataset(source([decimal.Decimal(f"{number}") for number in NUMBERS]))
    np.testing.assert_allclose(column(decimals), np.sort(NUMBERS), rtol=1e-6)
    codes = load_dataset(source(["01", "02"] * (ROWS // 2)))
    assert codes.input_shape == (2,)
    whole = load_dataset(source(pd.array(range(ROWS), dtype="Int64")))
    assert whole.input_shape == (1,)
    gap = source(pd.array([None, *range(1, ROWS)], dtype="Int64"))
    assert load_dataset(gap).feature_groups == (0, 0)


def test_all_faults_of_a_table_come_at_once(tmp_path):
    text = table("a,b,c,y", ["12%"] * ROWS, ["", *NUMBERS[1:]], NUMBERS, CLASSES)
    refused(csv(tmp_path, text, missing="refuse"), "2 faults", "(1) column 'a'", "(2) column 'b'")


def test_years_as_names_are_a_header_and_a_missing_header_is_not(tmp_path):
    assert load_dataset(csv(tmp_path, PLAIN.replace("a,y", "2001,y"))).feature_names == ("2001",)
    refused(csv(tmp_path, PLAIN.replace("a,y", "0.5,no")), "no header")


def test_a_label_alone_or_a_number_to_predict_is_refused(tmp_path):
    refused(csv(tmp_path, table("y", CLASSES)), "no column is left beside the label")
    refused(csv(tmp_path, table("a,y", NUMBERS, range(ROWS))), "40 different labels", "set task to Regression")


def test_scaling_comes_before_the_cast(tmp_path):
    seconds = [1_700_000_000 + i for i in range(ROWS)]
    scaled = load_dataset(csv(tmp_path, table("a,y", seconds, CLASSES), scaling="standard"))
    assert len(np.unique(column(scaled))) == ROWS and scaled.warnings == ()
    merged = load_dataset(csv(tmp_path, table("a,y", seconds, CLASSES)))
    assert "float32 cannot tell values of 'a' (40 values become" in merged.warnings[0]
    assert "'a' (to 1.7e+09)" in merged.warnings[1]
    assert load_dataset(csv(tmp_path, PLAIN)).warnings == ()


def test_a_constant_column_is_not_blown_up_by_rounding(tmp_path):
    dataset = load_dataset(csv(tmp_path, table("a,b,y", [0.1] * ROWS, NUMBERS, CLASSES), scaling="standard"))
    assert (column(dataset) == 0).all()


def test_a_finite_number_beyond_float32_is_not_called_infinite(tmp_path):
    said = refused(csv(tmp_path, table("a,y", ["1e40", *NUMBERS[1:]], CLASSES)), "1e+40 at row 0 is beyond")
    assert "infinite" not in said


def test_channels_first_and_bytes(tmp_path):
    labels = np.arange(8) % 2
    inputs = np.random.default_rng(0).normal(size=(8, 3, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "f.npz", inputs=inputs, labels=labels)
    found = load_dataset(Npz(path=str(tmp_path / "f.npz")))
    assert found.input_shape == (6, 5, 3) and "channels come first" in found.warnings[0]
    assert all(any((image == one).all() for one in inputs.transpose(0, 2, 3, 1)) for image in found.train.inputs)
    assert load_dataset(Npz(path=str(tmp_path / "f.npz"), channels="last")).input_shape == (3, 6, 5)
    (tmp_path / "i").write_bytes(
        b"\0\0\x0d\4" + np.array(inputs.shape, ">u4").tobytes() + inputs.astype(">f4").tobytes()
    )
    (tmp_path / "l").write_bytes(b"\0\0\x08\1\0\0\0\x08" + labels.astype(np.uint8).tobytes())
    pair = {"images": str(tmp_path / "i"), "labels": str(tmp_path / "l")}
    assert "set data.channels to first" in load_dataset(Idx(**pair)).warnings[0]
    first = load_dataset(Idx(**pair, channels="first"))
    assert first.input_shape == (6, 5, 3) and first.warnings == ()
    np.testing.assert_array_equal(first.train.inputs, found.train.inputs)
    np.savez(tmp_path / "u.npz", inputs=np.full((8, 5, 5), 255, np.uint8), labels=labels)
    dataset = load_dataset(Npz(path=str(tmp_path / "u.npz")))
    assert (dataset.train.inputs == 1).all() and "1/255" in dataset.warnings[0]
    assert dataset.preparation.scaling == "public constants"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_test_files_have_the_checks_of_their_siblings(tmp_path, bad):
    train = csv(tmp_path, PLAIN)
    (tmp_path / "test.csv").write_text(table("a,y", [bad, *NUMBERS[1:]], CLASSES))
    with pytest.raises(DataError, match="column 'a'"):
        load_dataset(Csv(path=train.path, label="y", test_path=str(tmp_path / "test.csv"), missing="refuse"))

    def idx(array: np.ndarray, code: int) -> bytes:
        sides = b"".join(int(side).to_bytes(4, "big") for side in array.shape)
        return b"\0\0" + bytes([code, array.ndim]) + sides + array.tobytes()

    good, broken = np.ones((4, 2, 2), ">f4"), np.full((4, 2, 2), bad, ">f4")
    for name, content in {
        "i": idx(good, 0x0D), "j": idx(broken, 0x0D), "l": idx(np.array([0, 1, 0, 1], np.uint8), 0x08),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    where = {name: str(tmp_path / name) for name in "ijl"}
    for images, tests in (("i", "j"), ("j", "i")):
        source = Idx(images=where[images], labels=where["l"], test_images=where[tests], test_labels=where["l"])
        refused(source, "missing or infinite")


@pytest.mark.parametrize(
    ("values", "fields", "words"),
    [
        (["0,125", "0,250"] * (ROWS // 2), {"decimal": "."}, "do not follow data.decimal='.'"),
        (["0.125", "0.250"] * (ROWS // 2), {"decimal": ","}, "do not follow data.decimal=','"),
        (["1.5", "2.25", "3.5", "1.234"] * (ROWS // 4), {"decimal": ","}, "numbers with points such as '1.5'"),
        (["1.100", "2.250"] * (ROWS // 2), {"decimal": ","}, None),  # as said: 1100 and 2250
        (["\u22125", "5", "\u22124", "3"] * (ROWS // 4), {}, "numbers in a form of their own such as '\u22125'"),
        (["(5)", "4"] * (ROWS // 2), {}, "form of their own such as '(5)'"),
        (["1 234", "2 345"] * (ROWS // 2), {}, "form of their own such as '1 234'"),
        (["1'234", "12"] * (ROWS // 2), {}, "form of their own"),
        (["\u20ac 5", "\u20ac 6"] * (ROWS // 2), {}, "form of their own"),
        (["5kg", "6kg"] * (ROWS // 2), {}, "form of their own"),
        (["1/2/2024", "2/3/2024"] * (ROWS // 2), {}, "may be two days; set data.dates"),
        (["13/2/2024", "2/13/2024"] * (ROWS // 2), {}, "no order fits all"),
        (["1/2/99", "2/3/99"] * (ROWS // 2), {}, "a form that is not read"),
        (["2024-01-02", "10:30"] * (ROWS // 2), {}, "dates and times of the day"),
        (["2024-01-02"] * 39 + ["soon"], {}, "'soon' at row 39"),
    ],
)
def test_numbers_in_another_form_are_neither_changed_nor_made_categories(tmp_path, values, fields, words):
    source = csv(tmp_path, table("a;y", [f'"{value}"' for value in values], CLASSES, separator=";"), **fields)
    if words is None:
        assert sorted(set(column(load_dataset(source)))) == [1100, 2250]
    else:
        refused(source, "column 'a'", words)


def test_codes_with_a_leading_zero_are_no_numbers(tmp_path):
    dataset = load_dataset(csv(tmp_path, table("zip,y", ["01234", "1234"] * (ROWS // 2), CLASSES)))
    assert dataset.input_shape == (2,)
    labelled = load_dataset(csv(tmp_path, table("a,y", NUMBERS, ["01", "1", "10", "2"] * (ROWS // 4))))
    assert labelled.class_names == ("01", "1", "10", "2")
    numbers = load_dataset(csv(tmp_path, table("a,y", NUMBERS, ["1", "10", "2.0", "3"] * (ROWS // 4))))
    assert numbers.class_names == ("1", "2", "3", "10")


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        (["1", "2", "3", ""], ("1", "2", "3")),
        (["01", "02", "01", "02"], ("01", "02")),
        (["TRUE", "FALSE", "TRUE", "FALSE"], ("TRUE", "FALSE")),
        (["1.0", "2.50", "1.0", "2.50"], ("1.0", "2.50")),
    ],
)
def test_declared_categories_are_compared_as_they_are_written(tmp_path, values, declared):
    text = table("a,k,y", values * (ROWS // 4), ["7", "", "7", "8"] * (ROWS // 4), CLASSES)
    source = csv(tmp_path, text, categories={"a": declared}, missing="category", keys=("k",), drop=("k",))
    dataset = load_dataset(source)
    assert dataset.feature_groups == (0,) * (len(declared) + 1)
    assert set(dataset.train_keys["k"]) == {"7", "8", "(missing)"}


def test_what_editors_leave_in_a_file(tmp_path):
    assert load_dataset(csv(tmp_path, "sep=;\n" + PLAIN.replace(",", ";"))).feature_names == ("a",)
    assert load_dataset(csv(tmp_path, PLAIN + "  \n\n")).feature_names == ("a",)
    trailing = "\n".join(f"{line}," for line in PLAIN.splitlines())
    dataset = load_dataset(csv(tmp_path, trailing))
    assert dataset.feature_names == ("a",) and "holds nothing: it was left out" in dataset.warnings[0]
    refused(csv(tmp_path, "# made by hand\n" + PLAIN), "begins with a comment")


names = st.lists(
    st.text("abcäß ,;'\"\t|", min_size=1, max_size=6).filter(str.strip), min_size=2, max_size=5, unique_by=str.strip
)


@given(
    names=names,
    numbers=st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=12),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
)
@settings(max_examples=60, deadline=None)
def test_what_pandas_writes_is_what_is_read(tmp_path_factory, names, numbers, separator, encoding):
    *features, label = [name.strip() for name in names]
    frame = pd.DataFrame({name: np.roll(numbers, shift) for shift, name in enumerate(features)})
    frame[label] = [f"c{row % 2}" for row in range(len(frame))]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    frame.to_csv(path, index=False, sep=separator, encoding=encoding)
    dataset = load_dataset(Csv(path=str(path), label=label, separator=separator))
    assert dataset.feature_names == tuple(features)
    for number, name in enumerate(features):
        np.testing.assert_array_equal(column(dataset, number), np.sort(frame[name].to_numpy(np.float32)))
