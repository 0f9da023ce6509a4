"""The noise that a target epsilon needs, and the steps that still fit under one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import msgspec

from trustml.errors import ScenarioError
from trustml.privacy.accounting import epsilon_of, epsilon_without_replacement
from trustml.privacy.bounds import epsilon_upper
from trustml.privacy.events import NoiseEvent
from trustml.privacy.ledger import Charge
from trustml.privacy.renyi import renyi_epsilon

SMALLEST_NOISE, LARGEST_NOISE = 0.01, 1e4
_CLOSELY = 5e-4


@functools.lru_cache(maxsize=64)
def calibrated_noise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Smallest noise multiplier, to about 5e-4, with which `steps` secret Poisson batches cost at most `epsilon`.

    Raises
    ------
    ScenarioError
        If no noise multiplier up to 10,000 reaches it, or next to no noise would do.
    """

    def poisson(noise: float) -> list[NoiseEvent]:
        return [NoiseEvent(kind="poisson", noise_multiplier=noise, count=steps, sample_rate=sample_rate)]

    def reached(noise: float) -> bool:
        return epsilon_upper(poisson(noise), delta=delta)[0] <= epsilon

    def quickly(noise: float) -> bool:
        return renyi_epsilon(poisson(noise), delta=delta) <= epsilon

    return _smallest(reached, quickly, epsilon=epsilon, delta=delta, steps=steps)


def calibrated_noise_unamplified(*, epsilon: float, delta: float, participation: int) -> float:
    """Smallest noise multiplier of the plain Gaussian mechanism composed `participation` times (to 1e-8)."""
    import dp_accounting

    return float(dp_accounting.get_sigma_gaussian(epsilon, delta)) * math.sqrt(participation) * (1 + 1e-8)


def calibrated_noise_fixed(*, epsilon: float, delta: float, batch_size: int, examples: int, steps: int) -> float:
    """Smallest noise multiplier, to about 5e-4, for secret batches of fixed size.

    Raises
    ------
    ScenarioError
        If no noise multiplier up to 10,000 reaches it, or next to no noise would do.
    """

    def reached(noise: float) -> bool:
        mechanism = NoiseEvent(
            kind="without replacement", noise_multiplier=noise, count=steps, batch_size=batch_size, examples=examples
        )
        return epsilon_without_replacement([mechanism], delta=delta).value <= epsilon

    return _smallest(reached, reached, epsilon=epsilon, delta=delta, steps=steps)


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


def _smallest(
    reached: Callable[[float], bool], quickly: Callable[[float], bool], *, epsilon: float, delta: float, steps: int
) -> float:
    """Search by halving on a logarithmic scale; `quickly` is a looser test, to start from."""
    if reached(SMALLEST_NOISE):
        raise ScenarioError(
            "epsilon",
            f"{epsilon:g} at delta {delta:g} is met in {steps} steps with a noise multiplier below {SMALLEST_NOISE}, "
            "which protects nobody",
            fix="ask for a smaller epsilon, or train without privacy",
        )
    high = _halved(quickly, SMALLEST_NOISE, LARGEST_NOISE, 0.05) if quickly(LARGEST_NOISE) else LARGEST_NOISE
    if not reached(high):
        high = LARGEST_NOISE
        if not reached(high):
            raise ScenarioError(
                "epsilon",
                f"{epsilon:g} at delta {delta:g} cannot be reached in {steps} steps with a noise multiplier up to "
                f"{LARGEST_NOISE:g}",
                fix="ask for a larger epsilon, or fewer epochs",
            )
    low = high
    while low > SMALLEST_NOISE and reached(low):
        high, low = low, 0.85 * low
    return _halved(reached, low, high, _CLOSELY)


def _halved(reached: Callable[[float], bool], low: float, high: float, closely: float) -> float:
    while high > low * (1 + closely):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
