"""Examples that a function of the user's gives, at once or one by one: its code runs elsewhere, its faults are told."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

from tests.data.test_tables import refused
from trustml.data import modules
from trustml.data.datasets import load_dataset
from trustml.data.module_worker import ANSWER, Answer, main
from trustml.data.preparation import preparation_notes
from trustml.models.zoo import mlp
from trustml.scenario.read import from_plain, to_plain
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Module
from trustml.scenario.spec import Scenario

CODE = """
import numpy as np
import beside

inputs = np.random.default_rng(0).random((20, 3, 2))
labels = ["no", "yes"] * 10

def arrays(*, first=20, factor=1.0):
    return factor * inputs[:first], labels[:first], np.arange(first) // 4

def yielded():
    for row, label in zip(inputs, labels):
        yield row, label

class Listed:
    def __getitem__(self, number):
        if number == 12:
            raise IndexError(number)
        return np.full((4, 4, 3), number * 20, np.uint8), np.int64(number % 2)

def listed():
    return Listed()

def broken():
    return beside.fails()

def ragged():
    yield [1.0], 0
    yield [1.0, 2.0], 1

def odd(kind):
    return {
        "one": 5, "texts": (np.array(["x"] * 4), labels[:4]), "few": (inputs, labels[:4]), "none": iter(()),
        "named": [{"image": inputs[0], "label": 0}],
        "flat": (np.zeros(20), labels), "objects": (inputs, [{}] * 20), "pair": [inputs, labels],
        "nan": (inputs * np.array([np.nan] + [1] * 19)[:, None, None], labels),
    }[kind]
"""
INPUTS = np.random.default_rng(0).random((20, 3, 2)).astype(np.float32)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the user's modules; its functions are called in this process, as if it were the other one."""
    (tmp_path / "own_data.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("def fails():\n\n    raise ValueError('no such row\\nsecond line')\n")

    def called(arguments, **_):
        from pathlib import Path

        try:
            main(Path(arguments[-1]))
        finally:
            sys.path.remove(str(tmp_path))
            for name in ("own_data", "beside"):
                sys.modules.pop(name, None)

    monkeypatch.setattr(modules.subprocess, "run", called)
    return tmp_path


def asked(here, function: str, **fields) -> Module:
    return Module(function=f"own_data:{function}", folder=str(here), **fields)


def test_arrays_and_examples_one_by_one_are_the_same_data(here):
    at_once = load_dataset(asked(here, "arrays", test_fraction=0.5))
    assert at_once.input_shape == (3, 2) and at_once.class_names == ("no", "yes") and at_once.warnings == ()
    found = np.concatenate([at_once.train.inputs, at_once.test.inputs])
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(INPUTS, axis=0))
    one_by_one = load_dataset(asked(here, "yielded", test_fraction=0.5))
    np.testing.assert_array_equal(one_by_one.train.inputs, at_once.train.inputs)
    np.testing.assert_array_equal(one_by_one.train.labels, at_once.train.labels)
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert at_once.preparation.code == digest and at_once.preparation.scaling == "given code"
    assert digest[:16] in preparation_notes(at_once.preparation)[0]


def test_arguments_choose_the_held_out_examples(here):
    source = asked(here, "arrays", arguments={"first": 12}, test_arguments={"first": 8, "factor": 2.0})
    dataset = load_dataset(source)
    assert (len(dataset.train), len(dataset.test)) == (12, 8)
    np.testing.assert_array_equal(np.sort(dataset.test.inputs, axis=0), np.sort(2 * INPUTS[:8], axis=0))
    refused(asked(here, "arrays", arguments={"secund": 1}), "TypeError", "'secund'")


