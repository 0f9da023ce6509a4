"""What a run would do: the same jobs and noise that it does, and the times of jobs like its."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from tests.records import copy_of
from trustml import DPSGD, Plain
from trustml.cli.main import _main
from trustml.data.batches import BatchPlan
from trustml.errors import ScenarioError
from trustml.launch import forecast as module
from trustml.launch.drawn_batches import draw_plan
from trustml.launch.forecast import forecast, together_line
from trustml.plan.mechanism import make_charge, plan_mechanism
from trustml.privacy.accounting import epsilon_of, epsilon_with_tuning
from trustml.scenario.read import from_plain
from trustml.scenario.spec import Tuning


@pytest.fixture
def run(tmp_path):
    return copy_of("private", tmp_path)


@pytest.fixture
def scenario(run):
    return from_plain(run.manifest.scenario)


def by_id(found):
    return {job.id: job for job in found.jobs}


def test_it_names_the_jobs_steps_and_noise_of_the_run_and_writes_nothing(run, scenario, tmp_path):
    found = by_id(forecast(scenario, root=tmp_path))
    assert set(found) == {job.id for job in run.manifest.jobs}
    for record in run.manifest.jobs:
        mechanism = getattr(run.directory.job(record.id), "mechanism", None)
        if mechanism is not None:
            assert found[record.id].steps == mechanism.total_steps
            assert found[record.id].noise_multiplier == pytest.approx(mechanism.noise_multiplier)
    assert [path.name for path in tmp_path.iterdir()] == [run.id]


def test_times_are_those_of_jobs_like_it_in_proportion_to_the_steps(run, scenario, tmp_path):
    took = {record.id: record for record in run.manifest.jobs}
    for name, job in by_id(forecast(scenario, root=tmp_path)).items():
        assert (job.seconds, job.earlier) == (pytest.approx(took[name].seconds), 1)
        assert job.memory == took[name].peak_memory
    longer = tuple(
        replace(one, epochs=2 * (one.epochs or 20)) if isinstance(one, Plain | DPSGD) else one
        for one in scenario.training
    )
    found = by_id(forecast(replace(scenario, training=longer), root=tmp_path))
    trained = [name for name in found if name.startswith("train")]
    for name in trained:
        assert found[name].seconds == pytest.approx(2 * took[name].seconds, rel=0.1)


def test_it_tells_what_choosing_in_a_sweep_will_cost(scenario, tmp_path):
    from trustml.scenario.read import overridden

    (alone,) = (one for one in scenario.training if isinstance(one, DPSGD))
    index = scenario.training.index(alone)
    assert forecast(scenario, root=tmp_path).together == ()
    found = forecast(overridden(scenario, [f"training.{index}.optimizer.learning_rate=0.1,0.2,0.3"]), root=tmp_path)
    assert [one.value for one in found.sweep] == [0.1, 0.2, 0.3]
    (together,) = found.together
    noise = {job.noise_multiplier for job in found.jobs if job.noise_multiplier is not None}
    steps = next(job.steps for job in found.jobs if job.noise_multiplier is not None)
    # Independent batches of one rate: three models are three times the steps of one.
    (job,) = (run_job for run_job in found.jobs if run_job.id.startswith("train.jax.DPSGD") and "0_1" in run_job.id)
    assert job.steps == steps and len(noise) == 1 and (together.models, together.unit) == (3, "example")
    longer = replace(alone, epsilon=None, noise_multiplier=noise.pop(), steps=3 * steps, epochs=None)
    expected = epsilon_of([charge_of(longer, examples=found.train_examples)], delta=alone.delta).value
    assert together.epsilon == pytest.approx(expected, rel=1e-6)
    (best,) = forecast(replace(scenario, tuning=Tuning(mean_runs=50)), root=tmp_path).together
    charges = [[charge_of(replace(longer, steps=steps), examples=found.train_examples)]]
    expected = epsilon_with_tuning(charges, runs=50, delta=alone.delta).value
    assert best.models == 1 and best.epsilon == pytest.approx(expected, rel=1e-6)
    assert together_line(best).startswith("1 private model of the best of 50 runs in the mean: about epsilon ")


def charge_of(regime, *, examples):
    plan = BatchPlan(**{name: draw_plan(regime, seed=0, examples=examples)[name] for name in ("indices", "offsets")})
    mechanism = plan_mechanism(regime, field="training.0", examples=examples, plan=plan)
    return make_charge(mechanism, first=0, end=mechanism.steps, plan="one", data="")


def test_what_never_ran_is_unknown(scenario, tmp_path):
    found = forecast(scenario, root=tmp_path / "elsewhere")
    assert found.unknown == len(found.jobs) and found.seconds == 0
    other = tuple(replace(one, batch_size=17) if isinstance(one, DPSGD) else one for one in scenario.training)
    job = next(job for job in forecast(replace(scenario, training=other), root=tmp_path).jobs if "DPSGD" in job.id)
    assert job.seconds is None and job.earlier == 0


def test_a_damaged_run_tells_nothing_and_stops_nothing(run, scenario, tmp_path, monkeypatch):
    (run.path / "manifest.json").write_text("[")
    assert forecast(scenario, root=tmp_path).unknown
    with pytest.raises(ScenarioError):
        forecast(replace(scenario, seeds=(0, 0)), root=tmp_path)
    assert math.isfinite(module._in_proportion(3.0, 0, 5))


def test_the_command_prints_it_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trustml.api.run", lambda *_, **__: pytest.fail("it ran"))
    arguments = ["run", "digits", "--dry-run", "--backend", "jax", "--runs", str(tmp_path / "runs")]
    assert _main(arguments) == 0
    out = capsys.readouterr().out
    assert "1,438 examples to train on, 359 held out; nothing was written" in out
    assert "train.jax.DPSGD.s0" in out and "6 jobs one after another: no earlier run tells how long" in out
    assert "unknown" not in out and max(map(len, out.splitlines())) <= 80
    assert not (tmp_path / "runs").exists()
    assert _main([*arguments, "--json"]) == 0
    assert '"noise_multiplier":2.' in capsys.readouterr().out
    assert _main(["run", "--resume", "x", "--dry-run"]) == 2
