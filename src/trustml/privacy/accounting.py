"""One accountant for every framework: dp-accounting's privacy loss distributions (PLD).

Every epsilon here is an upper bound under adding or removing one example. With secret Poisson batches it is
that of the subsampled Gaussian mechanism (Koskela et al., AISTATS 2020; Doroshenko et al., PoPETs 2022); where
the batches are not secret there is no amplification, and it is that of the Gaussian mechanism composed over
the most batches that any one example was in.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from trustml.errors import PrivacyError, ScenarioError
from trustml.privacy.ledger import Charge

ACCOUNTANT = "PLD"
LARGEST_NOISE = 1e4


def epsilon_of(charges: Sequence[Charge], *, delta: float) -> float:
    """Epsilon of one model: all charges of all its attempts, composed.

    Parameters
    ----------
    charges : sequence of Charge
    delta : float

    Returns
    -------
    float
        An upper bound, infinite where the accountant finds none.
    """
    return epsilon_of_releases([charges], delta=delta)


def epsilon_of_releases(releases: Sequence[Sequence[Charge]], *, delta: float) -> float:
    """Epsilon of several models together, composed as their batches were really shared.

    Where k models take the same step on the same secret batch, one example's presence moves all k sums at
    once: together they are *one* subsampled Gaussian whose noise multiplier is
    ``(sum of 1 / noise_multiplier**2) ** -0.5``. Models on batches of their own compose as usual.

    Parameters
    ----------
    releases : sequence of sequences of Charge
        The charges of each model.
    delta : float

    Returns
    -------
    float
    """
    events = _events(releases)
    if not events:
        return 0.0
    accountant = _accountant()
    for event, count in events:
        accountant.compose(event, count)
    return float(accountant.get_epsilon(delta))


@functools.lru_cache(maxsize=64)
def calibrated_noise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Smallest noise multiplier, to about 1e-3, whose epsilon after `steps` Poisson batches is at most `epsilon`.

    Raises
    ------
    ScenarioError
        If no noise multiplier up to 10,000 reaches it.
    """
    import dp_accounting

    def event(noise_multiplier: float) -> Any:
        return dp_accounting.SelfComposedDpEvent(_poisson(sample_rate, noise_multiplier), steps)

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
        while _epsilon(event(lower), delta) <= epsilon:
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
    while _epsilon(event(noise), delta) > epsilon:
        noise *= 1.0005
    return float(noise)


def calibrated_noise_unamplified(*, epsilon: float, delta: float, participation: int) -> float:
    """Smallest noise multiplier of the plain Gaussian mechanism composed `participation` times (exact)."""
    import dp_accounting

    return float(dp_accounting.get_sigma_gaussian(epsilon, delta)) * math.sqrt(participation)


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
    if epsilon_of([*spent, planned], delta=delta) <= epsilon:
        return planned.steps
    if not planned.secret_sampling:
        return 0  # its epsilon rests on the participation over the whole plan
    low, high = 0, planned.steps
    while high - low > 1:
        middle = (low + high) // 2
        part = _first_steps(planned, middle)
        if epsilon_of([*spent, part], delta=delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low


def accountant_name() -> str:
    """Name and version of the accountant, for the record."""
    from importlib.metadata import version

    return f"{ACCOUNTANT}, dp-accounting {version('dp-accounting')}"


def _first_steps(planned: Charge, count: int) -> Charge:
    import msgspec

    return msgspec.structs.replace(planned, end_step=planned.first_step + count)


def _accountant() -> Any:
    import dp_accounting

    return dp_accounting.pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)


def _quick_accountant() -> Any:
    import dp_accounting

    return dp_accounting.rdp.RdpAccountant(orders=[*range(2, 65), 128, 256, 512, 1024])


def _epsilon(event: Any, delta: float) -> float:
    return float(_accountant().compose(event).get_epsilon(delta))


def _poisson(sample_rate: float, noise_multiplier: float) -> Any:
    import dp_accounting

    return dp_accounting.PoissonSampledDpEvent(sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))


def _events(releases: Sequence[Sequence[Charge]]) -> list[tuple[Any, int]]:
    """Independent mechanisms and how often each is composed."""
    import dp_accounting

    by_plan: dict[str, list[Charge]] = defaultdict(list)
    for charges in releases:
        for charge in charges:
            by_plan[charge.plan].append(charge)
    events: list[tuple[Any, int]] = []
    for plan, charges in by_plan.items():
        rates = {(charge.sample_rate, charge.secret_sampling, charge.largest_participation) for charge in charges}
        if len(rates) > 1:
            raise PrivacyError(f"the ledger gives batch plan {plan[:12]} several sampling rates: {sorted(rates)}")
        (rate, secret, participation) = next(iter(rates))
        if secret:
            events += [(_poisson(rate, noise), count) for noise, count in _shared_steps(charges)]
        else:
            # No amplification: at worst the example is in as many batches as the plan allows, and in those
            # with the least noise.
            noisiest = sorted(_shared_steps(charges))
            left = participation
            for noise, count in noisiest:
                used = min(left, count)
                left -= used
                if used:
                    events.append((dp_accounting.GaussianDpEvent(noise), used))
    return events


def _shared_steps(charges: Iterable[Charge]) -> list[tuple[float, int]]:
    """Joint noise multiplier and number of steps, for each stretch of a plan with the same models on it."""
    charges = list(charges)
    borders = sorted({charge.first_step for charge in charges} | {charge.end_step for charge in charges})
    totals: dict[float, int] = defaultdict(int)
    for start, end in itertools.pairwise(borders):
        precision = math.fsum(
            charge.noise_multiplier**-2 for charge in charges if charge.first_step <= start and end <= charge.end_step
        )
        if precision:
            totals[precision**-0.5] += end - start
    return list(totals.items())