def test_what_examples_are_split_by_is_the_third_value(here):
    dataset = load_dataset(asked(here, "arrays", split="by group", test_fraction=0.2))
    assert len(dataset.test) == 4 and len(dataset.train) == 16
    late = load_dataset(asked(here, "arrays", split="by time", test_fraction=0.2)).test.inputs
    assert {one.tobytes() for one in late} == {one.tobytes() for one in INPUTS[16:]}
    refused(asked(here, "yielded", split="by time"), "gives nothing to split by")
    refused(asked(here, "arrays", split="by group", split_by="who"), "its third value")


def test_bytes_of_images_are_scaled(here):
    dataset = load_dataset(asked(here, "listed", test_fraction=0.5))
    assert dataset.input_shape == (4, 4, 3) and dataset.class_names == ("0", "1")
    found = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    assert set(found.ravel()) == {np.float32(number * 20) / np.float32(255) for number in range(12)}
    assert "1/255" in dataset.warnings[0]


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("broken", {}, "fails with ValueError: no such row, line 3 of beside.py; fix it"),
        ("nothing", {}, "is no function; choose among "),
        ("ragged", {}, "float64 of shape (2,) as example 1, and float64 of shape (1,) before"),
        ("odd", {"kind": "one"}, "gave int; return (inputs, labels)"),
        ("odd", {"kind": "texts"}, "gave inputs of type <U1"),
        ("odd", {"kind": "few"}, "shape (4,) for inputs of shape (20, 3, 2)"),
        ("odd", {"kind": "none"}, "gave no example"),
        ("odd", {"kind": "flat"}, "gave inputs of shape (20,)"),
        ("odd", {"kind": "objects"}, "gave labels of type object"),
        ("odd", {"kind": "pair"}, "gave ndarray as example 0"),
        ("odd", {"kind": "named"}, "gave dict of image, label as example 0; yield (input, label)"),
        ("odd", {"kind": "nan"}, "1 examples hold missing or infinite numbers, the first at row 0"),
    ],
)
def test_what_is_no_data_is_told_in_one_line(here, function, arguments, words):
    assert "\n" not in refused(asked(here, function, arguments=arguments), words, f"data.function own_data:{function}")


def test_the_field_names_a_function_in_a_folder(here):
    refused(Module(function="own_data", folder=str(here)), "'own_data' names no function")
    refused(Module(function="own_data:arrays", folder=str(here / "none")), "is no folder")


def test_arguments_of_any_name_travel_with_the_scenario():
    arguments = {"border": "zeros", "task": "Classes", "kind": "Plain"}  # names that scenarios have too
    scenario = Scenario(
        name="s", data=Module(function="a:b", arguments=arguments), model=mlp([2], classes=2), training=(Plain(),)
    )
    assert from_plain(to_plain(scenario)).data.arguments == arguments


def test_its_code_runs_in_a_process_of_its_own(tmp_path, capfd):
    """The one test that starts one: nothing of the module is left here, and its end by itself is told."""
    (tmp_path / "strange_data.py").write_text(
        "import os, sys\nprint('loading')\ndef load(code=0):\n    if code:\n        os._exit(code)\n"
        "    return [[float(os.getpid())], [1.0]] * 4, [0, 1] * 4\n"
    )
    import os

    dataset = load_dataset(Module(function="strange_data:load", folder=str(tmp_path)))
    assert "strange_data" not in sys.modules and str(tmp_path) not in sys.path
    assert np.float32(os.getpid()) not in dataset.train.inputs
    out, err = capfd.readouterr()
    assert "loading" in err and not out  # what it prints is no answer of ours
    refused(Module(function="strange_data:load", folder=str(tmp_path), arguments={"code": 3}), "ended with exit code 3")


def test_an_answer_is_plain_data(tmp_path):
    (tmp_path / "request.json").write_text('{"function": "no.such:thing", "folder": ".", "arguments": {}}')
    main(tmp_path)
    sys.path.remove(".")
    import msgspec

    problem = msgspec.json.decode((tmp_path / ANSWER).read_bytes(), type=Answer).problem
    assert problem.startswith("fails with ModuleNotFoundError: No module named 'no'")
