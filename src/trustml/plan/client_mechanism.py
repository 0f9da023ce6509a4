"""The numbers of a federated training whose clients are private themselves, fixed before it starts.

Every client charges for itself, and no example is at two clients: what is charged is what the client that takes part
most has done, and no other's epsilon is larger (parallel composition).
"""

from __future__ import annotations

import math

import msgspec

from trustml.data.clients import FederatedPlan
from trustml.errors import ScenarioError
from trustml.plan.job import Mechanism
from trustml.plan.mechanism import steps_within
from trustml.plan.user_mechanism import cohort_drawn, cohort_size
from trustml.privacy.calibration import calibrated_noise, calibrated_noise_unamplified
from trustml.privacy.ledger import REPLACE, Charge
from trustml.privacy.tails import spared
from trustml.scenario.federated import PrivateClients, SiloDPFedAvg


def client_sample_rate(regime: SiloDPFedAvg, *, examples: int, clients: int) -> float:
    """Probability with which an example joins a batch of its client: of no client's own size, which is its secret."""
    return regime.batch_size / mean_size(examples, clients)


def mean_size(examples: int, clients: int) -> int:
    """Examples of a client of mean size, rounded down."""
    return max(1, examples // clients)


def plan_client_mechanism(
    regime: PrivateClients, *, field: str, examples: int, clients: int, plan: FederatedPlan, users: str = ""
) -> Mechanism:
    """Calibrate the noise to the target for the client that takes part most, or take the one that was given.

    Parameters
    ----------
    regime : SiloDPFedAvg or LocalDPFedAvg
    field : str
        Path of the regime in the scenario, for errors.
    examples, clients : int
        Of all clients together; how many there are.
    plan : FederatedPlan
    users : str
        Fingerprint of who holds what.

    Raises
    ------
    ScenarioError
        If the target cannot be reached, or nobody ever takes part.
    """
    silo = isinstance(regime, SiloDPFedAvg)
    most = int(plan.most_visits[-1])
    if not most:
        raise ScenarioError(
            f"{field}.cohort",
            f"by its public draws nobody takes part in any of the {regime.rounds} rounds",
            fix="ask more clients or more rounds, lower dropout, or take another of seeds",
        )
    if isinstance(regime, SiloDPFedAvg):
        size, batch, steps = mean_size(examples, clients), regime.batch_size, most * regime.local_steps
    else:
        size, batch, steps = clients, cohort_size(regime.cohort, clients), regime.rounds
    noise = regime.noise_multiplier
    if noise is None:
        assert regime.epsilon is not None
        target = {"epsilon": regime.epsilon, "delta": spared(regime.delta)}
        try:
            if silo:
                noise = calibrated_noise(**target, sample_rate=batch / size, steps=steps)
            else:
                noise = 2 * calibrated_noise_unamplified(**target, participation=most)  # replacing one
        except ScenarioError as error:
            raise ScenarioError(f"{field}.epsilon", error.problem, fix=error.fix) from error
    return Mechanism(
        noise_multiplier=noise,
        clipping_norm=regime.clipping_norm,
        sample_rate=batch / size,
        expected_batch_size=batch,
        examples=size,
        sampling="poisson" if silo else cohort_drawn(regime.cohort),
        secret_sampling=silo,
        largest_participation=steps if silo else most,
        total_steps=steps,
        steps=steps,
        steps_per_charge=rounds_per_charge(regime) * (regime.local_steps if isinstance(regime, SiloDPFedAvg) else 1),
        unit="example" if silo else "user",
        users=users,
        relation=None if silo else REPLACE,
    )


def rounds_per_charge(regime: PrivateClients) -> int:
    """Rounds that one line of the ledger pays for in advance."""
    return math.ceil(regime.rounds / 1000)


def next_client_attempt(
    mechanism: Mechanism, spent: list[Charge], regime: PrivateClients, *, allow_overrun: bool
) -> Mechanism:
    """Give the mechanism of another attempt, after `spent`, with the same cohorts and other batches; it begins anew.

    It takes as many steps of the client that takes part most, or rounds, as still fit under the target.
    """
    attempt = 1 + max((entry.attempt for entry in spent), default=0)
    fresh = msgspec.structs.replace(mechanism, attempt=attempt, steps=mechanism.total_steps)
    if not spent or regime.epsilon is None or allow_overrun:
        return fresh
    steps = steps_within(fresh, spent, epsilon=regime.epsilon, delta=regime.delta)
    whole = steps - steps % regime.local_steps if isinstance(regime, SiloDPFedAvg) else steps
    return msgspec.structs.replace(fresh, steps=whole)


def charged_steps(regime: PrivateClients, plan: FederatedPlan, number: int) -> int:
    """Steps that are charged before round `number`: of the client that takes part most, or rounds."""
    if isinstance(regime, SiloDPFedAvg):
        return int(plan.most_visits[number]) * regime.local_steps
    return number


def rounds_within(mechanism: Mechanism, regime: PrivateClients, plan: FederatedPlan) -> int:
    """Rounds that the steps of an attempt allow."""
    if not isinstance(regime, SiloDPFedAvg):
        return min(mechanism.steps, len(plan))
    return int((plan.most_visits[1:] * regime.local_steps <= mechanism.steps).sum())
