"""Files of strangers in every disguise: nothing runs, nothing is made elsewhere, and one line says what it is."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from tests import WHOLE
from tests.auditing.disguises import KERAS, PLAIN, keras_file, keras_layer, keras_model, parquet_of_many
from trustml.cli.main import _main
from trustml.data.datasets import load_dataset
from trustml.errors import DataError
from trustml.models.keras_files import why_not_keras
from trustml.scenario.sources import Csv, Idx, Npz, Parquet

ENDINGS = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2", ".pkl", ".joblib", ".skops", ".onnx", ".pb", ".npz", ".npy")
ENDINGS += (".safetensors", ".parquet", ".csv", ".toml", ".json", ".zip", ".tflite", ".KERAS", "")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that is the current one, with examples and a module that tells if it is imported; no network."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    generator = np.random.default_rng(0)
    for name in ("train", "holdout"):
        inputs, labels = generator.normal(size=(20, 3)).astype(np.float32), generator.integers(0, 2, 20)
        np.savez(folder / f"{name}.npz", inputs=inputs, labels=labels)
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'sentinel')!r}, 'w')\n")
    (folder / "evil").mkdir()
    (folder / "evil" / "__init__.py").write_text(f"open({str(tmp_path / 'sentinel')!r}, 'w')\n")
    return folder


def _no_network(*arguments):
    raise AssertionError("something asked the network")


def refused(capsys, *arguments: str | Path) -> str:
    """Call the command line; give the one line that it refuses with."""
    assert _main([str(one) for one in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err and "Internal" not in shown.err, shown.err
    lines = [line for line in shown.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, shown.err
    return lines[0]


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def some_of(endings: tuple[str, ...], content: str) -> tuple[str, ...]:
    """All, or in short every third one, beginning with another for the next content."""
    return endings if WHOLE else endings[list(PLAIN).index(content) % 3 :: 3]


DATA = ("--train", "train.npz", "--holdout", "holdout.npz")


@pytest.mark.parametrize("content", PLAIN, ids=str)
def test_no_model_in_disguise_is_loaded(place, capsys, content):
    made, sentinel = PLAIN[content](place.parent / "sentinel"), place.parent / "sentinel"
    endings = some_of(ENDINGS, content)
    for ending in endings:
        (place / f"evil{ending}").write_bytes(made) if ending else (place / "model").write_bytes(made)
    before = everything_in(place.parent)
    for ending in endings:
        name = f"evil{ending}" if ending else "model"
        for target in (name, f"tensorflow={name}", f"./{name}"):
            line = refused(capsys, "audit", target, *DATA)
            assert name in line and ";" in line, line
    assert not sentinel.exists() and everything_in(place.parent) == before


@pytest.mark.parametrize("content", KERAS, ids=str)
def test_no_keras_file_that_does_more_than_compute_is_loaded(place, capsys, content):
    (place / "evil.keras").write_bytes(KERAS[content](place.parent / "sentinel"))
    before = everything_in(place.parent)
    for target in ("evil.keras", "tensorflow=evil.keras"):
        line = refused(capsys, "audit", target, *DATA)
        assert line.startswith("Error: evil.keras: ") and "name module:attribute" in line
    assert not (place.parent / "sentinel").exists() and everything_in(place.parent) == before


def test_a_saved_model_and_other_folders_are_refused(place, capsys):
    (place / "saved").mkdir()
    (place / "saved" / "saved_model.pb").write_bytes(b"\x08\x01WriteFile")
    assert "saved: is damaged" in refused(capsys, "audit", "saved", *DATA)
    (place / "folder.keras").mkdir()
    assert "is a folder, no file" in refused(capsys, "audit", "folder.keras", *DATA)
    (place / "link.keras").symlink_to("/dev/zero")
    assert "link.keras: no such file" in refused(capsys, "audit", "link.keras", *DATA)
    (place / "zero").symlink_to("/dev/zero")
    assert "neither a file nor a folder" in refused(capsys, "audit", "zero", *DATA)


@pytest.mark.parametrize(
    "layer",
    [
        keras_layer("keras.layers", "Dense", {"units": 2, "activation": "relu"}, registered_name=None),
        keras_layer("keras.layers", "Conv2D", {"filters": 2}),
        keras_layer(None, "MaxPooling2D"),
        keras_layer("keras.layers", "Bidirectional", {"layer": keras_layer("keras.layers", "LSTM", {"units": 2})}),
        keras_layer("keras.src.layers.core.tf_op_layer", "TFOpLambda", {"function": "compat.v1.nn.relu"}),
        keras_layer("keras.layers", "Dense", {"activation": keras_layer("builtins", "function", "gelu")}),
    ],
    ids=lambda layer: layer["class_name"],
)
def test_layers_that_compute_are_let_through(layer):
    assert why_not_keras(keras_file(keras_model(layer))) == ""


def test_what_a_model_was_compiled_with_is_not_looked_at_because_it_is_not_loaded():
    model = {**keras_model(), "compile_config": {"loss": keras_layer("theirs", "Loss")}}
    assert why_not_keras(keras_file(model)) == ""


@pytest.mark.parametrize("content", PLAIN, ids=str)
def test_examples_in_disguise_are_refused(place, capsys, content):
    (place / "evil.npz").write_bytes(PLAIN[content](place.parent / "sentinel"))
    (place / "mine.py").write_text("def sure(inputs):\n    return inputs[:, :2]\n")
    line = refused(capsys, "audit", "mine:sure", "--train", "evil.npz", "--holdout", "holdout.npz")
    assert "evil.npz" in line
    assert not (place.parent / "sentinel").exists()


SOURCES = {
    "Csv": lambda path: Csv(path=path, label="label"),
    "Parquet": lambda path: Parquet(path=path, label="label"),
    "Npz": lambda path: Npz(path=path),
    "Idx": lambda path: Idx(images=path, labels=path),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("content", PLAIN, ids=str)
def test_data_in_disguise_are_refused(place, source, content):
    made = PLAIN[content](place.parent / "sentinel")
    for ending in some_of((".csv", ".csv.gz", ".parquet", ".npz", ".idx", ".zip", ".tar", ".pkl"), content):
        (place / f"evil{ending}").write_bytes(made)
        with pytest.raises(DataError, match=f"evil{ending}") as raised:
            load_dataset(SOURCES[source](str(place / f"evil{ending}")))
        assert len(str(raised.value).splitlines()) == 1
    assert not (place.parent / "sentinel").exists()


def test_a_table_of_one_repeated_value_is_refused_by_its_footer(place):
    content = parquet_of_many(place)
    assert len(content) < 2**23
    (place / "evil.parquet").write_bytes(content)
    with pytest.raises(DataError, match="rows of"):
        load_dataset(Parquet(path=str(place / "evil.parquet"), label="label"))


@pytest.mark.parametrize("content", PLAIN, ids=str)
def test_bundles_keys_and_scenarios_in_disguise_are_refused(place, capsys, content):
    made = PLAIN[content](place.parent / "sentinel")
    for ending in (".zip", ".trustml", ".toml", ".pem", ""):
        (place / f"bad{ending}").write_bytes(made)
    before = everything_in(place.parent)
    for arguments in (("verify", "bad.zip"), ("verify", "bad"), ("verify", "bad.zip", "--key", "bad.pem")):
        assert "bad" in refused(capsys, *arguments)
    for name in ("bad.toml", "bad"):
        line = refused(capsys, "run", name, "--runs", "runs")
        assert "bad" in line or content == "nothing", line  # an empty scenario is one that lacks a name
    assert not (place.parent / "sentinel").exists() and everything_in(place.parent) == before
