"""Drafts of arrays and images, and the file that a draft writes."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from trustml import Classes, Images, Regression
from trustml.drafting.draft import draft
from trustml.drafting.found import outward, plain_name
from trustml.errors import DataError, ScenarioError, UsageError
from trustml.scenario.check import check_scenario
from trustml.scenario.read import read_scenario


def test_the_file_says_the_scenario(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / 'it\'s "here".csv').write_text("a,b,label\n" + "".join(f"{n},{n % 7},{n % 2}\n" for n in range(60)))
    found = draft(folder / 'it\'s "here".csv')
    file = tmp_path / "first.py"
    file.write_text(found.text(tmp_path))
    assert read_scenario(file) == found.scenario
    assert str(tmp_path) not in file.read_text()  # so that the folder can be moved
    assert max(map(len, file.read_text().splitlines())) <= 120


def test_arrays(tmp_path):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=random.normal(size=(80, 4)), y=np.arange(80) % 3, z=np.zeros(3))
    found = draft(tmp_path / "a.npz").scenario
    assert (found.data.inputs, found.data.labels, found.data.scaling, found.task) == ("x", "y", "standard", Classes())
    np.savez(tmp_path / "b.npz", x=random.normal(size=(80, 4)), y=random.normal(size=80))
    assert isinstance(draft(tmp_path / "b.npz").scenario.task, Regression)
    np.savez(tmp_path / "c.npz", x=np.zeros((80, 4)), w=np.zeros((80, 4)), y=np.arange(80) % 3)
    with pytest.raises(UsageError, match=r"2 arrays may be the inputs of 'y'"):
        draft(tmp_path / "c.npz")
    with pytest.raises(UsageError, match=r"--label: .* has no array"):
        draft(tmp_path / "c.npz", label="answers")


def idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_images_of_mnist_find_their_labels(tmp_path):
    for part, count in (("train", 80), ("t10k", 40)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.zeros((count, 8, 8)) + np.arange(8))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 2)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        source = draft(tmp_path / name).scenario.data
        assert source.images.endswith("train-images-idx3-ubyte.gz") and source.test_labels.endswith(
            "t10k-labels-idx1-ubyte.gz"
        )
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UsageError, match="its labels are not beside it"):
        draft(tmp_path / "train-images-idx3-ubyte.gz")


def test_folders_of_images(tmp_path):
    for part, count in (("train", 12), ("test", 6)):
        for kind in ("cat", "dog"):
            (tmp_path / part / kind).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / part / kind / f"{number}.png")
    source = draft(tmp_path).scenario.data
    assert isinstance(source, Images) and source.test_path == str(tmp_path / "test") and source.size is None
    Image.new("RGB", (90, 20)).save(tmp_path / "train" / "cat" / "wide.png")
    found = draft(tmp_path).scenario
    said = " ".join(draft(tmp_path, backends=("jax",)).text(tmp_path).split())
    assert f"A first scenario for {tmp_path.name}, made" in said and "federated training in jax." in said
    assert found.data.size == (32, 32) and "data.size" in found.chosen_from_data
    assert found.data.colour == "rgb"
    with pytest.raises(UsageError, match="leave --label out"):
        draft(tmp_path, label="kind")


def test_grey_images_have_one_channel_unless_it_is_said_otherwise(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for number in range(12):
            Image.new("L", (20, 20), 20 * number).save(tmp_path / kind / f"{number}.png")
    found = draft(tmp_path)
    assert found.scenario.data.colour == "grey" and "data.colour" in found.scenario.chosen_from_data
    assert not any("three equal channels" in line for line in found.told)
    Image.new("RGB", (20, 20)).save(tmp_path / "dog" / "11.png")  # looked at, as the others: what it decides is chosen
    coloured = draft(tmp_path).scenario
    assert coloured.data.colour == "rgb" and {"data.colour", "data.size"} <= set(coloured.chosen_from_data)
    asked = draft(tmp_path, settings={"colour": "rgb"})
    assert asked.scenario.data.colour == "rgb" and "data.colour" not in asked.scenario.chosen_from_data


def test_what_is_no_data(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        draft(tmp_path / "nothing.csv")
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(UsageError, match="no data that init knows"):
        draft(tmp_path / "a.docx")


@pytest.mark.parametrize(
    ("low", "high", "wide"),
    [
        (0.3, 9.4, (0.0, 10.0)),
        (14_999, 500_001, (0.0, 600_000.0)),
        (-0.0123, 0.0211, (-0.02, 0.03)),
        (5, 5, (4.0, 6.0)),
    ],
)
def test_a_range_is_rounded_outward(low, high, wide):
    assert outward(low, high) == wide


def test_names_are_plain():
    assert [plain_name(name) for name in ("My data (1).csv.gz", "_x.csv", "---", "a" * 90)] == [
        "My_data_1", "x", "draft", "a" * 64
    ]  # fmt: skip


def test_what_is_said_to_be_chosen_must_be_a_field(tmp_path):
    (tmp_path / "a.csv").write_text("a,label\n" + "".join(f"{n % 9},{n % 2}\n" for n in range(60)))
    scenario = draft(tmp_path / "a.csv").scenario
    check_scenario(replace(scenario, chosen_from_data=("training.1.epsilon", "data.label")))
    with pytest.raises(ScenarioError, match=r"chosen_from_data\.0: 'data\.lable' is no field of this scenario"):
        check_scenario(replace(scenario, chosen_from_data=("data.lable",)))


@pytest.mark.parametrize(
    "name",
    [
        't"""; raise SystemExit("run"); """.csv',
        "back\\xslash.csv",
        "a\\N{x}.csv",
        "it's {braces}.csv",
        '"""',
        "ü\u2028.csv",
    ],
)
def test_no_name_of_a_file_or_a_column_is_code(tmp_path, name):
    path = tmp_path / (name if name.endswith(".csv") else f"{name}.csv")
    column = name.replace(",", "").replace('"', "'") + "\x0b"
    path.write_text(f"{column},b,label\n" + "".join(f"1,{n % 7},{n % 2}\n" for n in range(60)), encoding="utf-8")
    found = draft(path)
    file = tmp_path / "first.py"
    file.write_text(found.text(tmp_path), encoding="utf-8")
    assert read_scenario(file) == found.scenario
    assert len(found.scenario.data.drop) == 1


def test_damaged_arrays_and_rows_that_are_not_there(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"no readable \.npz file"):
        draft(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.array([{}], object), y=np.zeros(1))
    with pytest.raises(DataError, match="never unpickles"):
        draft(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.zeros((40, 2)), y=np.tile([-1e308, 0.5, 1e308, 1.0], 10))
    with pytest.raises(UsageError, match="beyond what networks compute with"):
        draft(tmp_path / "c.npz")
    with pytest.raises(UsageError, match="leave --label out"):
        draft(tmp_path / "c.npz", label=("x", "y"))
    (tmp_path / "d.csv").write_text("a,label\n")
    with pytest.raises(DataError, match="no rows"):
        draft(tmp_path / "d.csv")
