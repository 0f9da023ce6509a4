"""What an audit could have shown with so many canaries or runs, so that its bound is read rightly."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from trustml.attacks.bounds import check_level, many_run_bound, one_run_bound, one_run_fdp_bound
from trustml.attacks.estimates import quantile_error
from trustml.attacks.guesses import fdp_epsilon, gaussian_mu, one_run_epsilon
from trustml.errors import UsageError

BoundMethod: TypeAlias = Literal["one run", "one run f-DP", "many runs"]


@dataclass(frozen=True, kw_only=True)
class Attainable:
    """Bounds that an ideal attacker gets against a mechanism with exactly the claimed epsilon.

    Attributes
    ----------
    median, low, high : float
        Median, 5th and 95th percentile of the bound over repetitions of the audit.
    repetitions : int
    error, ends_error : float
        Monte-Carlo errors: by how much, about, other repetitions would move the median, and the less certain end.
    """

    median: float
    low: float
    high: float
    repetitions: int
    error: float
    ends_error: float


@functools.lru_cache(maxsize=1024)
def ceiling_all_correct(m: int, *, delta: float, confidence: float, method: BoundMethod = "one run") -> float:
    """Give the largest bound that this method can show at this size, every guess being right.

    Parameters
    ----------
    m : int
        Canaries of the one run; for many runs, the runs in each world.
    delta, confidence : float
    method : {"one run", "one run f-DP", "many runs"}

    Returns
    -------
    float
        For one run, that of a single guess on every canary, decided beforehand: no way to choose thresholds gets
        past it. The union bound over the numbers of guesses costs a little of it.

    Raises
    ------
    UsageError
        If `m` is below 2, the method is unknown, or delta or confidence is not inside (0, 1).
    """
    _check(m, delta, confidence, method)
    if method == "one run":
        return one_run_epsilon(m, m, m, delta=delta, significance=1 - confidence)
    if method == "one run f-DP":
        return fdp_epsilon(m, m, m, delta=delta, significance=1 - confidence)
    apart = np.arange(m) / m
    return many_run_bound(2 + apart, apart, delta=delta, confidence=confidence).epsilon


@functools.lru_cache(maxsize=1024)
def attainable_at_claim(
    epsilon: float,
    delta: float,
    m: int,
    *,
    confidence: float,
    method: BoundMethod = "one run",
    repetitions: int = 100,
    seed: int = 0,
) -> Attainable:
    """Repeat an audit by an ideal attacker of the Gaussian mechanism with exactly this epsilon at delta.

    The score of a canary that is there is N(mu, 1), else N(0, 1), all independent: what an attacker sees who knows
    everything but the noise and the coins.

    Parameters
    ----------
    epsilon, delta : float
        Of the claim.
    m : int
        Canaries of the one run; for many runs, the runs in each world.
    confidence : float
    method : {"one run", "one run f-DP", "many runs"}
    repetitions, seed : int

    Returns
    -------
    Attainable

    Raises
    ------
    UsageError
        As :func:`ceiling_all_correct`; and if epsilon is not positive or repetitions are none.
    """
    _check(m, delta, confidence, method)
    if not 0 < epsilon < np.inf:
        raise UsageError(f"epsilon: {epsilon!r} is not positive and finite; state that of the claim")
    if repetitions < 1:
        raise UsageError(f"repetitions: {repetitions} is not positive; 100 is usual")
    mu, generator = gaussian_mu(epsilon, delta), np.random.default_rng(seed)
    found = []
    for _ in range(repetitions):
        if method == "many runs":
            present, absent = generator.normal(mu, 1, m), generator.normal(0, 1, m)
            bound = many_run_bound(present, absent, delta=delta, confidence=confidence)
        else:
            coins = generator.random(m) < 0.5
            if coins.all() or not coins.any():  # at tiny sizes, and then there is no audit
                coins[0] = not coins[0]
            judge = one_run_bound if method == "one run" else one_run_fdp_bound
            bound = judge(generator.normal(0, 1, m) + mu * coins, coins, delta=delta, confidence=confidence)
        found.append(bound.epsilon)
    low, median, high = (float(value) for value in np.quantile(found, (0.05, 0.5, 0.95)))
    errors = [quantile_error(np.array(found), share) for share in (0.05, 0.5, 0.95)]
    return Attainable(
        median=median,
        low=low,
        high=high,
        repetitions=repetitions,
        error=errors[1],
        ends_error=max(errors[0], errors[2]),
    )


def _check(m: int, delta: float, confidence: float, method: str) -> None:
    check_level(delta, confidence)
    if m < 2:
        raise UsageError(f"m: {m} canaries or runs; an audit needs 2 or more")
    if method not in get_args(BoundMethod):
        raise UsageError(f"method: {method!r} is unknown; use one of {', '.join(get_args(BoundMethod))}")
