"""Ready scenarios of each kind of data show all that is claimed of them; their pages are what their figures make."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trustml.scenario.read import read_scenario
from trustml.scenario.ready import find_scenario
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.spec import BACKEND_NAMES

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "cifar_small",
    "text_spam",
    "time_series",
    "time_series_gru",
    "housing",
    "adult_transformer",
    "text_next",
)


def script(name: str) -> ModuleType:
    own = f"script_{name}"
    if own not in sys.modules:
        spec = importlib.util.spec_from_file_location(own, ROOT / "benchmarks" / f"{name}.py")
        assert spec
        assert spec.loader
        sys.modules[own] = importlib.util.module_from_spec(spec)  # dataclasses look there
        spec.loader.exec_module(sys.modules[own])
    return sys.modules[own]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_trained_with_and_without_privacy_explained_attacked_and_played_with(name):
    scenario = read_scenario(find_scenario(name))
    assert scenario.backends == BACKEND_NAMES
    assert {Plain, DPSGD} <= {type(regime) for regime in scenario.training}
    assert scenario.explanations.methods
    assert scenario.attacks.membership is not None
    assert [game.fault for game in scenario.attacks.games] == [""]


def test_the_page_is_what_the_figures_make():
    ready = script("ready")
    results = json.loads(ready.RESULTS.read_text(encoding="utf-8"))
    assert results
    assert set(results) <= set(NAMES)
    assert ready.PAGE.read_text(encoding="utf-8") == ready.page(results)
    for one in results.values():
        plain = [model for model in one["models"] if model["epsilon"] is None]
        assert {model["backend"] for model in plain} == set(BACKEND_NAMES)
        assert all(model["interval"][0] > one["constant"] for model in plain), "told apart from a constant answer"
        assert one["processor_seconds"] / 2 <= 300, "five minutes on two cores"


@pytest.mark.torch
def test_the_interval_beside_a_script_is_student_s_over_pairs():
    beside = script("beside_scripts")
    mean, low, high = beside.difference_of([0.5, 0.7, 0.9], [0.4, 0.7, 0.7])
    assert mean == pytest.approx(0.1)
    assert high - mean == pytest.approx(2.919986 * 0.1 / 3**0.5, rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.torch
def test_the_page_beside_scripts_is_what_the_figures_make():
    beside = script("beside_scripts")
    results = json.loads(beside.RESULTS.read_text(encoding="utf-8"))
    for one in results.values():
        assert one["difference"] == pytest.approx(beside.difference_of(one["trustml"], one["beside"]))
    assert beside.RESULTS.with_suffix(".md").read_text(encoding="utf-8") == beside.page(results)
