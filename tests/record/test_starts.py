"""What a start costs, for the unit that a regime protects and in records of before."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from trustml.privacy.ledger import Charge
from trustml.record.starts import SharedRows, StartRecord, earlier_charges, is_void, uncharged_rows
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.partition import IID, NaturalKey
from trustml.scenario.regimes import DPSGD

EXAMPLES = DPSGD(noise_multiplier=1.0, epochs=1, batch_size=10)
USERS = DPFedAvg(noise_multiplier=1.0, rounds=1, partition=NaturalKey(columns=("patient",)))
DEALT = DPFedAvg(noise_multiplier=1.0, rounds=1, partition=IID(clients=5))
CHARGE = Charge(
    attempt=1, first_step=0, end_step=1, noise_multiplier=1.0, clipping_norm=1.0, sample_rate=0.1, batch_size=10,
    examples=100, secret_sampling=True, participation=1, largest_participation=1, plan="", data="",
)  # fmt: skip


class Run(NamedTuple):
    start: StartRecord | None


def starting(shared: SharedRows, *, uncharged: SharedRows | None = None, charges=(), earlier="") -> Run:
    return Run(
        StartRecord(run="r", job="j", weights="", shared=shared, uncharged=uncharged, charges=charges, earlier=earlier)
    )


@pytest.mark.parametrize(
    ("regime", "left"), [(EXAMPLES, "none"), (DEALT, "none"), (USERS, "unknown")], ids=["examples", "dealt", "users"]
)
def test_rows_that_are_other_ones_may_be_of_the_same_people(regime, left):
    run = starting("none", uncharged="none")
    assert uncharged_rows(run, regime) == left and not is_void(run, regime)


def test_charges_for_examples_are_none_for_users():
    run = starting("some", uncharged="none", charges=(CHARGE,))
    assert earlier_charges(run, EXAMPLES) == [[CHARGE]] and uncharged_rows(run, EXAMPLES) == "none"
    assert is_void(run, USERS) and is_void(run, DEALT) and earlier_charges(run, USERS) == []


@pytest.mark.parametrize(
    ("start", "left"),
    [
        (starting("some"), "some"),
        (starting("unknown"), "unknown"),
        (starting("some", charges=(CHARGE,)), "none"),
        (starting("some", charges=(CHARGE,), earlier="old.npz"), "unknown"),
    ],
)
def test_records_of_before_say_the_same_as_they_did(start, left):
    assert uncharged_rows(start, EXAMPLES) == left and is_void(start, EXAMPLES) == (left == "some")
