"""The private loop around a trainer that only counts: what it is asked to clip to, and which noise it is given."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from trustml.backends.contract import Clipped
from trustml.backends.settings import EngineChoice
from trustml.data.batches import cyclic_poisson_batches, make_plan
from trustml.data.dataset import Examples
from trustml.data.partition import owners_fingerprint
from trustml.errors import PrivacyError
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.job import Mechanism, TrainJob
from trustml.privacy.ledger import read_ledger
from trustml.privacy.noise_strategy import noise_strategy
from trustml.record.files import encode_arrays
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Execution
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.private import PrivateTraining

ROWS, STEPS = 200, 5
EVERYTHING = make_plan([np.arange(ROWS)] * STEPS)
IN_TURN = make_plan([np.arange(start, ROWS, 2) for start in (0, 1, 0, 1, 0)])
WEIGHTS = {"1.kernel": np.zeros((2, 2), np.float32), "1.bias": np.zeros(2, np.float32)}


class Counting:
    """Finds a share of every piece unclipped, and remembers what it was asked for."""

    choice = EngineChoice(name="counting", seconds={}, refused={})

    def __init__(self, settings, share):
        self.settings, self.share, self.norms, self.noises = settings, share, [], []
        self.shapes, self.finite = [], True

    def accumulate(self, inputs, labels, *, clipping_norm):
        self.norms.append(clipping_norm)
        self.shapes.append((inputs.shape, labels.shape))
        self.finite &= bool(np.isfinite(inputs).all())
        return Clipped(finite=True, unclipped=round(self.share * len(labels)))

    def update(self, *, clipping_norm, noise_multiplier, learning_rate):
        assert clipping_norm == self.norms[-1], "a step is noised at the norm that it was clipped to"
        self.noises.append(noise_multiplier)

    def weights(self):
        return WEIGHTS

    def state(self):
        return {}


def train(folder, regime, *, share=1.0, count_noise=0.0, plan=EVERYTHING, inputs=None, curve=None, **changes):
    """Train on batches of everything, or as planned, and give the trainer and the charges."""
    mechanism = Mechanism(
        noise_multiplier=1.5,
        count_noise=count_noise,
        clipping_norm=2.0,
        sample_rate=1.0,
        expected_batch_size=ROWS,
        examples=ROWS,
        sampling="poisson",
        secret_sampling=True,
        largest_participation=STEPS,
        total_steps=STEPS,
        steps=STEPS,
    )
    mechanism = msgspec.structs.replace(mechanism, **changes)
    job = TrainJob(
        id="train", backend="jax", model=Architecture(layers=(Flatten(), Dense(units=2))), input_shape=(2,),
        execution=Execution(checkpoint_seconds=3600), regime=regime, seed=0, initial_weights="", data="", plan="",
        data_fingerprint="d", mechanism=mechanism, clients="owners.npz" if regime.unit == "user" else "",
    )  # fmt: skip
    inputs = np.zeros((ROWS, 2), np.float32) if inputs is None else inputs
    examples = Examples(inputs=inputs, labels=np.zeros(ROWS, np.int64))
    made = []
    backend = SimpleNamespace(private=lambda model, settings, seed: made.append(Counting(settings, share)) or made[0])
    jobs = folder / "jobs" / "train"
    jobs.mkdir(parents=True)
    progress = Progress(jobs / "events.jsonl")
    at = JobContext(root=folder, folder=jobs, clock=Clock(lambda: None), progress=progress, curve=curve)
    training = PrivateTraining(
        job, backend, SimpleNamespace(weights=WEIGHTS, trained=WEIGHTS), examples, commitment="plan", at=at
    )
    training.run(plan, entropy=())
    return made[0], read_ledger(jobs / "ledger.jsonl")


@pytest.mark.parametrize(("share", "moves"), [(1.0, -0.5), (0.0, 0.5), (0.5, 0.0), (0.75, -0.25)])
def test_adaptive_clipping_moves_towards_the_quantile(tmp_path, share, moves):
    regime = DPSGD(noise_multiplier=1.5, clipping=Adaptive(quantile=0.5, learning_rate=0.4), steps=STEPS)
    trainer, charges = train(tmp_path, regime, share=share, count_noise=1e-6)
    expected = 2.0 * np.exp(0.4 * moves * np.arange(STEPS))
    np.testing.assert_allclose(trainer.norms, expected, rtol=1e-6)
    assert {charge.quantile_noise_multiplier for charge in charges} == {2e-6}, "the sensitivity of the count is 1/2"


def test_the_count_is_noised_as_it_is_charged(tmp_path):
    regime = DPSGD(noise_multiplier=1.5, clipping=Adaptive(quantile=0.5, learning_rate=1.0), steps=STEPS)
    deviations = []
    for number in range(60):
        trainer, _ = train(tmp_path / str(number), regime, share=0.5, count_noise=20.0)
        deviations.append(np.diff(np.log(trainer.norms)) * ROWS)
    found = np.concatenate(deviations).std()
    assert found == pytest.approx(20.0, rel=0.25)  # 240 draws: 4.6 % is one standard deviation of this figure


def test_flat_clipping_stays_and_every_step_has_the_noise_that_is_charged(tmp_path):
    trainer, charges = train(tmp_path, DPSGD(noise_multiplier=1.5, steps=STEPS))
    assert set(trainer.norms) == {2.0} and trainer.noises == [1.5] * STEPS
    assert {charge.noise_multiplier for charge in charges} == {1.5}
    assert sum(charge.steps for charge in charges) == STEPS


BANDED = DPSGD(noise_multiplier=1.5, steps=STEPS, sampling="in turn", mechanism=BandedMatrix())
CORRELATED = {
    "sampling": "in turn", "noise": "banded matrix factorisation", "separation": 2, "largest_participation": 3,
    "steps_per_charge": STEPS,
}  # fmt: skip


def test_correlated_noise_is_charged_whole_and_made_for_the_steps_of_its_attempt(tmp_path):
    trainer, (charge,) = train(tmp_path, BANDED, plan=IN_TURN, **CORRELATED)
    assert (charge.steps, charge.participation, charge.noise) == (STEPS, 3, CORRELATED["noise"])
    assert trainer.settings.noise == noise_strategy(BandedMatrix(), steps=STEPS, separation=2)
    rest, (charge,) = train(tmp_path / "again", BANDED, plan=IN_TURN, attempt=2, **{**CORRELATED, "steps": 2})
    assert (rest.settings.noise.steps, charge.steps, len(rest.noises)) == (2, 2, 2)
    independent, _ = train(tmp_path / "independent", DPSGD(noise_multiplier=1.5, steps=STEPS))
    assert independent.settings.noise is None


@pytest.mark.parametrize("broken", [EVERYTHING, make_plan([np.arange(start, ROWS, 2) for start in (0, 1, 1, 0, 0)])])
def test_batches_out_of_turn_get_no_correlated_noise(tmp_path, broken):
    with pytest.raises(PrivacyError, match="do not come in turn"):
        train(tmp_path, BANDED, plan=broken, **CORRELATED)
    assert read_ledger(tmp_path / "jobs" / "train" / "ledger.jsonl") == []


CYCLIC = DPSGD(noise_multiplier=1.5, steps=STEPS, sampling="cyclic poisson", mechanism=BandedMatrix(bands=2))


def test_amplified_bands_take_batches_of_the_groups_in_turn_and_no_others(tmp_path):
    some = cyclic_poisson_batches(ROWS, groups=2, steps=STEPS, sample_rate=0.9, generator=np.random.default_rng(0))
    numbers = {**CORRELATED, "sampling": "cyclic poisson", "sample_rate": 0.9}
    trainer, (charge,) = train(tmp_path / "good", CYCLIC, plan=some, **numbers)
    assert (charge.sampling, charge.steps, charge.participation) == ("cyclic poisson", STEPS, 3)
    assert trainer.settings.noise == noise_strategy(BandedMatrix(bands=2), steps=STEPS, separation=2)
    mixed = make_plan([some[0], some[0], some[1], some[2], some[3]])
    more = make_plan([np.arange(step, ROWS, STEPS) for step in range(STEPS)])  # as of a group for every step
    for name, plan in (("mixed", mixed), ("more", more)):
        with pytest.raises(PrivacyError, match="do not come in turn"):
            train(tmp_path / name, CYCLIC, plan=plan, **numbers)
    with pytest.raises(PrivacyError, match="larger than those of rate"):
        train(tmp_path / "many", CYCLIC, plan=IN_TURN, **{**numbers, "sample_rate": 0.2})
    assert read_ledger(tmp_path / "mixed" / "jobs" / "train" / "ledger.jsonl") == []


def test_a_strategy_that_needs_more_than_is_charged_is_refused(tmp_path):
    with pytest.raises(PrivacyError, match="needs a participation of 3, and 2 is charged"):
        train(tmp_path, BANDED, plan=IN_TURN, **{**CORRELATED, "largest_participation": 2})


def test_no_two_trainings_have_the_same_noise(tmp_path):
    seeds = {
        train(tmp_path / str(number), DPSGD(noise_multiplier=1.5, steps=STEPS))[0].settings.noise_seed
        for number in range(8)
    }
    assert len(seeds) == 8


OWNERS = np.arange(ROWS) % 50
USERS = {"examples": 50, "expected_batch_size": 50, "unit": "user", "users": owners_fingerprint(OWNERS)}
EVERYBODY = make_plan([np.arange(50)] * STEPS)
OF_USERS = DPSGD(noise_multiplier=1.5, steps=STEPS, unit="user", key="person", rows_per_user=3)


def write_owners(folder, owners):
    folder.mkdir(exist_ok=True)
    (folder / "owners.npz").write_bytes(encode_arrays({"owners": owners}))


def test_a_step_of_users_sees_so_many_rows_of_each_and_is_charged_for_users(tmp_path):
    write_owners(tmp_path, OWNERS)
    trainer, charges = train(tmp_path, OF_USERS, plan=EVERYBODY, **USERS)
    assert trainer.settings.rows_of_users and trainer.settings.multiplicity == 3
    assert set(trainer.shapes) == {((50, 3, 2), (50, 3))}
    assert {(one.unit, one.users, one.examples) for one in charges} == {("user", USERS["users"], 50)}
    assert sum(one.steps for one in charges) == STEPS


def test_looks_at_the_curve_follow_public_numbers_and_not_what_users_hold(tmp_path):
    rows = []
    for owners in (OWNERS, np.maximum(OWNERS - 30, 0)):  # four rows each, and most of all those of one
        folder = tmp_path / str(len(rows))
        write_owners(folder, owners)
        users = {**USERS, "users": owners_fingerprint(owners)}
        train(folder, OF_USERS, plan=EVERYBODY, curve=SimpleNamespace(plan=lambda **told: rows.append(told["rows"]),
            look=lambda *_: None), **users)  # fmt: skip
    assert rows == [50 * 3 * STEPS] * 2


def test_a_division_into_other_users_is_refused_before_a_step(tmp_path):
    write_owners(tmp_path, np.roll(OWNERS, 1))
    with pytest.raises(PrivacyError, match="is not the partition whose users"):
        train(tmp_path, OF_USERS, plan=EVERYBODY, **USERS)


def test_a_user_of_whom_nothing_is_finite_is_left_out_and_others_stay(tmp_path):
    write_owners(tmp_path, OWNERS)
    inputs = np.zeros((ROWS, 2), np.float32)
    inputs[OWNERS == 7] = np.nan
    inputs[8] = np.inf
    trainer, _ = train(tmp_path, OF_USERS, plan=EVERYBODY, inputs=inputs, **USERS)
    assert set(trainer.shapes) == {((49, 3, 2), (49, 3))}
    assert trainer.finite, "a row that is not finite never reaches a gradient"
    with np.load(tmp_path / "private" / "counts" / "train.npz") as counts:
        assert counts["not_finite_examples"].tolist() == [1] * STEPS
