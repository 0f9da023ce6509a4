"""Files of an architecture with its weights: written, read, named by a scenario, and refused in one line."""

from __future__ import annotations

import json
import struct

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from trustml import Attacks, Digits, Explanations, MembershipInference, Plain, Scenario
from trustml.errors import RecordError, UsageError
from trustml.evidence.predictions import prediction_checks
from trustml.launch.prepare import prepare_run
from trustml.measures.evidence import Evidence
from trustml.models.layers import Architecture, Flatten
from trustml.models.network_files import FORMAT, encode_network, read_network, read_network_header, starting_weights
from trustml.models.weights import initial_weights, read_weights
from trustml.models.zoo import mlp
from trustml.plan.expand import weights_file
from trustml.scenario.check import check_scenario
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
    scenario = read_scenario(toml)
    assert scenario.model == architecture and scenario.start == str(path), "its weights are where training starts"
    assert not read_scenario(toml, overrides=["start="]).start
    toml.write_text('start = ""\n' + SCENARIO.format(model=path.name))
    assert not read_scenario(toml).start
    toml.write_text(SCENARIO.format(model=path.name))
    other = mlp([6], classes=3)
    weights = initial_weights(other, (5,), generator=np.random.default_rng(0))
    (tmp_path / "other.safetensors").write_bytes(encode_network(other, weights, (5,), kind="a test"))
    changed = read_scenario(toml, overrides=["model=other.safetensors"])
    assert changed.model == other and changed.start == str(tmp_path / "other.safetensors")
    toml.write_text(SCENARIO.format(model="nothing.safetensors"))
    with pytest.raises(UsageError, match=r"nothing.safetensors: no such file; write one by `trustml import"):
        read_scenario(toml)


def test_training_starts_from_the_weights_of_the_file(tmp_path):
    """Every seed does; and a record says that they are not drawn from it."""
    architecture = Architecture(layers=(Flatten(), *mlp([4], classes=10).layers))
    weights = initial_weights(architecture, (8, 8, 1), generator=np.random.default_rng(1))
    path = tmp_path / "net.safetensors"
    path.write_bytes(encode_network(architecture, weights, (8, 8, 1), kind="a test"))
    scenario = Scenario(
        name="started", data=Digits(), model=architecture, training=(Plain(epochs=1),), backends=("torch",),
        seeds=(0, 1), start=str(path), explanations=Explanations(examples=1, methods=()),
    )  # fmt: skip
    run = prepare_run(scenario, root=tmp_path, overrides=())
    for seed in (0, 1):
        found = read_weights(run.file(weights_file(seed)))
        assert all((found[name] == array).all() for name, array in weights.items())
    checks = [check for check in prediction_checks(Evidence(run), {}) if check.subject.startswith("weights/")]
    assert {check.outcome for check in checks} == {"not recomputed"} and len(checks) == 2
    larger = Architecture(layers=(Flatten(), *mlp([5], classes=10).layers))
    with pytest.raises(UsageError, match=r"start: net.safetensors has 1.kernel of shape \(64, 4\), .* \(64, 5\)"):
        prepare_run(msgspec.structs.replace(scenario, model=larger), root=tmp_path, overrides=())
    attacks = Attacks(membership=MembershipInference(shadow_models=4))
    with pytest.raises(UsageError, match="start: 4 shadow models start from weights of their own"):
        check_scenario(msgspec.structs.replace(scenario, attacks=attacks))


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(written, value):
    path, architecture, weights = written
    name = next(iter(weights))
    array = weights[name].copy()
    array.flat[0] = value
    path.write_bytes(encode_network(architecture, weights | {name: array}, (5,), kind=""))
    for read in (read_network, lambda where: starting_weights(where, architecture, (5,))):
        with pytest.raises(UsageError, match=rf"net.*: 1 of {array.size} values of {name} are not finite"):
            read(path)


def _encoded(architecture) -> str:
    import msgspec

    return msgspec.json.encode(architecture).decode()
