"""The numbers of a private training, fixed before it starts."""

from __future__ import annotations

import msgspec

from trustml.data.batches import BatchPlan, poisson_steps
from trustml.errors import ScenarioError
from trustml.plan.job import Mechanism
from trustml.privacy.accounting import affordable_steps, calibrated_noise, calibrated_noise_unamplified
from trustml.privacy.ledger import Charge
from trustml.scenario.regimes import DPSGD


def plan_mechanism(regime: DPSGD, *, field: str, examples: int, plan: BatchPlan) -> Mechanism:
    """Calibrate the noise to the target, or take the one that was given.

    Parameters
    ----------
    regime : DPSGD
    field : str
        Path of the regime in the scenario, for errors.
    examples : int
        Size of the training set.
    plan : BatchPlan
        The batches as drawn; where they are not secret, the target must hold without amplification.

    Raises
    ------
    ScenarioError
        If the target cannot be reached.
    """
    sample_rate = regime.batch_size / examples
    steps = poisson_steps(examples, epochs=regime.epochs, batch_size=regime.batch_size)
    secret = regime.sampling_seed is None
    participation = len(plan) if secret else largest_participation(plan, examples)
    noise = regime.noise_multiplier
    if noise is None and regime.epsilon is not None:
        try:
            noise = (
                calibrated_noise(epsilon=regime.epsilon, delta=regime.delta, sample_rate=sample_rate, steps=steps)
                if secret
                else calibrated_noise_unamplified(
                    epsilon=regime.epsilon, delta=regime.delta, participation=max(1, participation)
                )
            )
        except ScenarioError as error:
            raise ScenarioError(f"{field}.epsilon", error.problem, fix=error.fix) from error
    if noise is None:
        raise ScenarioError(f"{field}.epsilon", "is not given, and noise_multiplier neither", fix="give one of them")
    return Mechanism(
        noise_multiplier=noise,
        clipping_norm=regime.clipping_norm,
        sample_rate=sample_rate,
        expected_batch_size=regime.batch_size,
        steps=steps,
        secret_sampling=secret,
        largest_participation=participation,
        steps_per_charge=max(1, round(1 / sample_rate)),
    )


def next_attempt(
    mechanism: Mechanism,
    spent: list[Charge],
    regime: DPSGD,
    *,
    plan: BatchPlan,
    examples: int,
    allow_overrun: bool,
) -> Mechanism:
    """Give the mechanism of another attempt, after `spent`, on batches of its own.

    It takes as many steps as still fit under the target; all planned ones if the regime has no target or the
    user accepts a larger epsilon.
    """
    attempt = 1 + max((entry.attempt for entry in spent), default=0)
    fresh = msgspec.structs.replace(
        mechanism,
        attempt=attempt,
        steps=len(plan),
        largest_participation=len(plan) if mechanism.secret_sampling else largest_participation(plan, examples),
    )
    if not spent or regime.epsilon is None or allow_overrun:
        return fresh
    planned = Charge(
        attempt=attempt,
        first_step=0,
        end_step=fresh.steps,
        noise_multiplier=fresh.noise_multiplier,
        clipping_norm=fresh.clipping_norm,
        sample_rate=fresh.sample_rate,
        secret_sampling=fresh.secret_sampling,
        largest_participation=fresh.largest_participation,
        plan=f"attempt {attempt}",
        data="",
    )
    steps = affordable_steps(spent, planned, epsilon=regime.epsilon, delta=regime.delta)
    return msgspec.structs.replace(fresh, steps=steps)


def largest_participation(plan: BatchPlan, examples: int) -> int:
    """Most batches that any one example is in."""
    import numpy as np

    return int(np.bincount(plan.indices, minlength=examples).max(initial=0))
