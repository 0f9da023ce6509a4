"""Epsilon from counts: how many canaries of one run were guessed, and how many of the guesses were right."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError

GUESSED_SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""Shares of all canaries that a one-run attack makes a guess on; half of the guesses say "there"."""
LARGEST_EPSILON = 50.0
_STEPS = 40  # of a bisection over epsilon: 50 / 2**40 is far below any digit shown
_FEWER_STEPS = 22


def count_guesses(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], *, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Guess the canaries with the largest scores as there, as many with the smallest as not, and count hits.

    Returns
    -------
    guesses, correct : int64 arrays of shape (h,)
        One entry for each of :data:`GUESSED_SHARES`, without repetitions.
    """
    m = len(scores)
    halves = np.unique([max(1, round(share * m / 2)) for share in GUESSED_SHARES if m >= 2])
    halves = halves[2 * halves <= m]
    if not len(halves):
        raise DataError(f"{name}: {m} canaries; an audit needs 2 or more")
    # Equal scores are ordered by a permutation that knows nothing of the coins, however the canaries are sorted.
    shuffled = np.random.default_rng(m).permutation(m)
    order = shuffled[np.argsort(scores[shuffled], kind="stable")]
    there = included[order].astype(np.int64)
    low, high = np.cumsum(1 - there), np.cumsum(there[::-1])
    return (2 * halves).astype(np.int64), (low + high)[halves - 1]


def one_run_p_value(m: int, guesses: int, correct: int, *, epsilon: float, delta: float) -> float:
    """Probability, at most, of so many correct guesses if the mechanism is (epsilon, delta)-private.

    Parameters
    ----------
    m : int
        Canaries.
    guesses, correct : int
    epsilon, delta : float
    """
    from scipy.special import bdtrc, expit

    share = expit(epsilon)
    exact = float(bdtrc(correct - 1, guesses, share)) if correct else 1.0
    if not correct or delta == 0:
        return exact
    fewer = np.arange(1, correct + 1)
    tails = np.where(fewer == correct, 1.0, bdtrc(np.maximum(correct - fewer - 1, 0), guesses, share))
    return min(1.0, exact + 2 * m * delta * max(0.0, float(((tails - exact) / fewer).max())))


def best_epsilon(
    m: int,
    guesses: npt.NDArray[np.int64],
    correct: npt.NDArray[np.int64],
    *,
    delta: float,
    confidence: float,
    fdp: bool,
) -> float:
    """Largest bound over several numbers of guesses, which share ``1 - confidence``.

    Parameters
    ----------
    m : int
        Canaries.
    guesses, correct : int64 arrays of shape (h,)
    delta, confidence : float
    fdp : bool
        Whether the Gaussian trade-off curve is what is refuted, instead of epsilon and delta.
    """
    significance = (1 - confidence) / len(guesses)
    solve, refutes = (fdp_epsilon, refutes_gaussian) if fdp else (one_run_epsilon, refutes_approximate)
    best = 0.0
    # The promising ones first, so that most others need one look and no search.
    promise = correct / guesses - np.sqrt(1 / guesses)
    for number in np.argsort(-promise, kind="stable"):
        made, hits = int(guesses[number]), int(correct[number])
        if best == 0.0 or refutes(m, made, hits, epsilon=best, delta=delta, significance=significance):
            best = max(best, solve(m, made, hits, delta=delta, significance=significance))
    return best


@functools.lru_cache(maxsize=65536)
def one_run_epsilon(m: int, guesses: int, correct: int, *, delta: float, significance: float) -> float:
    """Largest epsilon that so many correct guesses refute; 0 for none. See :func:`one_run_bound`."""
    return _largest(
        lambda epsilon: refutes_approximate(
            m, guesses, correct, epsilon=epsilon, delta=delta, significance=significance
        )
    )


@functools.lru_cache(maxsize=65536)
def fdp_epsilon(m: int, guesses: int, correct: int, *, delta: float, significance: float) -> float:
    """Largest epsilon of a Gaussian curve that so many correct guesses refute. See :func:`one_run_fdp_bound`."""
    if 2 * correct <= guesses:
        return 0.0
    return _largest(
        lambda epsilon: refutes_gaussian(m, guesses, correct, epsilon=epsilon, delta=delta, significance=significance),
        steps=_FEWER_STEPS,
    )


def refutes_approximate(
    m: int, guesses: int, correct: int, *, epsilon: float, delta: float, significance: float
) -> bool:
    """Whether so many correct guesses refute that the mechanism is (epsilon, delta)-private."""
    return one_run_p_value(m, guesses, correct, epsilon=epsilon, delta=delta) <= significance


def refutes_gaussian(m: int, guesses: int, correct: int, *, epsilon: float, delta: float, significance: float) -> bool:
    """Whether so many correct guesses refute the Gaussian trade-off curve of this epsilon and delta."""
    from scipy.special import ndtr, ndtri

    mu = gaussian_mu(epsilon, delta)
    # Mass of the guesses, right and wrong, in the event that at least so many are right: what the curve allows.
    right, wrong = significance * correct / m, significance * (guesses - correct) / m
    for hits in range(correct - 1, -1, -1):
        more = float(ndtr(ndtri(right) - mu))
        if more <= wrong:
            break  # from here on neither changes
        right, wrong = min(1.0, right + hits / (guesses - hits) * (more - wrong)), more
    return right + wrong > guesses / m


@functools.lru_cache(maxsize=4096)
def gaussian_mu(epsilon: float, delta: float) -> float:
    """Distance of the two worlds of the Gaussian mechanism that has exactly this epsilon at delta."""
    import dp_accounting

    return 1 / float(dp_accounting.get_sigma_gaussian(epsilon, delta))


def _largest(refuted: Callable[[float], bool], *, steps: int = _STEPS) -> float:
    low, high = 1e-6, LARGEST_EPSILON
    if not refuted(low):
        return 0.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
