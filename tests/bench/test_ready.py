"""Ready scenarios of each kind of data show all that is claimed of them; their pages are what their figures make."""

from __future__ import annotations

import importlib.util
import json
import re
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


def test_pages_name_what_was_not_measured():
    _, _, text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8").partition("was measured, but for")
    told, _, table = text.partition("| `trustml run` | |\n")
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    results = json.loads(script("ready").RESULTS.read_text(encoding="utf-8"))
    assert len(named) > len(results) / 2 and named - set(results) == set(re.findall(r"`(\w+)`", told))


class Interrupted:
    """A command that ends with an error, and begins what it is told to."""

    returncode = 1

    def __init__(self, begins: list[Path]) -> None:
        for path in begins:
            path.mkdir()

    def __enter__(self) -> Interrupted:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        return "what it said last\n", None


def test_a_run_of_another_call_is_not_gone_on_with(tmp_path, monkeypatch):
    ready = script("ready")
    (tmp_path / "housing-0").mkdir()
    monkeypatch.setattr(ready.subprocess, "Popen", lambda *_, **__: Interrupted([]))
    with pytest.raises(SystemExit, match="0 runs were begun"):
        ready.measured("housing", tmp_path, minutes=1)
    assert not list(tmp_path.glob("*.json"))
    monkeypatch.setattr(ready.subprocess, "Popen", lambda *_, **__: Interrupted([tmp_path / "housing--1"]))
    with pytest.raises(SystemExit, match=r"what it said last.*same --runs"):
        ready.measured("housing", tmp_path, minutes=1)
    assert json.loads((tmp_path / "housing.part.json").read_text())["run"] == str(tmp_path / "housing--1")


def test_a_run_that_may_be_interrupted_is_kept(monkeypatch, capsys):
    ready = script("ready")
    monkeypatch.setattr(sys, "argv", ["ready.py", "housing", "--minutes", "1"])
    monkeypatch.setattr(ready, "measured", lambda *_, **__: pytest.fail("would be lost"))
    with pytest.raises(SystemExit) as ended:
        ready.main()
    assert ended.value.code == 2 and "--runs" in capsys.readouterr().err
