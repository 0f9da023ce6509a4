"""A private tuning: a random number of runs, of which the best alone is left and says what choosing it cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import trustml
from tests.cli.test_cli import called
from tests.records import unasked_second_opinion
from trustml import api
from trustml.data import streams
from trustml.errors import ScenarioError, UsageError
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.scenario.read import tuning_scenarios
from trustml.scenario.regimes import DPSGD

GRID = ["training.0.optimizer.learning_rate=0.001,0.5"]


@pytest.fixture
def scenario(tiny):
    return replace(
        tiny,
        backends=("jax",),
        training=(DPSGD(noise_multiplier=2.0, epochs=1, batch_size=64),),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        explanations=replace(tiny.explanations, methods=()),
    )


class Drawn:
    """A generator whose draws are known."""

    def __init__(self, runs: int, choices: list[int]) -> None:
        self.runs, self.choices, self.mean = runs, iter(choices), 0.0

    def poisson(self, mean: float) -> int:
        self.mean = mean
        return self.runs

    def integers(self, most: int) -> int:
        assert most == 2
        return next(self.choices)


class Ran:
    """Runs that only leave a folder and a score."""

    def __init__(self, scores: list[float], statuses: list[str] | None = None) -> None:
        self.scores, self.statuses, self.asked = scores, statuses or ["success"] * len(scores), []

    def __call__(self, scenario, *, out, listener, progress):
        assert progress is False  # nobody may see how many there are
        number = len(self.asked)
        self.asked.append((scenario, Path(out)))
        path = Path(out) / f"tiny-{number}"
        path.mkdir()
        return type(
            "Ran", (), {"status": self.statuses[number], "path": path, "measures": lambda _: self.table(number)}
        )()

    def table(self, number: int):
        import pandas as pd

        return pd.DataFrame({"measure": ["accuracy"], "value": [self.scores[number]]})


def tuned(monkeypatch, scenario, folder, drawn: Drawn, ran: Ran):
    monkeypatch.setattr(streams, "secret_generator", lambda: drawn)
    monkeypatch.setattr(api, "run", ran)
    return trustml.tune(scenario, grid=GRID, mean_runs=3.5, out=folder)


def test_the_best_alone_is_left_and_nothing_tells_how_many_there_were(monkeypatch, scenario, tmp_path):
    drawn, ran = Drawn(4, [0, 1, 1, 0]), Ran([0.2, 0.7, 0.8, np.nan])
    best = tuned(monkeypatch, scenario, tmp_path, drawn, ran)
    assert drawn.mean == 3.5 and len(ran.asked) == 4
    rates = [one.training[0].optimizer.learning_rate for one, _ in ran.asked]
    assert rates == [0.001, 0.5, 0.5, 0.001]
    for one, folder in ran.asked:
        assert one.tuning.mean_runs == 3.5 and one.tuning.tried == {"optimizer.learning_rate": (0.001, 0.5)}
        assert one.training[0].title == "DPSGD" and folder.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-2"] and best.path == tmp_path / "tiny-2"


def test_where_no_run_is_drawn_nothing_is_released(monkeypatch, scenario, tmp_path):
    assert tuned(monkeypatch, scenario, tmp_path, Drawn(0, []), Ran([])) is None
    assert list(tmp_path.iterdir()) == []


def test_the_best_of_an_interrupted_tuning_is_not_kept(monkeypatch, scenario, tmp_path):
    ran = Ran([0.9, 0.1, 0.1], ["success", "interrupted", "success"])
    with pytest.raises(KeyboardInterrupt):
        tuned(monkeypatch, scenario, tmp_path, Drawn(3, [0, 0, 0]), ran)
    assert list(tmp_path.iterdir()) == [] and len(ran.asked) == 2


@pytest.mark.parametrize(
    ("grid", "change", "words"),
    [
        ("training.0.batch_size=8,16", {}, "must cost alike"),
        ("training.0.epsilon=1,3", {}, "must cost alike"),
        ("training.0.optimizer.learning_rat=1,2", {}, "did you mean learning_rate"),
        ("training.0.optimizer.learning_rate=1,2", {"seeds": (0, 1)}, "seeds: has 2 items"),
        ("training.0.optimizer.learning_rate=1,2", {"training": (trustml.Plain(),)}, "not private"),
        ("training.0.optimizer.learning_rate=1", {}, "several values"),
    ],
)
def test_what_would_cost_otherwise_than_is_stated_is_refused(scenario, grid, change, words):
    with pytest.raises((ScenarioError, UsageError), match=words):
        tuning_scenarios(replace(scenario, **change), [grid], mean_runs=3)


@pytest.mark.parametrize("mean_runs", [0.5, 1e30, float("nan")])
def test_a_mean_whose_cost_nobody_knows_is_refused_before_anything_runs(monkeypatch, scenario, tmp_path, mean_runs):
    ran = Ran([])
    monkeypatch.setattr(api, "run", ran)
    with pytest.raises(ScenarioError, match=r"tuning\.mean_runs.*1 <= mean_runs <= 1000"):
        trustml.tune(scenario, grid=GRID, mean_runs=mean_runs, out=tmp_path / "runs")
    assert ran.asked == [] and not (tmp_path / "runs").exists()


def test_no_run_finds_what_an_earlier_one_compiled(scenario):
    """Else the programs at hand, which are released, tell that there was one."""
    for kept in ("off", "run", "user"):
        execution = replace(scenario.execution, compilation_cache=kept)
        found = tuning_scenarios(replace(scenario, execution=execution), GRID, mean_runs=3)
        assert {one.execution.compilation_cache for one in found} == {"run" if kept == "user" else kept}


def test_a_field_has_one_grid(scenario):
    with pytest.raises(ScenarioError, match="is named by two grids"):
        tuning_scenarios(scenario, [*GRID, "training.*.optimizer.learning_rate=1,2"], mean_runs=3)


def test_options_that_do_not_go_together_are_refused():
    for more in (["--dry-run"], ["--detach"], []):
        grid = ["--grid", GRID[0]] if more else []
        done = called("run", "digits", "--tune", "3", *grid, *more)
        assert done.returncode == 2 and "--tune goes with --grid" in done.stderr


@pytest.mark.jax
@pytest.mark.long
def test_the_statement_tells_what_choosing_cost(monkeypatch, scenario, tmp_path):
    import trustml.launch.prepare

    monkeypatch.setattr(streams, "secret_generator", lambda: Drawn(2, [0, 1]))
    with unasked_second_opinion():
        run = trustml.tune(scenario, grid=GRID, mean_runs=3.5, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [run.id]
    (statement,) = run.privacy()
    table = run.measures().set_index("measure").value
    assert table["epsilon"] == table["epsilon_all_releases"] == statement.epsilon > table["epsilon_single_run"]
    assert "RepeatAndSelect" in statement.hyperparameter_tuning
    assert any("settings chosen in a sweep" in one for one in statement.not_covered)
    answers = [one.text for one in run.summary() if one.question == "sweep"]
    assert len(answers) == 1 and "the best of a random number of runs" in answers[0]
