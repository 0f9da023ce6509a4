"""The noise that a target epsilon needs, and the steps that still fit under one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from trustml.errors import ScenarioError
from trustml.privacy.accounting import epsilon_of, epsilon_without_replacement
from trustml.privacy.events import Mechanism
from trustml.privacy.ledger import Charge

LARGEST_NOISE = 1e4


@functools.lru_cache(maxsize=64)
def calibrated_noise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Smallest noise multiplier, to about 1e-3, with which `steps` secret Poisson batches cost at most `epsilon`.

    Raises
    ------
    ScenarioError
        If no noise multiplier up to 10,000 reaches it.
    """
    import dp_accounting

    def event(noise_multiplier: float) -> Any:
        gaussian = dp_accounting.GaussianDpEvent(noise_multiplier)
        return dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(sample_rate, gaussian), steps)

    def pld(noise_multiplier: float) -> float:
        return float(_accountant().compose(event(noise_multiplier)).get_epsilon(delta))

    try:
        # RDP is quick and never below PLD, so its answer is the upper end of a narrow bracket.
        upper = dp_accounting.calibrate_dp_mechanism(
            _quick_accountant,
            event,
            epsilon,
            delta,
            dp_accounting.ExplicitBracketInterval(0.05, LARGEST_NOISE),
            tol=1e-4,
        )
        lower = upper
        while pld(lower) <= epsilon:
            lower *= 0.8
        noise = dp_accounting.calibrate_dp_mechanism(
            _accountant,
            event,
            epsilon,
            delta,
            dp_accounting.ExplicitBracketInterval(lower, lower / 0.8),
            tol=1e-3,
        )
    except (dp_accounting.mechanism_calibration.NoBracketIntervalFoundError, ValueError) as error:
        raise ScenarioError(
            "epsilon",
            f"{epsilon} at delta {delta:g} cannot be reached in {steps} steps at sample rate {sample_rate:.4g}",
            fix="ask for a larger epsilon, or fewer epochs",
        ) from error
    while pld(noise) > epsilon:
        noise *= 1.0005
    return float(noise)


def calibrated_noise_unamplified(*, epsilon: float, delta: float, participation: int) -> float:
    """Smallest noise multiplier of the plain Gaussian mechanism composed `participation` times (exact)."""
    import dp_accounting

    return float(dp_accounting.get_sigma_gaussian(epsilon, delta)) * math.sqrt(participation)


def calibrated_noise_fixed(*, epsilon: float, delta: float, batch_size: int, examples: int, steps: int) -> float:
    """Smallest noise multiplier, to about 1e-3, for secret batches of fixed size.

    Raises
    ------
    ScenarioError
        If no noise multiplier up to 10,000 reaches it.
    """

    def reached(noise: float) -> bool:
        mechanism = Mechanism(
            kind="without replacement", noise_multiplier=noise, count=steps, batch_size=batch_size, examples=examples
        )
        return epsilon_without_replacement([mechanism], delta=delta).value <= epsilon

    return _smallest(reached, epsilon=epsilon, delta=delta, steps=steps)


def affordable_steps(spent: Sequence[Charge], planned: Charge, *, epsilon: float, delta: float) -> int:
    """How many of the planned steps still fit under the target, on top of what was spent.

    Parameters
    ----------
    spent : sequence of Charge
        All charges of earlier attempts.
    planned : Charge
        The whole next attempt.
    epsilon, delta : float
        The target.
    """
    if planned.noise != "independent":  # one release: it fits or it does not
        whole = epsilon_of([*spent, planned], delta=delta).value
        return planned.steps if whole <= epsilon else 0

    def fits(steps: int) -> bool:
        part = msgspec.structs.replace(
            planned, end_step=planned.first_step + steps, participation=min(steps, planned.participation)
        )
        return epsilon_of([*spent, part], delta=delta).value <= epsilon

    if fits(planned.steps):
        return planned.steps
    low, high = 0, planned.steps
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _smallest(reached: Callable[[float], bool], *, epsilon: float, delta: float, steps: int) -> float:
    low, high = 0.05, 0.1
    while not reached(high):
        low, high = high, 2 * high
        if high > LARGEST_NOISE:
            raise ScenarioError(
                "epsilon",
                f"{epsilon} at delta {delta:g} cannot be reached in {steps} steps",
                fix="ask for a larger epsilon, or fewer epochs",
            )
    while high - low > 1e-3 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _accountant() -> Any:
    import dp_accounting

    return dp_accounting.pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)


def _quick_accountant() -> Any:
    import dp_accounting

    return dp_accounting.rdp.RdpAccountant(orders=[*range(2, 65), 128, 256, 512, 1024])
