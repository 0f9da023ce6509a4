"""The page that starts runs: what it may start, what the form asks, and the command line that it calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.cli.test_cli import toml
from tests.record.test_running import as_running, executed
from tests.records import copy_of
from trustml.errors import UsageError
from trustml.scenario.read import read_scenario

APPS = Path(__file__).resolve().parents[2] / "apps"
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # AppTest leaves an event loop behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
REGIMES = (
    '[[training]]\nkind = "Plain"\nepochs = 2\n'
    '[[training]]\nkind = "DPSGD"\nepsilon = 3.0\n[training.optimizer]\nkind = "Adam"\nlearning_rate = 0.02\n'
)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder of scenarios and one of runs, as the operator names them."""
    folder = tmp_path / "scenarios"
    folder.mkdir()
    toml(folder / "one.toml", training=REGIMES)
    (folder / "notes.txt").write_text("no scenario")
    (tmp_path / "other.toml").write_text((folder / "one.toml").read_text())
    monkeypatch.setenv("TRUSTML_SCENARIOS", str(folder))
    monkeypatch.setenv("TRUSTML_RUNS", str(tmp_path / "runs"))
    monkeypatch.syspath_prepend(str(APPS))
    return folder


def test_the_form_asks_for_what_the_scenario_has(place):
    import launching

    fields = {field.path: field for field in launching.form_fields(read_scenario(place / "one.toml"))}
    assert {path: (field.value, field.kind) for path, field in fields.items()} == {
        "execution.device": ("auto", "choice"),
        "training.0.epochs": (2, "whole number"),
        "training.0.batch_size": (32, "whole number"),
        "training.0.optimizer.learning_rate": (0.1, "number"),
        "training.1.epsilon": (3.0, "number"),
        "training.1.batch_size": (64, "whole number"),
        "training.1.clipping_norm": (1.0, "number"),
        "training.1.optimizer.learning_rate": (0.02, "number"),
    }
    assert fields["execution.device"].choices == ("auto", "cpu", "cuda")
    asked = {path: field.value for path, field in fields.items()} | {"training.1.epsilon": 1.5}
    assert launching.overrides_of(asked, list(fields.values())) == ["training.1.epsilon=1.5"]


@pytest.mark.parametrize("name", ["../other.toml", "notes.txt", "/etc/passwd", "none.toml", "digits"])
def test_only_what_lies_in_the_operators_folder_can_be_started(place, name, monkeypatch):
    import launching

    monkeypatch.setattr(subprocess, "run", None)
    for call in (launching.read_choice, lambda *at: launching.ask(*at, settings=[], options=["--detach"])):
        with pytest.raises(UsageError, match="choose one that is listed"):
            call(place, name)


@pytest.mark.parametrize(
    "setting", ["data.kind=Module", 'data={kind="Module"}', "--resume=x", "model=1", "explanations.probes.baseline=1"]
)
def test_no_field_that_names_a_file_or_code_can_be_set(place, setting, monkeypatch):
    import launching

    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(UsageError, match="cannot be set from here"):
        launching.ask(place, "one.toml", settings=[setting], options=["--detach"])


PLAN = {
    "jobs": [{"id": "train.jax.Plain.s0", "steps": 90, "noise_multiplier": None, "seconds": None}],
    "together": [{"models": 2, "unit": "example", "epsilon": 4.321, "delta": 1e-5}],
    "skips": [],
    "warnings": ["a <b>warning</b>"],
}


def test_the_page_plans_and_starts_by_the_command_line(place, monkeypatch):
    called = []
    answers = {"--dry-run": PLAN, "--detach": {"run": "one-1", "path": "", "pid": 1}}

    def answer(command, **options):
        if "trustml.cli" not in command:
            return real(command, **options)
        called.append(command)
        found = next((value for option, value in answers.items() if option in command), None)
        refused = any("epochs=0" in word for word in command)
        out, said = (json.dumps(found), "") if not refused else ("", "Error: training.0.epochs: 0 is too small; use 1")
        return subprocess.CompletedProcess(command, 2 if refused else 0, out, said)

    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", answer)
    app = AppTest.from_file(str(APPS / "dashboard.py"), default_timeout=60).run()
    app.switch_page("views/launch.py").run()  # there is no run yet
    assert not app.exception and app.title[0].value == "Launch"
    app.number_input(key="field training.0.epochs").set_value(5)
    app.text_area(key="more").set_value("training.1.epsilon=1,3\n\n")
    plan, start = (next(b for b in app.button if b.label == label) for label in ("Say what it would do", "Start"))
    plan.click().run()
    assert not app.exception and not app.error
    (command,) = called
    assert command[:4] == [sys.executable, "-P", "-m", "trustml.cli"] and command[5] == str(place / "one.toml")
    assert {"--dry-run", "--set=training.0.epochs=5", "--set=training.1.epsilon=1,3", "--backend=jax"} <= set(command)
    assert any("about epsilon 4.33" in str(one.value) for one in app.caption)
    start = next(button for button in app.button if button.label == "Start")
    start.click().run()
    assert "--detach" in called[-1] and "Started one-1" in app.success[0].value.replace("\\", "")
    app.number_input(key="field training.0.epochs").set_value(0)
    next(button for button in app.button if button.label == "Start").click().run()
    assert "0 is too small" in app.error[0].value.replace("\\", "")


def test_what_runs_is_shown_whoever_started_it_and_can_be_ended(place):
    run = as_running(copy_of("private", place.parent / "runs").directory)
    with executed(run) as process:
        app = AppTest.from_file(str(APPS / "dashboard.py"), default_timeout=60).run()
        app.switch_page("views/launch.py").run()
        assert not app.exception
        app.button(key=f"cancel {run.path.name}").click().run()
        assert not app.exception and not app.error
        assert process.wait(timeout=10) == 0
    app.run()
    assert not [button for button in app.button if button.label == "Cancel"]


def test_only_what_was_started_here_is_gone_on_with(place, monkeypatch):
    import launching

    begun = []
    monkeypatch.setattr(launching, "start_detached", begun.append)
    names: set[str] = set()
    monkeypatch.setattr(launching, "_started", lambda: names)
    run = as_running(copy_of("private", place.parent / "runs").directory)  # and nobody executes it
    with pytest.raises(UsageError, match="was not started here; use `trustml run --resume`"):
        launching.go_on(run)
    assert launching.unfinished() == [] and not begun
    answer = subprocess.CompletedProcess([], 0, json.dumps({"run": run.path.name}), "")
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: answer)
    launching.ask(place, "one.toml", settings=[], options=["--detach"])
    (found,) = launching.unfinished()
    launching.go_on(found)
    assert [one.path for one in begun] == [run.path]
    (run.path / "manifest.json").write_text("{")
    assert launching.unfinished() == []


def test_without_the_operators_word_there_is_no_such_page(place, monkeypatch):
    monkeypatch.delenv("TRUSTML_SCENARIOS")
    import launching

    assert launching.scenarios_folder() is None
    copy_of("private", place.parent / "runs")
    app = AppTest.from_file(str(APPS / "dashboard.py"), default_timeout=60).run()
    with pytest.raises(ValueError, match="Could not find a navigation page"):
        app.switch_page("views/launch.py")
