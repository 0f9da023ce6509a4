"""Private trainings killed at random moments, again and again: nothing is lost from the count, nothing is replayed.

``TRUSTML_KILLS=200`` makes it the long test (``make test-kills``); by default 3 kills of JAX, and with
``TRUSTML_TESTS=all`` 15 over the three backends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

import trustml
from tests import WHOLE
from tests.records.make import DENSE
from trustml.conformance import ExecutedStep, TrainingRecord, check_training
from trustml.launch.environments import find_environment
from trustml.launch.prepare import prepare_run
from trustml.launch.resume import prepare_resume
from trustml.plan.job import checkpoint_file, decode_job
from trustml.plan.switches import switch_variables
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import read_ledger
from trustml.privacy.noise_strategy import NoiseStream, noise_strategy
from trustml.privacy.rounding import summation_rounding
from trustml.record.checkpoint import checkpoint_step
from trustml.record.files import read_arrays
from trustml.record.store import RunDirectory
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, TreeAggregation
from trustml.scenario.spec import BACKEND_NAMES, Explanations

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KILLS = int(os.environ.get("TRUSTML_KILLS", "15" if WHOLE else "9"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 30 * KILLS)]


class Trainer:
    """One private job, started, killed and resumed."""

    def __init__(self, run: RunDirectory, backend: str) -> None:
        self.run, self.id = run, f"train.{backend}.DPSGD.s0"
        self.folder, self.trace = run.job_folder(self.id), run.path / "trace.jsonl"
        self.python = find_environment(backend).require()
        self.trace.touch()

    def start(self) -> subprocess.Popen:
        job = decode_job((self.folder / "job.json").read_bytes())
        variables = {"PYTHONPATH": f"{ROOT / 'src'}", "TF_CPP_MIN_LOG_LEVEL": "2", **switch_variables(job.execution)}
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [self.python, HERE / "traced.py", self.folder, self.trace],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def seen(self) -> int:
        return self.trace.read_bytes().count(b"\n")

    def lines(self) -> list[dict]:
        *whole, _ = self.trace.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole]

    def executed(self) -> list[ExecutedStep]:
        steps = [line for line in self.lines() if "begin" not in line]
        return [ExecutedStep(**{**step, "noise": tuple(step["noise"])}) for step in steps]

    def begun(self) -> Counter:
        return Counter(line["begin"] for line in self.lines() if "begin" in line)

    def charges(self):
        return read_ledger(self.folder / "ledger.jsonl")


def kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def kill_within(trainer: Trainer, process: subprocess.Popen, *, steps: int, seconds: float) -> bool:
    """Kill after so many more steps and then some; False if it ended first."""
    seen, deadline = trainer.seen(), time.monotonic() + 120
    while process.poll() is None and trainer.seen() < seen + steps:
        assert time.monotonic() < deadline, (trainer.folder / "log.txt").read_text()[-2000:]
        time.sleep(0.01)
    time.sleep(seconds)
    ended = process.poll() is not None
    kill(process)
    return not ended


@pytest.mark.parametrize(
    "backend", [name if name == "jax" else pytest.param(name, marks=pytest.mark.long) for name in BACKEND_NAMES]
)
def test_random_kills_lose_no_charge_and_replay_nothing(tiny, tmp_path, backend):
    # Too long to end between two kills.
    regime = msgspec.structs.replace(tiny.training[1], epochs=None, steps=20_000, batch_size=16)
    execution = msgspec.structs.replace(tiny.execution, checkpoint_seconds=0.05, threads=1)
    scenario = msgspec.structs.replace(
        tiny,
        data=msgspec.structs.replace(tiny.data, test_fraction=0.9),
        model=tiny.model if WHOLE else DENSE,
        training=(regime,),
        backends=(backend,),
        execution=execution,
        explanations=Explanations(methods=()),
    )
    run = prepare_run(scenario, root=tmp_path)
    trainer = Trainer(run, backend)
    generator = random.Random(os.urandom(8))
    epsilons, kept = [0.0], [0]
    for life in range(KILLS // 3):
        process = trainer.start()
        steps = 60 if life < 2 else generator.choice((0, 1, 2, 5, 20, 60))  # two lives are sure to be charged for
        assert kill_within(trainer, process, steps=2 * steps, seconds=generator.random() * 0.3)
        charges = trainer.charges()
        epsilons.append(epsilon_of(charges, delta=1e-5).value if charges else 0.0)
        job = decode_job((trainer.folder / "job.json").read_bytes())
        kept.append(checkpoint_step(run.file(checkpoint_file(job))))
        _mark_killed(run)
        prepare_resume(run, allow_overrun=True)
    record = TrainingRecord(steps=trainer.executed(), charges=trainer.charges())
    assert [finding for finding in check_training(record) if not finding.passed] == []
    paid: Counter = Counter()
    for charge in trainer.charges():
        paid[charge.attempt] += charge.steps
    assert all(count <= paid[attempt] for attempt, count in trainer.begun().items()), "begun before it was charged"
    assert epsilons == sorted(epsilons), "epsilon never falls"
    assert kept == sorted(kept) and kept[-1] > 0, "a checkpoint is never lost"
    assert len({charge.attempt for charge in trainer.charges()}) > 1
    assert len(record.steps) > KILLS, "each life took steps"


@pytest.mark.long
def test_a_resumed_training_ends_with_all_its_steps(tiny, tmp_path):
    """Killed once in the middle, then run to its end by the ordinary resume: statement and verification hold."""
    regime = msgspec.structs.replace(tiny.training[1], epochs=None, steps=250, noise_multiplier=None, epsilon=6.0)
    execution = msgspec.structs.replace(tiny.execution, checkpoint_seconds=0.05)
    scenario = msgspec.structs.replace(tiny, training=(regime,), backends=("torch",), execution=execution)
    run = prepare_run(scenario, root=tmp_path)
    trainer = Trainer(run, "torch")
    assert kill_within(trainer, trainer.start(), steps=125, seconds=0.1)
    spent = sum(charge.steps for charge in trainer.charges())
    _mark_killed(run)
    resumed = trustml.resume(run.path)
    assert resumed.status == "success", [(r.id, r.reason) for r in resumed.manifest.jobs]
    (statement,) = resumed.privacy()
    assert statement.attempts == 2 and statement.epsilon <= 6.0
    assert spent < statement.steps <= 290, "the checkpoint saved what was done"
    notes = resumed.manifest.jobs[0].result.notes
    assert any("batch parity" in note for note in notes)
    if statement.steps < 250 + spent - 90:
        assert any("stopped after" in note for note in notes)


CORRELATED = {
    "tree": TreeAggregation(),
    "banded": BandedMatrix(),
    "blt": BufferedToeplitz(),
    "cyclic": BandedMatrix(bands=4),
}


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("jax", "cyclic"),
        *(pytest.param("jax", name, marks=pytest.mark.long) for name in ("tree", "blt", "banded")),
        pytest.param("torch", "cyclic", marks=pytest.mark.long),
        pytest.param("tensorflow", "blt", marks=pytest.mark.long),
    ],
)
def test_a_resume_under_correlated_noise_begins_another_mechanism_that_is_composed(tiny, tmp_path, backend, name):
    regime = msgspec.structs.replace(
        tiny.training[1], noise_multiplier=1000.0 if name == "tree" else 60.0, epochs=None, steps=5000, batch_size=16,
        sampling="cyclic poisson" if name == "cyclic" else "in turn", mechanism=CORRELATED[name],
    )  # fmt: skip
    execution = msgspec.structs.replace(tiny.execution, checkpoint_seconds=0.05, threads=1)
    scenario = msgspec.structs.replace(
        tiny,
        data=msgspec.structs.replace(tiny.data, test_fraction=0.9),
        model=tiny.model if WHOLE else DENSE,
        training=(regime,),
        backends=(backend,),
        execution=execution,
        explanations=Explanations(methods=()),
    )
    run = prepare_run(scenario, root=tmp_path)
    trainer = Trainer(run, backend)
    strategies, epsilons = [], []
    for life in range(2):
        job = decode_job((trainer.folder / "job.json").read_bytes())
        mechanism = job.mechanism
        strategies.append(noise_strategy(regime.mechanism, steps=mechanism.steps, separation=mechanism.separation))
        assert kill_within(trainer, trainer.start(), steps=2 * 40, seconds=0.05)
        charges = trainer.charges()
        assert len(charges) == life + 1, "the whole mechanism is one charge, ahead of its first step"
        assert charges[-1].steps == mechanism.steps == 5000 - mechanism.start_step
        assert charges[-1].participation == strategies[-1].participation
        assert all(charges[-1].noise == charge.noise != "independent" for charge in charges)
        epsilons.append(epsilon_of(charges, delta=1e-5).value)
        _mark_killed(run)
        prepare_resume(run, allow_overrun=True)
    assert kept_steps(run, trainer) > 0, "weights are gone on with, vectors are not"
    record = TrainingRecord(steps=trainer.executed(), charges=trainer.charges())
    assert [finding for finding in check_training(record) if not finding.passed] == []
    assert epsilons == sorted(epsilons) and len(set(epsilons)) == 2, "each life is composed with those before"
    for attempt, strategy in enumerate(strategies, start=1):
        noise = np.array([step.noise for step in record.steps if step.attempt == attempt])
        factor = np.linalg.inv(noise_matrix_of_first(strategy, len(noise)))
        white = factor @ noise / (1 + summation_rounding(16))
        assert abs((white**2).mean() - 1) < 6 * (2 / white.size) ** 0.5, "C times the noise of an attempt is white"
        shares = white[1:] * white[:-1]
        assert abs(shares.mean()) < 6 / shares.size**0.5, "it goes on with no vector of the attempt before"
    arrays = read_arrays(run.file(checkpoint_file(job)))
    assert {key.split("/")[0] for key in arrays} <= {"step", "clipping_norm", "weights", "state", "average"}


def noise_matrix_of_first(strategy, steps: int) -> np.ndarray:
    """First rows and columns of the noise matrix."""
    stream = NoiseStream(strategy, steps, dtype=np.float64)
    return np.stack([stream.take(row) for row in np.eye(steps)])


def kept_steps(run: RunDirectory, trainer: Trainer) -> int:
    job = decode_job((trainer.folder / "job.json").read_bytes())
    return checkpoint_step(run.file(checkpoint_file(job)))


def _mark_killed(run: RunDirectory) -> None:
    manifest = run.manifest()
    jobs = tuple(msgspec.structs.replace(record, status="signal", reason="killed") for record in manifest.jobs)
    run.write_manifest(msgspec.structs.replace(manifest, jobs=jobs, status="partial"))
