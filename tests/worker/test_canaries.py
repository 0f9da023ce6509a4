"""Private trainings with canaries, in this process: what shows, what is left behind, what is never used twice."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.attacks.canaries import DiracDirections, SignDirections
from trustml.backends.settings import Clipped, EngineChoice
from trustml.backends.table import load_backend
from trustml.data.batches import make_plan
from trustml.errors import PrivacyError
from trustml.launch.prepare import prepare_run
from trustml.launch.resume import prepare_resume
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.job import Mechanism, decode_job
from trustml.privacy.ledger import read_ledger
from trustml.scenario.attacks import Attacks, Canaries
from trustml.scenario.clipping import PerLayer
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID, PoissonCohort
from trustml.scenario.regimes import DPSGD
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Explanations, Scenario
from trustml.worker.canaries import train_with_canaries
from trustml.worker.canary_insertion import CanaryTrainer, strength_of, unflat
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress

LIKE = {"0.kernel": np.zeros((2, 8), np.float32), "0.bias": np.zeros(4, np.float32)}


def auc(included, scores):
    """Probability that a canary that was there has a larger score than one that was not."""
    return float((scores[included][:, None] > scores[~included]).mean())


class FakeTrainer:
    """Adds up in float64, with noise of its own; `examples` is what every batch comes to."""

    choice = EngineChoice(name="fake", seconds={}, refused={})

    def __init__(self, examples, *, batch_size):
        self._examples, self._size, self._noise = examples, batch_size, np.random.default_rng(0)
        self._sum = np.zeros(20)

    def accumulate(self, inputs, labels, *, clipping_norm):
        self._sum += self._examples
        return Clipped(finite=True, unclipped=0)

    def plant(self, gradients, *, clipping_norm):
        rows = np.concatenate([part.reshape(len(part), -1) for part in gradients.values()], axis=1)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        self._sum += (rows * np.minimum(1, clipping_norm / lengths)).sum(axis=0)

    def clipped_sum(self):
        return {name: part[0] for name, part in unflat(self._sum[None], like=LIKE).items()}

    def update(self, *, clipping_norm, noise_multiplier, learning_rate):
        noise = noise_multiplier * clipping_norm * self._noise.normal(size=20)
        self._gradient, self._sum = (self._sum + noise) / self._size, np.zeros(20)

    def gradient(self):
        return {name: part[0] for name, part in unflat(self._gradient[None], like=LIKE).items()}

    def weights(self):
        return LIKE


def watched(directions, *, noise, examples=0.0, steps=40):
    """Evidence of a training in which the even canaries are, joining every other step."""
    there = np.arange(0, directions.count, 2)
    joins = make_plan([there if step % 2 else there[:0] for step in range(steps)])
    mechanism = Mechanism(
        noise_multiplier=noise,
        clipping_norm=3.0,
        sample_rate=0.5,
        expected_batch_size=10,
        examples=20,
        sampling="poisson",
        secret_sampling=True,
        largest_participation=steps,
        total_steps=steps,
        steps=steps,
    )
    trainer = CanaryTrainer(
        FakeTrainer(np.full(20, examples), batch_size=10),
        directions=directions,
        joins=joins,
        mechanism=mechanism,
        rate=0.5,
        strength=1.0,
    )
    for _ in range(steps):
        trainer.accumulate(np.zeros((1, 1)), np.zeros(1), clipping_norm=3.0)
        trainer.update(clipping_norm=3.0, noise_multiplier=noise, learning_rate=0.1)
    return trainer.evidence


@pytest.mark.parametrize(
    "directions", [DiracDirections(np.arange(12), 20), SignDirections((1, 2, 3, 4), count=4, size=20)]
)
def test_evidence_tells_who_is_there_whatever_the_examples_add(directions):
    there = np.arange(directions.count) % 2 == 0
    found = watched(directions, noise=0.7)
    assert found[there].min() > 0 > found[~there].max()
    # The noise is the same, so what examples add changes nothing but rounding.
    np.testing.assert_allclose(watched(directions, noise=0.7, examples=50.0), found, atol=1e-3)


def test_a_canary_clipped_per_layer_is_as_long_as_said():
    for directions in (DiracDirections(np.arange(20), 20), SignDirections((5, 6, 7, 8), count=20, size=20)):
        rows = directions.rows(np.arange(20)).astype(np.float64)
        each = 1 / np.sqrt(2)
        parts = [rows[:, :16], rows[:, 16:]]
        clipped = np.concatenate(
            [p * np.minimum(1, each / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-9)) for p in parts],
            axis=1,
        )
        lengths = (clipped * rows).sum(axis=1)
        assert strength_of(directions, LIKE, per_layer=False) == 1.0
        assert abs(strength_of(directions, LIKE, per_layer=True) - lengths.mean()) < 1e-6


DPFEDAVG = {"partition": IID(clients=40), "cohort": PoissonCohort(clients=8), "rounds": 16, "batch_size": 64}


def prepare(tmp_path, kind, count, *, regime):
    scenario = Scenario(
        name="canaries",
        data=Digits(test_fraction=0.8),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        training=(regime,),
        backends=("jax",),
        explanations=Explanations(methods=()),
        attacks=Attacks(canaries=(Canaries(kind=kind, count=count),)),
    )
    run = prepare_run(scenario, root=tmp_path)
    (name,) = (record.id for record in run.manifest().jobs if record.kind == "canary")
    return run, name


def work(run, name):
    """Do the job here; give its coins and scores."""
    backend, folder = load_backend("jax"), run.job_folder(name)
    device = backend.open_device("cpu", 1)
    job = decode_job((folder / "job.json").read_bytes())
    at = JobContext(
        root=run.path, folder=folder, clock=Clock(device.synchronize), progress=Progress(folder / "events.jsonl")
    )
    library = train_with_canaries(job, backend, at=at)
    assert library == "trustml on JAX"
    found = run.arrays(job.output)
    np.testing.assert_array_equal(found["included"], run.arrays(job.chosen)["included"])
    assert run.file(job.output).stat().st_mode & 0o077 == 0
    return found["included"], found["scores"]


@pytest.mark.jax
@pytest.mark.parametrize(
    ("kind", "count", "noise", "settings"),
    [
        ("dirac gradient", 300, 0.05, {}),
        ("dirac gradient", 300, 20.0, {}),
        pytest.param("dirac gradient", 200, 0.05, {"clipping": PerLayer()}, marks=pytest.mark.long),
        ("random gradient", 60, 0.05, {"sampling": "shuffle"}),
        pytest.param("random gradient", 60, 0.05, {"sampling": "in turn"}, marks=pytest.mark.long),
    ],
)
def test_without_noise_gradients_show_and_with_much_they_do_not(tmp_path, kind, count, noise, settings):
    regime = DPSGD(noise_multiplier=noise, epochs=6, batch_size=36, optimizer=SGD(learning_rate=0.01), **settings)
    run, name = prepare(tmp_path, kind, count, regime=regime)
    found = auc(*work(run, name))
    if noise < 1:
        assert found > 0.97  # one in 400 never joins a step
    else:
        assert abs(found - 0.5) < 5 * (1 / 3 / count) ** 0.5  # five standard deviations of the AUC of pure chance
    assert {path.name for path in run.job_folder(name).iterdir()} == {"job.json", "events.jsonl", "ledger.jsonl"}
    assert not any("checkpoints" in path.parts for path in run.path.rglob("*.npz"))


@pytest.mark.jax
def test_examples_show_in_their_loss(tmp_path):
    regime = DPSGD(noise_multiplier=0.02, clipping_norm=5.0, epochs=20, batch_size=36, optimizer=SGD(learning_rate=2.0))
    # 0.90 to 1.00 in four trials; by chance 0.5, give or take 0.09.
    assert auc(*work(*prepare(tmp_path, "out-of-distribution", 40, regime=regime))) > 0.75


@pytest.mark.jax
def test_updates_show_in_the_final_model(tmp_path):
    regime = DPFedAvg(noise_multiplier=0.05, clipping_norm=0.5, **DPFEDAVG)
    run, name = prepare(tmp_path, "random update", 40, regime=regime)
    # 0.85 to 0.99 are seen at this noise; of 40 secret coins that told nothing, one in two hundred would pass
    assert auc(*work(run, name)) > 0.75
    assert not (run.job_folder(name) / "history.npz").exists()


@pytest.mark.jax
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "regime"),
    [
        ("out-of-distribution", DPSGD(noise_multiplier=30.0, epochs=6, batch_size=36)),
        ("random update", DPFedAvg(noise_multiplier=30.0, clipping_norm=0.5, **DPFEDAVG)),
    ],
)
def test_behind_much_noise_neither_examples_nor_updates_show(tmp_path, kind, regime):
    found = auc(*work(*prepare(tmp_path, kind, 300, regime=regime)))
    assert abs(found - 0.5) < 5 * (1 / 3 / 300) ** 0.5  # five standard deviations of the AUC of pure chance


@pytest.mark.jax
def test_a_training_that_broke_off_begins_anew_with_other_coins(tmp_path):
    regime = DPSGD(noise_multiplier=1.0, epochs=1, batch_size=72)
    run, name = prepare(tmp_path, "dirac gradient", 100, regime=regime)
    job = decode_job((run.job_folder(name) / "job.json").read_bytes())
    before, plan = run.arrays(job.chosen), run.file(job.training.plan).read_bytes()
    prepare_resume(run, allow_overrun=False)
    assert run.file(job.training.plan).read_bytes() == plan, "it had not begun, so nothing was used yet"
    work(run, name)
    with pytest.raises(PrivacyError, match="an earlier attempt used these batches"):
        work(run, name)
    prepare_resume(run, allow_overrun=False)
    after = run.arrays(job.chosen)
    assert (after["included"] != before["included"]).any()
    assert (after["coordinates"] != before["coordinates"]).any()
    assert run.file(job.training.plan).read_bytes() != plan
    work(run, name)
    ledger = read_ledger(run.job_folder(name) / "ledger.jsonl")
    assert {entry.attempt for entry in ledger} == {1, 2}
    assert sum(entry.steps for entry in ledger) == 2 * job.training.mechanism.total_steps
