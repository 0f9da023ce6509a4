"""What editors are told of a scenario is what reading it allows."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.test_cli import called
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
    done = called("schema", "-o", tmp_path / "scenario.schema.json", cwd=tmp_path)
    assert done.returncode == 0 and "#:schema ./scenario.schema.json" in done.stdout
    assert json.loads((tmp_path / "scenario.schema.json").read_text()) == SCHEMA
    assert json.loads(called("schema", cwd=tmp_path).stdout) == SCHEMA


def paths_of(data: object, above: tuple = ()) -> list[tuple]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path for key, value in items for path in [(*above, key), *paths_of(value, (*above, key))]]


AUDITED = to_plain(read_scenario(find_scenario("audit_digits")))
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just([[-1]])
)


@given(path=st.sampled_from(paths_of(AUDITED)), value=VALUES, add=st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_a_field_is_read_or_refused_in_one_line(path, value, add):
    data = json.loads(json.dumps(AUDITED))
    place = data
    for key in path[:-1]:
        place = place[key]
    if add and isinstance(place, dict):
        place[f"{path[-1]}_"] = value
    else:
        place[path[-1]] = value
    try:
        scenario = from_plain(data)
    except ScenarioError as error:
        assert "\n" not in str(error) and error.field and error.fix
        assert error.field.startswith(".".join(str(key) for key in path[:-1]))
    else:
        assert from_plain(to_plain(scenario)) == scenario
