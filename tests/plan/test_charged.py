"""Ledgers whose participation was edited, each refused where a run goes on and where it is verified."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from trustml.data.batches import BatchPlan, participation
from trustml.data.clients import federated_plan
from trustml.errors import RecordError
from trustml.evidence.ledgers import _problems
from trustml.launch.drawn_batches import draw_plan
from trustml.launch.intact import spent_by
from trustml.models.layers import Architecture, Dense
from trustml.plan.job import TrainJob
from trustml.plan.mechanism import make_charge, plan_mechanism, tells_participation
from trustml.plan.user_mechanism import block_participation, plan_user_mechanism
from trustml.record.store import RunDirectory
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, DPFedAvg, TreeAggregation
from trustml.scenario.partition import Everyone, InTurn
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Execution

EXAMPLES = 205
EXACT = {"noise_multiplier": 2.0, "epochs": 3, "batch_size": 10}
TURNS = {"noise_multiplier": 2.0, "rounds": 12, "delta": 1e-3, "cohort": InTurn(clients=10)}
REGIMES = {
    "cyclic": DPSGD(**EXACT, sampling="cyclic poisson", mechanism=BandedMatrix(bands=4)),
    "in turn": DPSGD(**EXACT, sampling="in turn", mechanism=BandedMatrix()),
    "tree": DPSGD(**EXACT, sampling="in turn", mechanism=TreeAggregation()),
    "blt": DPSGD(**EXACT, sampling="in turn", mechanism=BufferedToeplitz()),
    "shuffle": DPSGD(**EXACT, sampling="shuffle"),
    "known shuffle": DPSGD(**EXACT, sampling="shuffle", sampling_seed=3),
    "poisson": DPSGD(**EXACT),
    "known": DPSGD(**EXACT, sampling="cyclic poisson", mechanism=BandedMatrix(bands=4), sampling_seed=3),
    "rounds in turn": DPFedAvg(**TURNS),
    "rounds, tree": DPFedAvg(**TURNS, mechanism=TreeAggregation()),
    "rounds of all": DPFedAvg(**{**TURNS, "cohort": Everyone()}),
}


def trained(regime):
    """A job, and what it was charged for, in as many lines as its worker writes."""
    if isinstance(regime, DPFedAvg):
        plan = federated_plan(
            [np.array([client]) for client in range(35)], cohort=regime.cohort, rounds=regime.rounds, local_epochs=1,
            batch_size=1, cohorts=np.random.default_rng(1), batches=lambda *_: np.random.default_rng(0),
        )  # fmt: skip
        mechanism = plan_user_mechanism(regime, field="f", clients=35, plan=plan)
    else:
        arrays = draw_plan(regime, seed=0, examples=EXAMPLES)
        plan = BatchPlan(indices=arrays["indices"], offsets=arrays["offsets"])
        mechanism = plan_mechanism(regime, field="f", examples=EXAMPLES, plan=plan)

    def block(first, end):
        if mechanism.noise != "independent":
            return mechanism.largest_participation
        if isinstance(regime, DPFedAvg):
            return block_participation(mechanism, plan, first=first, end=end)
        told = tells_participation(mechanism)
        return int(participation(plan, EXAMPLES, first=first, end=end).max()) if told else None

    each = mechanism.steps_per_charge
    ends = [(first, min(first + each, mechanism.steps)) for first in range(0, mechanism.steps, each)]
    charges = [
        make_charge(mechanism, first=first, end=end, plan="p", data="d", block=block(first, end)) for first, end in ends
    ]
    job = TrainJob(
        id="train.jax.one.s0", backend="jax", model=Architecture(layers=(Dense(units=2),)), input_shape=(3,),
        execution=Execution(), regime=regime, seed=0, initial_weights="w", data="x", plan="p", data_fingerprint="d",
        mechanism=mechanism,
    )  # fmt: skip
    return job, charges


def refusals(path, job, charges):
    """What a resume and a verification say of a ledger."""
    folder = path / "jobs" / job.id
    folder.mkdir(parents=True, exist_ok=True)
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in charges))
    run = RunDirectory(path)
    try:
        spent_by(run, job)
        resumed = ""
    except RecordError as error:
        resumed = str(error)
    evidence = SimpleNamespace(manifest=SimpleNamespace(data=SimpleNamespace(fingerprint="d")))
    verified = _problems(evidence, SimpleNamespace(status="running"), job, ledger, charges)
    return resumed, verified


@pytest.mark.parametrize("name", REGIMES)
def test_participation_that_was_edited_is_refused_and_what_was_charged_is_not(name, tmp_path):
    job, charges = trained(REGIMES[name])
    assert refusals(tmp_path, job, charges) == ("", [])
    for changes in (
        {"participation": 0},
        {"participation": charges[0].participation - 1},
        {"participation": 0, "largest_participation": 0},
        {"largest_participation": charges[0].participation - 1},
    ):
        edited = [replace(charges[0], **changes), *charges[1:]]
        resumed, verified = refusals(tmp_path, job, edited)
        assert "participation" in resumed and any("participation" in one for one in verified), changes


def test_lines_of_an_earlier_attempt_are_held_against_their_own_steps(tmp_path):
    job, (whole,) = trained(REGIMES["cyclic"])
    left = replace(job.mechanism, attempt=2, start_step=30, steps=32, largest_participation=8)
    again = make_charge(left, first=0, end=32, plan="q", data="d", block=8)
    job = replace(job, mechanism=left)
    assert refusals(tmp_path, job, [whole, again]) == ("", [])
    for visits in (0, 1, 8):
        edited = replace(whole, participation=visits, largest_participation=visits)
        resumed, verified = refusals(tmp_path, job, [edited, again])
        assert "line 1 has a participation of" in resumed and verified
