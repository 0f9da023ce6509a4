"""What a ledger must say of how often an example takes part, given the steps that it charges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from trustml.plan.job import Mechanism, TrainJob
from trustml.plan.mechanism import tells_participation
from trustml.privacy.ledger import UNAMPLIFIED, Charge
from trustml.privacy.noise_strategy import noise_strategy, tree_squared_sensitivity
from trustml.scenario.federated import DPFedAvg, TreeAggregation
from trustml.scenario.regimes import DPSGD


def participation_problem(job: TrainJob, mechanism: Mechanism, charges: Sequence[Charge]) -> str:
    """Say which line's participation is not that of its steps, or of its attempt's; empty where none is.

    Of known batches that are drawn at random nothing but the batches themselves tell how few they may be.
    """
    steps: Counter[int] = Counter()
    for entry in charges:
        steps[entry.attempt] += entry.steps
    for number, entry in enumerate(charges, start=1):
        fewest, most = fewest_visits(job, mechanism, entry.steps), entry.largest_participation
        if mechanism.noise != "independent":  # one release, whose squared sensitivity both are
            if entry.participation != fewest or most != fewest:
                told = {entry.participation, most} - {fewest}
                return f"line {number} has a participation of {min(told)}, and its steps come to {fewest}"
            continue
        if not fewest <= entry.participation <= max(most, entry.steps):
            return f"line {number} has a participation of {entry.participation}, and {fewest} to {most} are possible"
        if most < fewest_visits(job, mechanism, steps[entry.attempt]):
            return f"line {number} has a largest participation of {most}, which its attempt's steps exceed"
    return ""


def fewest_visits(job: TrainJob, mechanism: Mechanism, steps: int) -> int:
    """Count the batches that some example is in at the least; with correlated noise, what is charged exactly.

    Parameters
    ----------
    job : TrainJob
    mechanism : Mechanism
        Of the job.
    steps : int
        That are charged, one after another.
    """
    regime = job.regime
    if not tells_participation(mechanism) or steps <= 0:
        return max(0, steps)
    apart = max(1, mechanism.separation)
    if mechanism.noise != "independent" and isinstance(regime, DPSGD | DPFedAvg):
        steps = min(steps, mechanism.total_steps)
        if isinstance(regime, DPFedAvg) and isinstance(regime.mechanism, TreeAggregation):
            return tree_squared_sensitivity(rounds=steps, separation=apart)
        return noise_strategy(regime.mechanism, steps=steps, separation=apart).participation
    dealt = mechanism.secret_sampling and mechanism.sampling in UNAMPLIFIED and mechanism.relation is None
    if mechanism.sampling == "shuffle" or dealt:  # so many steps hold as many examples as there are
        return math.ceil(steps / math.ceil(mechanism.examples / max(1, mechanism.expected_batch_size)))
    return 0
