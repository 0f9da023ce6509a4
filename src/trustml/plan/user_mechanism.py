"""The numbers of a federated training that is private for users, fixed before it starts."""

from __future__ import annotations

import math

import msgspec

from trustml.data.clients import FederatedPlan, rounds_visited
from trustml.errors import ScenarioError
from trustml.plan.job import Mechanism
from trustml.plan.mechanism import noise_kind, split_noise, steps_within, tells_participation
from trustml.privacy.calibration import (
    calibrated_noise,
    calibrated_noise_fixed,
    calibrated_noise_unamplified,
)
from trustml.privacy.ledger import Charge, Drawn
from trustml.privacy.noise_strategy import tree_squared_sensitivity
from trustml.privacy.tails import spared
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import DPFedAvg, TreeAggregation
from trustml.scenario.partition import Cohort, Everyone, FixedCohort, InTurn, PoissonCohort


def plan_user_mechanism(
    regime: DPFedAvg, *, field: str, clients: int, plan: FederatedPlan, users: str = ""
) -> Mechanism:
    """Calibrate the noise to the target, or take the one that was given; the unit of privacy is a user.

    Parameters
    ----------
    regime : DPFedAvg
    field : str
        Path of the regime in the scenario, for errors.
    clients : int
    plan : FederatedPlan
        As drawn; where cohorts are not secret, the target must hold without amplification.
    users : str
        Fingerprint of who holds what.

    Raises
    ------
    ScenarioError
        If the target cannot be reached.
    """
    cohort = cohort_size(regime.cohort, clients)
    sampling = cohort_drawn(regime.cohort)
    secret = regime.sampling_seed is None
    separation = math.ceil(clients / cohort) if isinstance(regime.cohort, InTurn) else 1
    largest = _participation(regime, sampling, plan, clients=clients, separation=separation)
    noise = regime.noise_multiplier
    if noise is None:
        assert regime.epsilon is not None
        target = {"epsilon": regime.epsilon, "delta": spared(regime.delta)}
        try:
            if sampling == "poisson" and secret:
                noise = calibrated_noise(**target, sample_rate=cohort / clients, steps=regime.rounds)
            elif sampling == "fixed" and secret:
                noise = calibrated_noise_fixed(**target, batch_size=cohort, examples=clients, steps=regime.rounds)
            else:
                noise = calibrated_noise_unamplified(**target, participation=max(1, largest))
        except ScenarioError as error:
            raise ScenarioError(f"{field}.epsilon", error.problem, fix=error.fix) from error
    count_noise = 0.0
    if isinstance(regime.clipping, Adaptive):
        noise, count_noise = split_noise(noise, regime.clipping, batch_size=cohort, field=field)
    kind = noise_kind(regime.mechanism)
    return Mechanism(
        noise_multiplier=noise,
        count_noise=count_noise,
        clipping_norm=regime.clipping_norm,
        sample_rate=cohort / clients,
        expected_batch_size=cohort,
        examples=clients,
        sampling=sampling,
        secret_sampling=secret,
        largest_participation=largest,
        total_steps=regime.rounds,
        steps=regime.rounds,
        steps_per_charge=math.ceil(regime.rounds / 1000) if kind == "independent" else regime.rounds,
        unit="user",
        noise=kind,
        separation=separation,
        users=users,
    )


def next_user_attempt(
    mechanism: Mechanism, spent: list[Charge], regime: DPFedAvg, *, plan: FederatedPlan, allow_overrun: bool
) -> Mechanism:
    """Give the mechanism of another attempt, after `spent`, on cohorts of its own; it begins anew.

    It takes as many rounds as still fit under the target. Correlated noise is one release: it fits or it does not.
    """
    attempt = 1 + max((entry.attempt for entry in spent), default=0)
    largest = _participation(
        regime, mechanism.sampling, plan, clients=mechanism.examples, separation=mechanism.separation
    )
    fresh = msgspec.structs.replace(mechanism, attempt=attempt, steps=len(plan), largest_participation=largest)
    if not spent or regime.epsilon is None or allow_overrun:
        return fresh
    steps = steps_within(fresh, spent, epsilon=regime.epsilon, delta=regime.delta)
    return msgspec.structs.replace(fresh, steps=steps)


def cohort_size(cohort: Cohort, clients: int) -> int:
    """Clients that are asked in a round, or expected to be."""
    return clients if isinstance(cohort, Everyone) else cohort.clients


def block_participation(mechanism: Mechanism, plan: FederatedPlan, *, first: int, end: int) -> int | None:
    """Most rounds of a block that any one client takes part in; None where that is not told."""
    if not tells_participation(mechanism):
        return None
    if mechanism.noise != "independent":
        return mechanism.largest_participation
    if mechanism.secret_sampling:  # all, or in turn
        return math.ceil((end - first) / mechanism.separation)
    return int(rounds_visited(plan, mechanism.examples, first=first, end=end).max(initial=0))


def cohort_drawn(cohort: Cohort) -> Drawn:
    """How clients are drawn."""
    match cohort:
        case Everyone():
            return "all"
        case FixedCohort():
            return "fixed"
        case PoissonCohort():
            return "poisson"
        case InTurn():
            return "in turn"


def _participation(regime: DPFedAvg, sampling: Drawn, plan: FederatedPlan, *, clients: int, separation: int) -> int:
    """Most rounds of any one client; with correlated noise, the squared sensitivity of all that is released."""
    if isinstance(regime.mechanism, TreeAggregation):
        return tree_squared_sensitivity(rounds=regime.rounds, separation=separation)
    if sampling in ("all", "in turn"):
        return math.ceil(regime.rounds / separation)
    if regime.sampling_seed is None:
        return len(plan)
    return int(rounds_visited(plan, clients).max(initial=0))
