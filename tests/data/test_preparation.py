"""Every kind of source says how it was prepared, as a fact and not as a sentence."""

from __future__ import annotations

import struct
import typing
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile

from trustml.data.datasets import load_dataset
from trustml.data.preparation import Preparation, preparation_notes
from trustml.scenario.sources import (
    Audio,
    BreastCancer,
    Csv,
    DataSource,
    Digits,
    Idx,
    Images,
    Json,
    Module,
    Npz,
    Parquet,
    Series,
    Text,
)


def idx_files(folder, **fields) -> Idx:
    labels = np.arange(8, dtype=np.uint8) % 2
    images = np.arange(8 * 9, dtype=np.uint8).reshape(8, 3, 3)
    for name, array in (("images", images), ("labels", labels)):
        head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / name).write_bytes(head + array.tobytes())
    return Idx(images=str(folder / "images"), labels=str(folder / "labels"), test_fraction=0.5, **fields)


def table(folder, kind: type, *, text: bool = False, **fields):
    frame = pd.DataFrame({"a": np.arange(8.0), "y": [0, 1] * 4})
    if text:
        frame["colour"] = ["red", "blue"] * 4
    write = {
        Csv: partial(frame.to_csv, index=False),
        Parquet: frame.to_parquet,
        Json: partial(frame.to_json, orient="records"),
    }
    write[kind](folder / "t")
    return kind(path=str(folder / "t"), label="y", test_fraction=0.5, **fields)


def npz(folder, **fields) -> Npz:
    np.savez(folder / "a.npz", inputs=np.arange(16.0).reshape(8, 2), labels=np.arange(8) % 2)
    return Npz(path=str(folder / "a.npz"), test_fraction=0.5, **fields)


def images(folder) -> Images:
    for number in range(8):
        place = folder / "pictures" / f"class {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3), 30 * number, np.uint8)).save(place / f"{number}.png")
    return Images(path=str(folder / "pictures"), test_fraction=0.5)


def texts(folder) -> Text:
    (folder / "t.csv").write_text("text,label\n" + "one,a\ntwo,b\n" * 4)
    return Text(path=str(folder / "t.csv"), length=4, test_fraction=0.5)


def series(folder, **fields) -> Series:
    (folder / "s.txt").write_text("1,0.5,2\n2,3,4\n" * 4)
    return Series(path=str(folder / "s.txt"), test_fraction=0.5, **fields)


def audio(folder) -> Audio:
    for number in range(8):
        place = folder / "sounds" / f"class {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        wavfile.write(place / f"{number}.wav", 100, np.zeros(10, np.int16))
    return Audio(path=str(folder / "sounds"), rate=100, seconds=0.1, features="wave", test_fraction=0.5)


def module(folder) -> Module:
    (folder / "own.py").write_text("def load():\n    return [[1.0], [2.0]] * 4, [0, 1] * 4\n")
    return Module(function="own:load", folder=str(folder), test_fraction=0.5)


CASES = {
    "series": (series, ("none", "none", "of the data")),
    "series by themselves": (lambda f: series(f, scaling="each"), ("each example", "none", "of the data")),
    "series standardised": (lambda f: series(f, scaling="standard"), ("training statistics", "none", "of the data")),
    "audio": (audio, ("public constants", "none", "of the data")),
    "module": (module, ("given code", "none", "of the data")),
    "images": (images, ("public constants", "none", "of the data")),
    "texts": (texts, ("none", "none", "of the data")),
    "digits": (lambda f: Digits(), ("public constants", "none", "public")),
    "breast cancer": (lambda f: BreastCancer(), ("public constants", "none", "public")),
    "idx": (lambda f: idx_files(f), ("public constants", "none", "of the data")),
    "idx of given constants": (
        lambda f: idx_files(f, mean=0.1307, deviation=0.3081),
        ("declared constants", "none", "of the data"),
    ),
    "csv": (lambda f: table(f, Csv), ("none", "marks not declared", "of the data")),
    "csv without gaps": (lambda f: table(f, Csv, missing="refuse"), ("none", "none", "of the data")),
    "csv of declared marks": (lambda f: table(f, Csv, marked=("a",)), ("none", "none", "of the data")),
    "csv of ranges": (
        lambda f: table(f, Csv, ranges={"a": (0.0, 9.0)}),
        ("declared constants", "marks not declared", "of the data"),
    ),
    "csv of text": (lambda f: table(f, Csv, text=True), ("none", "of the data", "of the data")),
    "csv of declared text": (
        lambda f: table(f, Csv, text=True, categories={"colour": ("red", "blue")}),
        ("none", "marks not declared", "of the data"),
    ),
    "csv of hashed text": (
        lambda f: table(f, Csv, text=True, hashing={"colour": 4}, missing="refuse"),
        ("none", "none", "of the data"),
    ),
    "json of text": (lambda f: table(f, Json, text=True), ("none", "of the data", "of the data")),
    "parquet standardised": (
        lambda f: table(f, Parquet, scaling="standard"),
        ("training statistics", "marks not declared", "of the data"),
    ),
    "parquet of text, standardised": (
        lambda f: table(f, Parquet, text=True, scaling="standard", ranges={"a": (0.0, 9.0)}),
        ("training statistics", "of the data", "of the data"),
    ),
    "npz": (lambda f: npz(f), ("none", "none", "of the data")),
    "npz standardised": (lambda f: npz(f, scaling="standard"), ("training statistics", "none", "of the data")),
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_source_says_how_it_was_prepared(name, tmp_path):
    make, expected = CASES[name]
    found = load_dataset(make(tmp_path)).preparation
    assert (found.scaling, found.categories, found.classes) == expected
    public = found.scaling in ("none", "public constants", "each example") and found.categories != "of the data"
    assert (preparation_notes(found) == ()) == public


def test_no_kind_of_source_is_forgotten(tmp_path):
    tried = {type(make(tmp_path)) for make, _ in CASES.values()}
    assert tried == set(typing.get_args(DataSource))


def test_what_a_record_does_not_say_is_unknown():
    assert Preparation() == Preparation(scaling="unknown", categories="unknown", classes="unknown")
    assert "does not say" in preparation_notes(Preparation())[0]


@pytest.mark.parametrize(("declared", "learned"), [(None, True), ("day first", False)])
def test_an_order_of_dates_that_one_row_shows_is_learned_from_it(tmp_path, declared, learned):
    rows = [f"0{1 + number % 9}/02/2020,{number % 2}" for number in range(9)]
    (tmp_path / "t.csv").write_text("\n".join(["when,y", *rows, "13/01/2020,1"]) + "\n")
    source = Csv(path=str(tmp_path / "t.csv"), label="y", dates=declared, test_fraction=0.5)
    preparation = load_dataset(source).preparation
    assert (preparation.learned_columns == ("when",)) is learned
    assert (preparation.categories == "of the data") is learned


@pytest.mark.parametrize(("different", "declared"), [(100, None), (101, None), (101, "day first")])
def test_dates_that_only_their_number_keeps_from_being_categories_are_learned(tmp_path, different, declared):
    days = pd.date_range("2020-01-01", periods=different).strftime("%d %b %Y")
    (tmp_path / "t.csv").write_text("\n".join(["when,y", *(f"{day},{i % 2}" for i, day in enumerate(days))]) + "\n")
    source = Csv(path=str(tmp_path / "t.csv"), label="y", dates=declared, test_fraction=0.5)
    dataset = load_dataset(source)
    assert (dataset.input_shape == (1,)) is (different > 100)
    assert (dataset.preparation.learned_columns == ("when",)) is (declared is None)
