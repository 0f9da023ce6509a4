"""Rounds of clients that are private by themselves: charged before anything is sent, by plans that are theirs alone."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from tests.plan.test_client_mechanism import CLIENTS, COHORTS, EXAMPLES, LOCAL, ROUNDS, SILO, SIZES, STEPS, rounds_for
from trustml.data.batches import BatchPlan
from trustml.data.clients import rounds_visited
from trustml.data.dataset import Examples
from trustml.data.partition import owners_fingerprint
from trustml.errors import PrivacyError
from trustml.models.layers import Architecture, Dense
from trustml.plan.client_mechanism import plan_client_mechanism
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import read_ledger
from trustml.record.files import encode_arrays
from trustml.scenario.partition import Everyone, FixedCohort
from trustml.scenario.spec import Execution
from trustml.worker import job_context, private_clients
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.private_clients import LocalClient, PrivateClientsDriver, Server

WEIGHTS = {"0.kernel": np.zeros((2, 2), np.float32), "0.bias": np.zeros(2, np.float32)}
OWNERS = np.repeat(np.arange(CLIENTS), SIZES)


class Sender:
    """Sends ones, and remembers how much was charged as each client was asked."""

    choice, left_out = None, 0

    def __init__(self, ledger):
        self.ledger, self.paid, self.sizes = ledger, [], []

    def send(self, weights, batches):
        self.paid.append(sum(charge.steps for charge in read_ledger(self.ledger)))
        self.sizes.append(len(batches))
        return {name: np.ones_like(part) for name, part in weights.items()}


class Nobody:
    def __init__(self, *_, **__):
        for name in ("rounds", "score", "loss", "client_mean", "client_tenth", "client_worst", "client_best"):
            setattr(self, name, [])

    def at_round(self, number, weights):
        self.rounds.append(number)


@pytest.fixture
def train(tmp_path, monkeypatch):
    folder = tmp_path / "jobs" / "train"
    folder.mkdir(parents=True)
    sender = Sender(folder / "ledger.jsonl")
    monkeypatch.setattr(PrivateClientsDriver, "_client", lambda self: sender)
    monkeypatch.setattr(private_clients, "Look", Nobody)

    def run(regime, plan, *, owners=OWNERS, commitment="plan", planned=None, **changes):
        mechanism = plan_client_mechanism(
            regime, field="training.0", examples=EXAMPLES, clients=CLIENTS, plan=planned or plan,
            users=owners_fingerprint(OWNERS),
        )  # fmt: skip
        job = TrainJob(
            id="train", backend="jax", model=Architecture(layers=(Dense(units=2),)), input_shape=(2,),
            execution=Execution(), regime=regime, seed=0, initial_weights="", data="", plan="", data_fingerprint="d",
            mechanism=replace(mechanism, **changes), clients="owners.npz",
        )  # fmt: skip
        arrays = {"owners": owners, "names": np.array([f"c{k}" for k in range(CLIENTS)])}
        (tmp_path / "owners.npz").write_bytes(encode_arrays(arrays))
        (tmp_path / "private").mkdir(exist_ok=True)
        at = JobContext(
            root=tmp_path, folder=folder, clock=Clock(lambda: None), progress=Progress(folder / "events.jsonl")
        )
        examples = Examples(inputs=np.zeros((EXAMPLES, 2), np.float32), labels=np.zeros(EXAMPLES, np.int64))
        model = SimpleNamespace(weights=WEIGHTS, trained=WEIGHTS)
        driver = PrivateClientsDriver(job, None, model, examples, commitment=commitment, at=at)
        return driver.run(plan), sender, read_ledger(folder / "ledger.jsonl")

    return run


@pytest.mark.parametrize("cohort", COHORTS, ids=repr)
@pytest.mark.parametrize("regime", [SILO, LOCAL], ids=["silo", "local"])
def test_no_client_sends_before_all_of_its_steps_are_charged(train, cohort, regime):
    plan = rounds_for(cohort)
    trained, sender, charges = train(replace(regime, cohort=cohort), plan)
    each = STEPS if regime is SILO else 1
    visits, done = plan.visits, np.zeros(CLIENTS, int)
    for client, paid in zip(visits, sender.paid, strict=True):
        done[client] += each
        assert paid >= done[client]
    if regime is SILO:
        assert sum(charge.steps for charge in charges) == done.max()
        assert set(sender.sizes) == {STEPS}, "whatever a client holds, it takes the same steps"
    else:
        assert sum(charge.participation for charge in charges) >= rounds_visited(plan, CLIENTS).max()
    rounds_with_somebody = int((np.diff(plan.rounds) > 0).sum())
    np.testing.assert_allclose(trained.weights["0.bias"], rounds_with_somebody, rtol=1e-6)


def test_progress_tells_of_no_more_steps_than_are_charged_or_a_resume_would_miss_some(train, monkeypatch):
    monkeypatch.setattr(job_context, "_SECONDS_BETWEEN", 0.0)  # else the first round and the last are told alone
    regime = replace(SILO, local_steps=1, cohort=FixedCohort(clients=3))
    _, sender, charges = train(regime, rounds_for(regime.cohort, steps=1))
    told = [json.loads(line) for line in (sender.ledger.parent / "events.jsonl").read_text().splitlines()]
    assert len(told) == ROUNDS
    assert max(one["step"] for one in told) == sum(charge.steps for charge in charges) < ROUNDS


def test_the_mean_is_over_those_that_sent_and_of_nobody_nothing_changes():
    server = Server(replace(SILO, server_momentum=0.5), WEIGHTS)
    server.step([])
    np.testing.assert_array_equal(server.weights["0.bias"], 0.0)
    server.step(
        [{name: part + 1 for name, part in WEIGHTS.items()}, {name: part + 3 for name, part in WEIGHTS.items()}]
    )
    np.testing.assert_array_equal(server.weights["0.bias"], 2.0)
    server.step([{name: part + 1 for name, part in WEIGHTS.items()}])
    np.testing.assert_array_equal(server.weights["0.bias"], 4.0)


def test_an_update_that_is_not_finite_is_left_out_and_counted():
    """What is sent then is noise alone; who adds noise to one update measures no way to clip examples."""
    asked = []

    class Trainer:
        def restore(self, weights, state):
            self.present = dict(weights)

        def step(self, inputs, labels, *, learning_rate):
            self.present = {name: part + np.float32(inputs[0, 0]) for name, part in self.present.items()}

        def plant(self, gradients, *, clipping_norm):
            self.present = {name: part - gradients[name][0] for name, part in self.present.items()}

        def update(self, **_):
            pass

        def weights(self):
            return self.present

    backend = SimpleNamespace(
        plain=lambda *_: Trainer(), private=lambda model, settings, seed: asked.append(settings) or Trainer()
    )
    examples = Examples(inputs=np.array([[1.0], [np.inf]], np.float32), labels=np.zeros(2, np.int64))
    client = LocalClient(LOCAL, backend, None, examples, noise_multiplier=1.0)
    sent = client.send(WEIGHTS, [np.array([0])])
    np.testing.assert_array_equal(sent["0.bias"], 1.0)
    assert client.left_out == 0 and asked[0].planted_alone
    sent = client.send(WEIGHTS, [np.array([1])])
    np.testing.assert_array_equal(sent["0.bias"], 0.0)
    assert client.left_out == 1


def test_fewer_rounds_run_where_less_is_left(train):
    regime = replace(SILO, cohort=Everyone())
    trained, sender, charges = train(regime, rounds_for(Everyone()), steps=5 * STEPS, attempt=2)
    assert sum(charge.steps for charge in charges) == 5 * STEPS and len(sender.sizes) == 5 * CLIENTS
    assert [note.partition(":")[0] for note in trained.notes] == [
        f"stopped after 5 of {ROUNDS} rounds", "began anew after an interruption, on new batches",
    ]  # fmt: skip


def test_plans_that_are_not_the_clients_own_are_refused(train):
    regime, plan = replace(SILO, cohort=FixedCohort(clients=3)), rounds_for(FixedCohort(clients=3))
    with pytest.raises(PrivacyError, match="hold examples of another"):
        train(regime, replace_batches(plan, indices=np.roll(plan.batches.indices, 40)))
    longer = rounds_for(FixedCohort(clients=3))
    with pytest.raises(PrivacyError, match="other steps than the regime's"):
        train(replace(regime, local_steps=STEPS + 1), longer)
    everything = np.concatenate([np.flatnonzero(OWNERS == client) for client in np.repeat(plan.visits, plan.steps)])
    sizes = np.bincount(OWNERS, minlength=CLIENTS)[np.repeat(plan.visits, plan.steps)]
    whole = replace_batches(plan, indices=everything, offsets=np.cumsum([0, *sizes]))
    with pytest.raises(PrivacyError, match="its batches are larger than those of rate"):
        train(regime, whole)
    with pytest.raises(PrivacyError, match="not the partition whose clients train charges for"):
        train(regime, plan, owners=np.roll(OWNERS, 1))
    train(regime, plan)
    with pytest.raises(PrivacyError, match="an earlier attempt used these batches"):
        train(regime, plan)


def replace_batches(plan, *, indices, offsets=None):
    offsets = plan.batches.offsets if offsets is None else offsets
    return dataclasses.replace(plan, batches=BatchPlan(indices=indices, offsets=offsets))
