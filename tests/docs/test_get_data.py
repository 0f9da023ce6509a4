"""Where data of ready scenarios come from: each folder is on the page, and what it makes of originals is read."""

from __future__ import annotations

import re

import numpy as np

from tests.docs.test_pages import DOCS, blocks
from trustml.data.datasets import load_dataset
from trustml.scenario.read import read_scenario
from trustml.scenario.ready import DATA_ORIGINS, find_scenario, shipped
from trustml.scenario.sources import Images

PAGE = DOCS / "how_to" / "get_data.md"
ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, ?, Not-in-family, White, Male, 2174, 0, {}, United-States, {}"
)


def test_every_folder_that_a_ready_scenario_takes_is_told():
    taken = {}
    for path in shipped("scenarios").glob("*.py"):
        for folder in re.findall(r'"TRUSTML_DATA", "data"\), "(\w+)"', path.read_text()):
            taken.setdefault(folder, set()).add(path.stem)
    assert taken.keys() == DATA_ORIGINS.keys()
    page = PAGE.read_text()
    for folder, scenarios in taken.items():
        (row,) = re.findall(rf"^\| `{folder}/` \|.*$", page, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row.split("|")[3])) <= scenarios, row


def test_what_the_page_makes_of_originals_is_what_scenarios_read(tmp_path, monkeypatch):
    made: dict = {}
    (code,) = blocks(PAGE, "python")
    exec(code, made)
    monkeypatch.setenv("TRUSTML_DATA", str(tmp_path))
    (tmp_path / "adult.data").write_text(
        "".join(ROW.format(h, (">50K", "<=50K")[h % 2]) + "\n" for h in range(8)) + "\n"
    )
    tests = "|1x3 Cross validator\n" + "".join(ROW.format(h, (">50K.", "<=50K.")[h % 2]) + "\n" for h in range(4))
    (tmp_path / "adult.test").write_text(tests)
    made["adult"](tmp_path / "adult.data", tmp_path / "adult" / "adult-train.csv.gz")
    made["adult"](tmp_path / "adult.test", tmp_path / "adult" / "adult-test.csv.gz")
    found = load_dataset(read_scenario(find_scenario("adult_transformer")).data)
    assert found.class_names == ("<=50K", ">50K") and (len(found.train), len(found.test)) == (8, 4)

    pixels = np.repeat(np.arange(0, 240, 12, dtype=np.uint8), 3072).reshape(20, 3072)
    np.concatenate([np.arange(20, dtype=np.uint8)[:, None] % 10, pixels], axis=1).tofile(tmp_path / "data_batch_1.bin")
    made["cifar"]([tmp_path / "data_batch_1.bin"], tmp_path / "cifar10_small" / "train", each=1)
    images = load_dataset(Images(path=str(tmp_path / "cifar10_small" / "train"), test_fraction=0.5, split="random"))
    inputs = np.concatenate([images.train.inputs, images.test.inputs])
    assert images.class_names == made["CIFAR"] and inputs.shape == (10, 32, 32, 3)
    np.testing.assert_allclose(np.sort(inputs.mean(axis=(1, 2, 3))), np.arange(0, 120, 12) / 255, atol=0.01)
