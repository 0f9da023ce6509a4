"""Canaries that a model or its data have no room for, and regimes that take none."""

from __future__ import annotations

import msgspec
import pytest

from trustml.errors import ScenarioError
from trustml.plan.attacking import why_no_canaries
from trustml.scenario.attacks import Attacks, Canaries
from trustml.scenario.check_attacks import check_canaries
from trustml.scenario.federated import BandedMatrix, DPFedAvg
from trustml.scenario.partition import FixedCohort, InTurn, PoissonCohort
from trustml.scenario.regimes import DPSGD, Plain


@pytest.mark.parametrize(
    ("kind", "most"),
    [("dirac gradient", 23_946), ("natural", 30), ("mislabelled", 30), ("blank", 640)],
)
def test_there_are_no_more_canaries_than_there_is_room_for(tiny, kind, most):
    def check(count):
        attacks = Attacks(canaries=(Canaries(kind="random gradient", count=10**7), Canaries(kind=kind, count=count)))
        scenario = msgspec.structs.replace(tiny, attacks=attacks)
        check_canaries(scenario, input_shape=(8, 8, 1), classes=10, heldout=30)

    check(most)
    with pytest.raises(ScenarioError, match=rf"attacks\.canaries\.1\.count: {most + 1} is more .* use {most} or fewer"):
        check(most + 1)


UPDATE, DIRAC = Canaries(kind="random update"), Canaries(kind="dirac gradient")


@pytest.mark.parametrize(
    ("regime", "canaries", "backend", "reason"),
    [
        (DPSGD(epsilon=1.0), DIRAC, "tensorflow", ""),
        (DPSGD(epsilon=1.0, sampling="shuffle"), Canaries(kind="natural"), "torch", ""),
        (DPSGD(epsilon=1.0, sampling="fixed"), DIRAC, "jax", "replace-one"),
        (DPSGD(epsilon=1.0, sampling_seed=3), DIRAC, "jax", "leave sampling_seed out"),
        (DPSGD(epsilon=1.0, engine="stock"), DIRAC, "torch", "core's engine"),
        (Plain(), DIRAC, "torch", "core's engine"),
        (DPSGD(epsilon=1.0), UPDATE, "jax", "clients of DPFedAvg"),
        (DPFedAvg(epsilon=1.0, cohort=PoissonCohort(clients=3)), UPDATE, "torch", ""),
        (DPFedAvg(epsilon=1.0, cohort=InTurn(clients=3)), UPDATE, "jax", ""),
        (DPFedAvg(epsilon=1.0), UPDATE, "tensorflow", "takes none from outside"),
        (DPFedAvg(epsilon=1.0, cohort=FixedCohort(clients=3)), UPDATE, "jax", "replace-one"),
        (DPFedAvg(epsilon=1.0, mechanism=BandedMatrix()), UPDATE, "torch", "independent noise"),
    ],
)
def test_who_takes_canaries(regime, canaries, backend, reason):
    found = why_no_canaries(regime, canaries, backend)
    assert (reason in found) if reason else found == ""
