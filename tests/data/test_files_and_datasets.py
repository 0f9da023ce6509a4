"""Files from disk are never trusted; real ones load as they should."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustml.data.dataset import Dataset, Examples, fingerprint
from trustml.data.datasets import load_dataset
from trustml.data.files import read_idx, read_npz
from trustml.data.preparation import preparation_notes
from trustml.errors import DataError
from trustml.scenario.sources import BreastCancer, Csv, Digits, Idx, Npz, Parquet


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 0, 1, 0, 1], np.uint8)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_round_trip(tmp_path, compress):
    (tmp_path / "x").write_bytes(gzip.compress(idx(IMAGES)) if compress else idx(IMAGES))
    np.testing.assert_array_equal(read_idx(tmp_path / "x"), IMAGES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no IDX header"),
        (b"PK\x03\x04", "no IDX header"),
        (idx(IMAGES)[:9], "inside its header"),
        (idx(IMAGES)[:-1], "truncated or damaged"),
        (idx(IMAGES) + b"x", "truncated or damaged"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "truncated or damaged"),
        (gzip.compress(idx(IMAGES), mtime=0)[:15], "truncated or damaged"),
    ],
)
def test_a_broken_idx_file(tmp_path, content, words):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "x")


def test_an_idx_pair_loads_scaled_with_a_channel(tmp_path):
    (tmp_path / "i").write_bytes(idx(IMAGES))
    (tmp_path / "l").write_bytes(idx(LABELS))
    dataset = load_dataset(Idx(images=str(tmp_path / "i"), labels=str(tmp_path / "l"), test_fraction=0.34))
    assert dataset.input_shape == (4, 4, 1)
    assert dataset.train.inputs.max() <= 1 and (len(dataset.train), len(dataset.test)) == (4, 2)
    (tmp_path / "l").write_bytes(idx(LABELS[:5]))
    with pytest.raises(DataError, match="do not go with"):
        load_dataset(Idx(images=str(tmp_path / "i"), labels=str(tmp_path / "l")))


class _Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_an_object_array_is_never_unpickled(tmp_path):
    evidence = tmp_path / "exploded"
    np.savez(tmp_path / "d.npz", inputs=np.array([_Bomb(str(evidence))] * 3, dtype=object), labels=np.arange(3))
    with pytest.raises(DataError, match="never unpickles"):
        read_npz(tmp_path / "d.npz", names=("inputs", "labels"))
    assert not evidence.exists()


def test_a_broken_npz(tmp_path):
    (tmp_path / "d.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="no readable"):
        read_npz(tmp_path / "d.npz", names=("inputs",))
    np.savez(tmp_path / "e.npz", x=np.arange(3))
    with pytest.raises(DataError, match="no array 'inputs'; choose among x"):
        read_npz(tmp_path / "e.npz", names=("inputs",))


def write_table(folder: Path, kind: type, table: pd.DataFrame, **fields):
    if kind is Csv:
        table.to_csv(folder / "t", index=False)
    else:
        table.to_parquet(folder / "t")
    return kind(path=str(folder / "t"), label="y", test_fraction=0.5, scaling="standard", **fields)


GOOD = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [5, 6, 7, 9], "y": ["no", "yes", "no", "yes"]})


def test_an_npz_whose_header_names_a_type_of_nothing(tmp_path):
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array(header, np.zeros((4, 3)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", header.getvalue().replace(b"'<f8'", b"(),  "))
    with pytest.raises(DataError, match=r"is no readable \.npz file"):
        read_npz(path, names=("inputs",))


@pytest.mark.parametrize("kind", [Csv, Parquet])
def test_a_table_loads_and_says_that_its_scaling_is_not_private(tmp_path, kind):
    dataset = load_dataset(write_table(tmp_path, kind, GOOD))
    assert dataset.class_names == ("no", "yes")
    np.testing.assert_allclose(dataset.train.inputs.mean(axis=0), 0, atol=1e-6)
    assert dataset.preparation.scaling == "training statistics"
    assert "not covered by any epsilon" in preparation_notes(dataset.preparation)[0]


@pytest.mark.parametrize("kind", [Csv, Parquet])
@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            GOOD.assign(colour=["red", None, "red", "blue"]),
            "column 'colour' holds 1 missing values, the first at row 1",
        ),
        (GOOD.rename(columns={"y": "z"}), "no column 'y'; choose among a, b, z"),
        (GOOD.assign(a=[1.0, None, 3, 4]), "column 'a' holds 1 missing numbers, the first at row 1"),
        (GOOD.assign(a=[1.0, float("inf"), 3, 4]), "1 infinite numbers, the first at row 1"),
        (GOOD.assign(y="no"), "at least two classes"),
        (GOOD.assign(y=[0.5, 1.5, 0.5, 1.5]), "set task to Regression"),
    ],
)
def test_a_bad_table(tmp_path, kind, table, words):
    with pytest.raises(DataError, match=words):
        load_dataset(write_table(tmp_path, kind, table, missing="refuse"))


def test_a_table_without_header_or_that_is_no_table(tmp_path):
    (tmp_path / "t").write_text("1.5,2.5,0\n2.5,3.5,1\n")
    with pytest.raises(DataError, match="no header"):
        load_dataset(Csv(path=str(tmp_path / "t"), label="y"))
    (tmp_path / "u").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="Parquet"):
        load_dataset(Parquet(path=str(tmp_path / "u"), label="y"))
    with pytest.raises(DataError, match="no such file"):
        load_dataset(Npz(path=str(tmp_path / "v")))


def test_built_in_data():
    digits, cancer = load_dataset(Digits()), load_dataset(BreastCancer())
    assert (len(digits.train) + len(digits.test), digits.input_shape, digits.classes) == (1797, (8, 8, 1), 10)
    assert (digits.train.inputs.min(), digits.train.inputs.max()) == (0, 1)
    assert (len(cancer.train) + len(cancer.test), cancer.input_shape) == (569, (30,))
    assert cancer.class_names == ("malignant", "benign")
    # The public ranges are printed with few digits, so the scaled values pass the ends by a little.
    assert np.abs(cancer.train.inputs).max() < 1.05


def test_the_fingerprint_follows_the_content():
    dataset = load_dataset(Digits())
    same = load_dataset(Digits())
    assert fingerprint(dataset) == fingerprint(same)
    assert fingerprint(load_dataset(Digits(split_seed=1))) != fingerprint(dataset)
    touched = dataset.train.inputs.copy()
    touched[3, 2, 1, 0] += 1e-3
    changed = Dataset(
        train=Examples(inputs=touched, labels=dataset.train.labels), test=dataset.test, class_names=dataset.class_names
    )
    assert fingerprint(changed) != fingerprint(dataset)


@pytest.mark.long
def test_real_mnist(real_data):
    folder = real_data / "mnist"
    dataset = load_dataset(
        Idx(
            images=str(folder / "train-images-idx3-ubyte.gz"),
            labels=str(folder / "train-labels-idx1-ubyte.gz"),
            test_images=str(folder / "t10k-images-idx3-ubyte.gz"),
            test_labels=str(folder / "t10k-labels-idx1-ubyte.gz"),
        )
    )
    assert (len(dataset.train), len(dataset.test), dataset.input_shape) == (60_000, 10_000, (28, 28, 1))
    assert (dataset.train.inputs.min(), dataset.train.inputs.max()) == (0, 1)
    assert np.bincount(dataset.test.labels)[:3].tolist() == [980, 1135, 1032]


@pytest.mark.long
def test_real_adult_has_missing_categories_and_says_so(real_data):
    with pytest.raises(DataError, match="column 'workclass' holds 1836 missing values"):
        load_dataset(Csv(path=str(real_data / "adult" / "adult-train.csv.gz"), label="income", missing="refuse"))


def test_arrays_that_are_not_compressed_are_mapped_and_checked(tmp_path):
    """From an archive, from a folder of .npy files and from a compressed archive: the same data."""
    inputs, labels = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    np.savez(tmp_path / "plain.npz", inputs=inputs, labels=labels)
    np.savez_compressed(tmp_path / "small.npz", inputs=inputs, labels=labels)
    (tmp_path / "folder").mkdir()
    for name, array in (("inputs", inputs), ("labels", labels)):
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    found = [load_dataset(Npz(path=str(tmp_path / name))) for name in ("plain.npz", "small.npz", "folder")]
    assert len({fingerprint(one) for one in found}) == 1
    assert isinstance(read_npz(tmp_path / "folder", names=("inputs",))[0], np.memmap)
    whole = (tmp_path / "plain.npz").read_bytes()
    place = whole.index(inputs.tobytes()[:16]) + 100
    (tmp_path / "plain.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DataError, match="Bad CRC"):
        load_dataset(Npz(path=str(tmp_path / "plain.npz")))
    with pytest.raises(DataError, match=r"holds no \.\./x\.npy; choose among inputs, labels"):
        load_dataset(Npz(path=str(tmp_path / "folder"), inputs="../x"))
    np.save(tmp_path / "folder" / "inputs.npy", np.array([{}] * 40))
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(Npz(path=str(tmp_path / "folder")))


def test_a_plain_idx_file_is_mapped_and_gives_what_a_zipped_one_gives(tmp_path):
    files = {"images": idx(IMAGES), "labels": idx(LABELS)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    constants = {"mean": 0.1307, "deviation": 0.3081, "test_fraction": 0.34}
    plain, zipped = (
        load_dataset(Idx(images=f"{tmp_path}/images{end}", labels=f"{tmp_path}/labels{end}", **constants))
        for end in ("", ".gz")
    )
    assert isinstance(read_idx(tmp_path / "images"), np.memmap)
    assert fingerprint(plain) == fingerprint(zipped)
    expected = (IMAGES[..., None].astype(np.float32) / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
    found = np.concatenate([plain.train.inputs, plain.test.inputs])
    assert {one.tobytes() for one in found} == {one.tobytes() for one in expected}


def test_examples_that_are_there_twice_are_told(tmp_path):
    rows = np.arange(40).reshape(20, 2).astype(float)
    np.savez(tmp_path / "a.npz", inputs=np.concatenate([rows, rows[:10]]), labels=np.arange(30) % 2)
    told = [one for one in load_dataset(Npz(path=str(tmp_path / "a.npz"))).warnings if "have the inputs of" in one]
    assert any("held-out examples have the inputs of a training example" in one for one in told)
    np.savez(tmp_path / "b.npz", inputs=rows, labels=np.arange(20) % 2)
    assert not load_dataset(Npz(path=str(tmp_path / "b.npz"))).warnings
