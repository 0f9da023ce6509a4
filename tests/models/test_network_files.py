"""Files of an architecture with its weights: written, read, named by a scenario, and refused in one line."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from trustml.errors import RecordError, UsageError
from trustml.models.network_files import FORMAT, encode_network, read_network, read_network_header
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.read import read_scenario

SCENARIO = """name = "named"
model = "{model}"
backends = ["jax"]
[data]
kind = "Digits"
[[training]]
kind = "Plain"
epochs = 1
"""


@pytest.fixture
def written(tmp_path):
    architecture = mlp([4], classes=3)
    weights = initial_weights(architecture, (5,), generator=np.random.default_rng(0))
    path = tmp_path / "net.safetensors"
    path.write_bytes(encode_network(architecture, weights, (5,), kind="a test"))
    return path, architecture, weights


def test_what_was_written_is_read(written):
    path, architecture, weights = written
    found, read = read_network(path)
    assert (found.architecture, found.input_shape, found.kind) == (architecture, (5,), "a test")
    assert list(read) == list(weights) and all((read[name] == weights[name]).all() for name in weights)


def test_a_scenario_names_its_model_by_the_file(written, tmp_path):
    path, architecture, _ = written
    toml = tmp_path / "scenario.toml"
    toml.write_text(SCENARIO.format(model=path.name))
    assert read_scenario(toml).model == architecture
    other = mlp([6], classes=3)
    weights = initial_weights(other, (5,), generator=np.random.default_rng(0))
    (tmp_path / "other.safetensors").write_bytes(encode_network(other, weights, (5,), kind="a test"))
    assert read_scenario(toml, overrides=["model=other.safetensors"]).model == other
    toml.write_text(SCENARIO.format(model="nothing.safetensors"))
    with pytest.raises(UsageError, match=r"nothing.safetensors: no such file; write one by `trustml import"):
        read_scenario(toml)


def header(**changed: str) -> bytes:
    text = {"format": FORMAT, "architecture": '{"layers": []}', "input_shape": "[5]", "kind": ""} | changed
    return save({"a": np.zeros(1, np.float32)}, metadata=text)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04pickle",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 4) + b"[[]]",
        struct.pack("<Q", 20_000) + b"[" * 20_000,
        save({"a": np.zeros(1, np.float32)}),
        header(format="trustml.network.9"),
        header(architecture="{}"),
        header(architecture=json.dumps({"layers": [{"kind": "Lambda"}]})),
        header(input_shape='["a"]'),
    ],
    ids=["empty", "pickle", "long", "list", "deep", "weights alone", "newer", "no layers", "unknown layer", "shape"],
)
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"net.safetensors: is no file of `trustml import`") as raised:
        read_network_header(path)
    assert "\n" not in str(raised.value)


def test_weights_that_do_not_fit_are_refused(written):
    path, architecture, weights = written
    short = {name: np.zeros((1, *array.shape[1:]), np.float32) for name, array in weights.items()}
    path.write_bytes(save(short, metadata={
        "format": FORMAT, "architecture": _encoded(architecture), "input_shape": "[5]", "kind": "",
    }))  # fmt: skip
    with pytest.raises(RecordError, match="do not fit the architecture"):
        read_network(path)


def _encoded(architecture) -> str:
    import msgspec

    return msgspec.json.encode(architecture).decode()
