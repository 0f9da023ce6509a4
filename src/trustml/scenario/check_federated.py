"""What cannot work in a federated regime, said before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trustml.errors import ScenarioError
from trustml.scenario.check_values import check_adaptive, check_optimizer, check_privacy, positive
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    DPFedAvg,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FederatedRegime,
    FedProx,
    FedSGD,
    FedYogi,
    IndependentNoise,
    NoiseMechanism,
)
from trustml.scenario.partition import (
    Cohort,
    Dirichlet,
    Everyone,
    NaturalKey,
    Partition,
    Quantity,
    Shards,
)
from trustml.scenario.partition import InTurn as InTurnCohort
from trustml.scenario.spec import Scenario

FEWEST_FOR_PRIVACY = (1000, 100)
"""Clients, and clients a round, below which privacy for users costs so much that a run is only a warning."""
_FEWEST_FOR_ADAPTIVE = 30


def check_federated(regime: FederatedRegime, field: str) -> None:
    """Check what needs no data.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    for name in ("rounds", "evaluate_every", "server_learning_rate"):
        positive(getattr(regime, name), f"{field}.{name}")
    if not 0 < regime.target_accuracy <= 1:
        raise ScenarioError(
            f"{field}.target_accuracy", f"{regime.target_accuracy} is no accuracy", fix="use 0 < x <= 1"
        )
    _check_partition(regime.partition, f"{field}.partition")
    _check_cohort(regime.cohort, f"{field}.cohort")
    if not isinstance(regime, FedSGD):
        for name in ("local_epochs", "batch_size"):
            positive(getattr(regime, name), f"{field}.{name}")
        check_optimizer(regime.client_optimizer, f"{field}.client_optimizer")
    _check_server(regime, field)
    if isinstance(regime, DPFedAvg):
        _check_private(regime, field)


def check_cohorts(scenario: Scenario, clients: Mapping[str, int]) -> list[str]:
    """Check cohorts against the number of clients of each regime, by title; return warnings.

    Raises
    ------
    ScenarioError
        If more clients are asked for than there are.
    """
    warnings = []
    for index, regime in enumerate(scenario.training):
        if regime.title not in clients or not isinstance(regime, FederatedRegime):
            continue
        field, count = f"training.{index}", clients[regime.title]
        asked = count if isinstance(regime.cohort, Everyone) else regime.cohort.clients
        if asked > count:
            raise ScenarioError(
                f"{field}.cohort.clients",
                f"{asked} participants a round are more than the {count} clients",
                fix=f"use {count} or fewer",
            )
        if not isinstance(regime, DPFedAvg):
            continue
        if isinstance(regime.clipping, Adaptive) and asked < _FEWEST_FOR_ADAPTIVE:
            raise ScenarioError(
                f"{field}.clipping",
                f"{asked} clients a round are too few to tell a quantile of their norms privately",
                fix=f"ask {_FEWEST_FOR_ADAPTIVE} or more a round, or use Flat()",
            )
        fewest, fewest_asked = FEWEST_FOR_PRIVACY
        if count < fewest or asked < fewest_asked:
            warnings.append(
                f"{field}: privacy for users with {count} clients, {asked} a round, says little: noise drowns so few "
                f"updates; use {fewest} clients and {fewest_asked} a round or more"
            )
        if regime.delta >= 1 / count:
            usual = 10 ** math.floor(math.log10(1 / count)) / 10
            warnings.append(
                f"{field}.delta: {regime.delta:g} is not below 1/clients = {1 / count:.2g}, so the guarantee allows "
                f"leaking a whole client; use {usual:.0e} or less"
            )
    return warnings


def check_mechanism(mechanism: NoiseMechanism, field: str) -> None:
    """Check what a mechanism is made of.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    if isinstance(mechanism, BandedMatrix) and mechanism.bands is not None:
        positive(mechanism.bands, f"{field}.bands")
    if isinstance(mechanism, BufferedToeplitz):
        positive(mechanism.buffers, f"{field}.buffers")


def _check_partition(partition: Partition, field: str) -> None:
    if isinstance(partition, NaturalKey):
        if not partition.columns:
            raise ScenarioError(f"{field}.columns", "is empty", fix="name a column of the data")
        positive(partition.minimum, f"{field}.minimum")
        return
    positive(partition.clients, f"{field}.clients")
    if isinstance(partition, Dirichlet | Quantity):
        positive(partition.alpha, f"{field}.alpha")
        positive(partition.minimum, f"{field}.minimum")
    if isinstance(partition, Shards):
        positive(partition.per_client, f"{field}.per_client")


def _check_cohort(cohort: Cohort, field: str) -> None:
    if not 0 <= cohort.dropout < 1:
        raise ScenarioError(f"{field}.dropout", f"{cohort.dropout} is out of range", fix="use 0 <= dropout < 1")
    if not isinstance(cohort, Everyone):
        positive(cohort.clients, f"{field}.clients")


def _check_server(regime: FederatedRegime, field: str) -> None:
    match regime:
        case FedProx():
            _not_negative(regime.proximal, f"{field}.proximal")
        case FedAdam() | FedYogi():
            _rates(field, beta1=regime.beta1, beta2=regime.beta2)
            positive(regime.stabilizer, f"{field}.stabilizer")
            if isinstance(regime, FedYogi):
                _not_negative(regime.initial_accumulator, f"{field}.initial_accumulator")
        case FedAdagrad():
            positive(regime.stabilizer, f"{field}.stabilizer")
            _not_negative(regime.initial_accumulator, f"{field}.initial_accumulator")
        case FedAvg() | FedSGD() | DPFedAvg():
            _rates(field, server_momentum=regime.server_momentum)


def _not_negative(value: float, field: str) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ScenarioError(field, f"{value} is negative or not finite", fix="use 0 or more")


def _rates(field: str, *, beta1: float = 0.0, beta2: float = 0.0, server_momentum: float = 0.0) -> None:
    for name, rate in {"beta1": beta1, "beta2": beta2, "server_momentum": server_momentum}.items():
        if not 0 <= rate < 1:
            raise ScenarioError(f"{field}.{name}", f"{rate} is out of range", fix=f"use 0 <= {name} < 1")


def _check_private(regime: DPFedAvg, field: str) -> None:
    check_privacy(regime, field)
    if isinstance(regime.clipping, Adaptive):
        check_adaptive(regime.clipping, f"{field}.clipping")
        if not isinstance(regime.mechanism, IndependentNoise):
            raise ScenarioError(f"{field}.clipping", "does not adapt under correlated noise", fix="use Flat()")
    if not isinstance(regime.mechanism, IndependentNoise) and not isinstance(regime.cohort, InTurnCohort):
        raise ScenarioError(
            f"{field}.cohort",
            "leaves open when a client comes again, on which the correlated noise of DP-FTRL rests",
            fix="use InTurn(clients=...)",
        )
    check_mechanism(regime.mechanism, f"{field}.mechanism")
    if isinstance(regime.mechanism, BandedMatrix) and regime.server_momentum:
        raise ScenarioError(
            f"{field}.server_momentum", "is not what the banded matrix was made for", fix="use 0, or IndependentNoise()"
        )
