"""What editors are told of a scenario is what reading it allows."""

from __future__ import annotations

import json

import jsonschema
import pytest

from tests.cli.test_cli import trustml
from trustml.errors import ScenarioError
from trustml.scenario.json_schema import scenario_schema
from trustml.scenario.read import from_plain, read_scenario, to_plain
from trustml.scenario.ready import find_scenario, ready_scenarios

SCHEMA = json.loads(scenario_schema())
VALID = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", ready_scenarios())
def test_every_ready_scenario_is_allowed(name):
    VALID.validate(to_plain(read_scenario(find_scenario(name))))


def change(data: dict, path: str, value: object) -> dict:
    data = json.loads(json.dumps(data))
    *keys, last = path.split(".")
    place = data
    for key in keys:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("training.1.epsilon", 3.0, True),
        ("training.1.epsilon", None, True),
        ("training.1.epsilon", 0, False),
        ("training.1.epsilonn", 3.0, False),
        ("training.1.delta", 1.0, False),
        ("training.1.batch_size", 0, False),
        ("training.1.batch_size", 8.5, False),
        ("training.1.sampling", "sorted", False),
        ("training.1.kind", "DPSDG", False),
        ("training.0.optimizer", {"learning_rate": 0.1}, True),
        ("training.0.optimizer", {"kind": "Adam", "beta1": 1.0}, False),
        ("training", [], False),
        ("seeds", [-1], False),
        ("backends", ["torch"], True),
        ("execution.timeout", 0, False),
        ("model.layers.0.filters", 0, False),
        ("explanations.methods.0.n_steps", 1, False),
        ("data.test_fraction", 1.0, False),
    ],
)
def test_the_schema_and_the_reader_agree(path, value, allowed):
    data = change(to_plain(read_scenario(find_scenario("digits"))), path, value)
    assert VALID.is_valid(data) is allowed
    if allowed:
        from_plain(data)
    else:
        with pytest.raises(ScenarioError):
            from_plain(data)


def test_the_command_writes_it(tmp_path):
    done = trustml("schema", "-o", tmp_path / "scenario.schema.json", cwd=tmp_path)
    assert done.returncode == 0 and "#:schema ./scenario.schema.json" in done.stdout
    assert json.loads((tmp_path / "scenario.schema.json").read_text()) == SCHEMA
    assert json.loads(trustml("schema", cwd=tmp_path).stdout) == SCHEMA
