"""How many batches one example was really in, or one client in rounds, from the plans that were drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.batches import BatchPlan, participation
from trustml.data.clients import FederatedPlan, batches_in_rounds, read_federated_plan, rounds_visited
from trustml.data.dataset import Ints
from trustml.measures.evidence import Evidence
from trustml.privacy.ledger import UNAMPLIFIED, Charge
from trustml.record.files import read_arrays


def drawn_participation(evidence: Evidence, charges: Sequence[Charge]) -> int | None:
    """Most batches that any one example really was in, over all attempts; None if the plans are gone."""
    total: Ints = np.zeros(max(charges[0].examples, evidence.manifest.data.train_examples), np.int64)
    plans = evidence.plans
    for plan in dict.fromkeys(charge.plan for charge in charges):
        own = [charge for charge in charges if charge.plan == plan]
        if plan in plans:
            total += _drawn_of(read_arrays(plans[plan]), own, examples=len(total))
        elif all(charge.sampling in UNAMPLIFIED for charge in own):
            total += sum(charge.participation for charge in own)
        else:
            return None
    return int(total.max(initial=0))


def _drawn_of(arrays: Mapping[str, npt.NDArray[Any]], charges: Sequence[Charge], *, examples: int) -> Ints:
    """Count the batches of one plan, or its rounds, that each example, or client, is in; shape (examples,)."""
    if "visits" not in arrays:
        plan = BatchPlan(indices=arrays["indices"].astype(np.int64), offsets=arrays["offsets"].astype(np.int64))
        counted = (participation(plan, examples, first=one.first_step, end=one.end_step) for one in charges)
        return np.sum(list(counted), axis=0)
    rounds = read_federated_plan(arrays)
    if charges[0].unit == "example":  # of one client: its own steps are charged
        return _in_silo(rounds, charges, examples=examples)
    return np.sum([rounds_visited(rounds, examples, first=c.first_step, end=c.end_step) for c in charges], axis=0)


def _in_silo(rounds: FederatedPlan, charges: Sequence[Charge], *, examples: int) -> Ints:
    """Count the batches that each example is in, over the rounds that charges pay for; shape (examples,)."""
    done = rounds.most_visits[1:] * int(rounds.steps.max(initial=0))
    paid = np.any([(charge.first_step < done) & (done <= charge.end_step) for charge in charges], axis=0)
    return batches_in_rounds(rounds, paid, examples=examples)
