"""Groups of held-out examples: kept where they were asked for, and refused where they are none."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.data.slices import MOST_GROUPS, read_slices, slice_arrays
from trustml.errors import ScenarioError
from trustml.launch.prepare import prepare_run
from trustml.models.zoo import mlp
from trustml.record.store import HELDOUT
from trustml.scenario.check import check_scenario
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Csv
from trustml.scenario.spec import Explanations, Scenario

KEYS = {"sex": np.array(["f", "m", "f", "f"]), "place": np.array(["a", "b", "c", "c"]), "id": np.array(list("1234"))}


def test_groups_come_back_as_they_were():
    arrays = slice_arrays(("sex", "place"), KEYS)
    found = read_slices(("sex", "place"), arrays)
    assert {name: list(in_) for name, in_ in found["sex"].items()} == {
        "f": [True, False, True, True],
        "m": [False, True, False, False],
    }
    assert [name for name in found["place"]] == ["a", "b", "c"]
    assert all(np.sum(list(groups.values()), axis=0).tolist() == [1] * 4 for groups in found.values())
    assert slice_arrays((), KEYS) == {} and read_slices(("sex",), {}) == {}


def test_what_are_no_groups_is_refused():
    many = {"age": np.array([str(n) for n in range(MOST_GROUPS + 1)]), "one": np.array(["x"] * 5)}
    for column, count in (("age", MOST_GROUPS + 1), ("one", 1)):
        with pytest.raises(ScenarioError, match=rf"slices.0: '{column}' has {count} values .*; name a column of 2 to"):
            slice_arrays((column,), many)


def scenario(folder, **fields) -> Scenario:
    rows = [f"{n % 7},{'f' if n % 3 else 'm'},{n % 2}" for n in range(60)]
    (folder / "t.csv").write_text("\n".join(["x,sex,y", *rows]))
    data = Csv(path=str(folder / "t.csv"), label="y", keys=("sex",), drop=("sex",), ranges={"x": (0, 7)})
    return Scenario(
        **{
            "name": "sliced",
            "data": data,
            "model": mlp([4], classes=2),
            "training": (Plain(epochs=1), DPSGD(noise_multiplier=1.0, epochs=1, batch_size=16)),
            "backends": ("jax",),
            "slices": ("sex",),
            "explanations": Explanations(examples=8),
            **fields,
        }
    )


def test_a_run_keeps_the_groups_of_its_held_out_examples(tmp_path):
    run = prepare_run(scenario(tmp_path), root=tmp_path / "runs")
    heldout = run.arrays(HELDOUT)
    groups = read_slices(run.manifest().scenario["slices"], heldout)["sex"]
    assert set(groups) == {"f", "m"} and sum(in_.sum() for in_ in groups.values()) == len(heldout["test_labels"])
    without = prepare_run(scenario(tmp_path, slices=()), root=tmp_path / "runs")
    assert set(without.arrays(HELDOUT)) == {"inputs", "targets", "test_labels"}


def test_a_column_that_is_not_kept_and_one_that_is_named_twice_are_errors(tmp_path):
    with pytest.raises(ScenarioError, match=r"slices\.0: 'age' is not among .*; name it in data\.keys, as keys="):
        check_scenario(scenario(tmp_path, slices=("age",)))
    with pytest.raises(ScenarioError, match=r"slices: .* repeats a value"):
        check_scenario(scenario(tmp_path, slices=("sex", "sex")))
