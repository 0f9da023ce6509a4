"""Folders as ``save_to_disk`` of Hugging Face's datasets writes them: shards, names of classes, and what is astray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.data.test_tables import refused
from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.scenario.sources import Csv, Module, Parquet, Text

TEXTS, LABELS, NUMBERS = ["hi", "yo", "wie geht's", "a,b"] * 3, [0, 1, 0, 1] * 3, np.arange(12) / 8


def folder(place: Path, *, shards: int = 1, labels=LABELS, **state) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": TEXTS, "label": labels, "n": NUMBERS})
    names = [f"data-{number:05}-of-{shards:05}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        part = table.slice(number * 12 // shards, 12 // shards)
        with pa.ipc.new_stream(str(place / name), table.schema) as writer:
            writer.write_table(part)
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], **state}))
    features = {"label": {"names": ["ham", "spam"], "_type": "ClassLabel"}, "n": {"dtype": "float64", "_type": "Value"}}
    (place / "dataset_info.json").write_text(json.dumps({"features": features, "citation": ""}))
    return place


def test_columns_are_those_of_a_table_and_classes_have_their_names(tmp_path):
    rows = "".join(f"{number},{('ham', 'spam')[label]}\n" for number, label in zip(NUMBERS, LABELS, strict=True))
    (tmp_path / "t.csv").write_text(f"n,label\n{rows}")
    wanted = fingerprint(load_dataset(Csv(path=str(tmp_path / "t.csv"), label="label")))
    for shards in (1, 3):
        place = folder(tmp_path / f"of {shards}", shards=shards)
        found = load_dataset(Parquet(path=str(place), label="label", drop=("text",)))
        assert found.class_names == ("ham", "spam") and fingerprint(found) == wanted


def test_texts_and_a_split_of_their_own(tmp_path):
    for split in ("train", "test"):
        folder(tmp_path / "both" / split)
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    path = str(tmp_path / "both")
    dataset = load_dataset(Text(path=f"{path}/train", test_path=f"{path}/test", length=4))
    assert (len(dataset.train), len(dataset.test)) == (12, 12) and dataset.class_names == ("ham", "spam")
    np.testing.assert_array_equal(dataset.train.inputs[0], [2 + ord("h"), 2 + ord("i"), 0, 0])
    refused(Text(path=path, length=4), "holds the splits train, test; name one, such as both/train")


@pytest.mark.parametrize("name", ["../secret.arrow", "none.arrow", "link.arrow", "/etc/passwd"])
def test_the_state_names_files_of_the_folder_alone(tmp_path, name):
    place = folder(tmp_path / "d")
    (tmp_path / "secret.arrow").write_bytes((place / "data-00000-of-00001.arrow").read_bytes())
    (place / "link.arrow").symlink_to(tmp_path / "secret.arrow")
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    refused(Parquet(path=str(place), label="label"), f"{name!r} is no file in")


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    source = Parquet(path=str(tmp_path / "d"), label="label", drop=("text",))
    (tmp_path / "d").mkdir()
    refused(source, "is a folder without state.json")
    folder(tmp_path / "d", labels=[*LABELS[:-1], 2])
    refused(source, "'label' is 2 at row 11, none of 2 classes")
    folder(tmp_path / "d", _indices_data_files=[{"filename": "x"}])
    refused(source, "flatten_indices()")
    folder(tmp_path / "d", _data_files=[])
    refused(source, "holds no rows")
    for content in ("{", '{"_data_files": 1}', "[]"):
        (tmp_path / "d" / "state.json").write_text(content)
        refused(source, "cannot be read as data of datasets")
    place = folder(tmp_path / "d")
    file = place / "data-00000-of-00001.arrow"
    content, generator = file.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(content)
        broken[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
        file.write_bytes(bytes(broken[: int(generator.integers(len(content) // 2, len(content) + 1))]))
        try:
            load_dataset(source)
        except Exception as error:
            assert type(error).__name__ == "DataError" and "\n" not in str(error)
    file.write_bytes(content)
    monkeypatch.setattr("trustml.data.arrow_folders.largest_now", lambda: 100)
    refused(source, "a quarter of the memory that is free")


OWN = """
import datasets
import numpy as np

def load(*, folder, split):
    rows = datasets.load_from_disk(folder)[split]
    names = rows.features["label"].names
    for row in rows:
        yield np.asarray(row["image"]), names[row["label"]]
"""


def test_what_the_library_itself_writes_is_read(tmp_path):
    """Texts, choices of rows and shards by their sources, and images by a function of the user's."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: this reads what it writes")
    kinds = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}, features=datasets.Features(kinds))
    rows.save_to_disk(str(tmp_path / "texts"), num_shards=2)
    rows.filter(lambda row: row["text"] != "hi").save_to_disk(str(tmp_path / "some"))
    whole = load_dataset(Text(path=str(tmp_path / "texts"), length=4, test_fraction=0.5))
    assert whole.class_names == ("ham", "spam") and len(whole.train) == len(whole.test) == 6
    some = load_dataset(Text(path=str(tmp_path / "some"), length=4, test_fraction=0.5))
    assert len(some.train) + len(some.test) == 9
    pixels = np.random.default_rng(0).integers(256, size=(12, 4, 4, 3), dtype=np.uint8)
    kinds = {"image": datasets.Image(), "label": kinds["label"]}
    images = datasets.Dataset.from_dict({"image": list(pixels), "label": LABELS}, features=datasets.Features(kinds))
    datasets.DatasetDict(train=images, test=images.select(range(5))).save_to_disk(str(tmp_path / "images"))
    refused(Parquet(path=str(tmp_path / "images" / "train"), label="label"), "'image' holds a dict", "from a Module")
    (tmp_path / "own_pictures.py").write_text(OWN)
    given = [{"folder": str(tmp_path / "images"), "split": split} for split in ("train", "test")]
    source = Module(function="own_pictures:load", folder=str(tmp_path), arguments=given[0], test_arguments=given[1])
    found = load_dataset(source)
    assert found.class_names == ("ham", "spam")
    wanted = {image.tobytes(): label for image, label in zip(pixels, LABELS, strict=True)}
    for part, kept in ((found.train, wanted), (found.test, dict(list(wanted.items())[:5]))):
        read = np.rint(part.inputs * 255).astype(np.uint8)
        assert {image.tobytes(): label for image, label in zip(read, part.labels, strict=True)} == kept
