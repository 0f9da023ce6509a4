"""Epsilon of each client, where clients are private by themselves: whoever takes part less loses less."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from trustml.data.clients import FederatedPlan, read_federated_plan, rounds_visited
from trustml.data.dataset import Ints
from trustml.measures.evidence import Evidence
from trustml.plan.job import TrainJob
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import Charge
from trustml.privacy.statement import Comparison, Group
from trustml.record.files import read_arrays
from trustml.scenario.federated import PrivateClients, SiloDPFedAvg
from trustml.scenario.regimes import PrivateRegime

CLIENT = "epsilon_of_client"
_CLIENTS: tuple[Group, ...] = ("median client", "client that takes part least")


def of_clients(
    evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: Sequence[Charge], *, why_none: str
) -> list[Comparison]:
    """Compare with the epsilon of the median client, and of the one that takes part least; none of other regimes.

    Parameters
    ----------
    evidence : Evidence
    job : TrainJob
    regime : PrivateRegime
        Of the job.
    charges : sequence of Charge
        Of this training alone.
    why_none : str
        Why nothing is proved of one client by itself; empty where something is.
    """
    if not isinstance(regime, PrivateClients):
        return []
    drawn, secret = charges[0].sampling, charges[0].secret_sampling
    visits = None if why_none else client_rounds(evidence, job, charges)
    if visits is None:
        why = why_none or "who took part when is not at hand"
        return [
            Comparison(
                name=CLIENT,
                value=None,
                note=why,
                drawn=drawn,
                secret_sampling=secret,
                not_at_hand=not why_none,
                group=group,
            )
            for group in _CLIENTS
        ]
    each = regime.local_steps if isinstance(regime, SiloDPFedAvg) else 1
    found = []
    for group, rounds in zip(_CLIENTS, (int(np.ceil(np.median(visits))), int(visits.min())), strict=True):
        steps = rounds * each
        own = replace(charges[0], first_step=0, end_step=steps, participation=steps, largest_participation=steps)
        epsilon = epsilon_of([own] if steps else [], delta=regime.delta)
        times = "1 round" if rounds == 1 else f"{rounds} rounds"
        finite = math.isfinite(epsilon.value)
        found.append(
            Comparison(
                name=CLIENT,
                value=epsilon.value if finite else None,
                relation=charges[0].relation,
                accountant=epsilon.accountant,
                note=f"of the {group}, in {times} of the {visits.max()} that are charged",
                drawn=drawn,
                secret_sampling=secret,
                group=group,
            )
        )
    return found


def client_rounds(evidence: Evidence, job: TrainJob, charges: Sequence[Charge]) -> Ints | None:
    """Rounds that were charged and that each client took part in, over all attempts; None if the plans are gone."""
    partitions = evidence.manifest.partitions
    clients = next(p.clients for p in partitions if (p.regime, p.seed) == (job.regime.title, job.seed))
    plans = evidence.plans
    total: Ints | None = None
    for plan in dict.fromkeys(charge.plan for charge in charges):
        if plan not in plans:
            return None
        arrays = read_arrays(plans[plan])
        rounds = read_federated_plan(arrays)
        end = max(charge.end_step for charge in charges if charge.plan == plan)
        done = _rounds_done(rounds, end, silo=charges[0].unit == "example")
        counts = rounds_visited(rounds, clients, end=done)
        total = counts if total is None else total + counts
    return total


def _rounds_done(rounds: FederatedPlan, end: int, *, silo: bool) -> int:
    if not silo:
        return end
    return int((rounds.most_visits[1:] * int(rounds.steps.max(initial=0)) <= end).sum())
