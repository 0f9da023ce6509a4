"""Lower bounds on epsilon from the scores of an attack, with their confidence.

No threshold is picked by looking at how well it does: attacks guess a number of canaries, or cut at a rank of one
world's scores, from a short list that is fixed by the sample size alone, and the bound is a union bound over that
list. Scores are larger where a canary seems to be there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError, UsageError

Scores: TypeAlias = npt.NDArray[np.float64]

ONE_RUN = "one run, Steinke et al. 2023"
ONE_RUN_FDP = "one run, Mahloujifar et al. 2025"
MANY_RUNS = "many runs, Clopper-Pearson"
GUESSED_SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""Shares of all canaries that a one-run attack makes a guess on; half of the guesses say "there"."""
LARGEST_EPSILON = 50.0
_STEPS = 40  # of a bisection over epsilon: 50 / 2**40 is far below any digit shown


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound on epsilon.

    Attributes
    ----------
    epsilon : float
        The mechanism's epsilon at `delta` is at least this, in nats; 0 where nothing was shown.
    confidence : float
        Probability, at least, with which such a bound is right.
    delta : float
    method : str
    n : int
        Canaries of the one run; or runs of both worlds together.
    thresholds : str
        How they were chosen.
    assumes : str
        What must hold of the mechanism beyond the claim that is tested; empty where nothing has to.
    """

    epsilon: float
    confidence: float
    delta: float
    method: str
    n: int
    thresholds: str
    assumes: str = ""


def one_run_bound(
    scores: npt.ArrayLike, included: npt.ArrayLike, *, delta: float, confidence: float, name: str = "canaries"
) -> Bound:
    """Bound epsilon from one run with many canaries, each there or not by a fair coin of its own.

    Steinke, Nasr and Jagielski, NeurIPS 2023 (2305.08846). It holds for every
    (epsilon, delta)-private mechanism under adding or removing one canary.

    Parameters
    ----------
    scores : float array of shape (m,)
        Computed without looking at `included`.
    included : bool array of shape (m,)
        The coins.
    delta, confidence : float
    name : str
        What to call the input in errors.

    Returns
    -------
    Bound

    Raises
    ------
    DataError
        If shapes differ, a score is not finite, or all coins fell alike.
    UsageError
        If delta or confidence is not inside (0, 1).
    """
    guesses, correct = count_guesses(*_checked_canaries(scores, included, name), name=name)
    return Bound(
        epsilon=_one_run(len(np.ravel(scores)), guesses, correct, delta=delta, confidence=confidence, fdp=False),
        confidence=confidence,
        delta=delta,
        method=ONE_RUN,
        n=len(np.ravel(scores)),
        thresholds=_guessed(guesses),
    )


def one_run_fdp_bound(
    scores: npt.ArrayLike, included: npt.ArrayLike, *, delta: float, confidence: float, name: str = "canaries"
) -> Bound:
    """Bound epsilon from one run, for mechanisms whose trade-off curve is that of a Gaussian one.

    Mahloujifar, Melis and Chaudhuri, ICML 2025 (2410.22235). It refutes the Gaussian curve through
    (epsilon, delta), which many mechanisms of that epsilon and delta do not have: by itself it is no violation of
    a claim that states epsilon and delta alone.

    Parameters and errors are those of :func:`one_run_bound`.
    """
    guesses, correct = count_guesses(*_checked_canaries(scores, included, name), name=name)
    return Bound(
        epsilon=_one_run(len(np.ravel(scores)), guesses, correct, delta=delta, confidence=confidence, fdp=True),
        confidence=confidence,
        delta=delta,
        method=ONE_RUN_FDP,
        n=len(np.ravel(scores)),
        thresholds=_guessed(guesses),
        assumes="the trade-off curve is that of a Gaussian mechanism",
    )


def many_run_bound(
    present: npt.ArrayLike, absent: npt.ArrayLike, *, delta: float, confidence: float, name: str = "scores"
) -> Bound:
    """Bound epsilon from independent runs in two neighbouring worlds.

    A cut at the k-th largest score of one world has a false positive rate that is Beta(k, n - k + 1) distributed,
    or smaller, whatever the scores; given that cut, hits in the other world are binomial. Clopper-Pearson bounds
    of both give ``log((tpr - delta) / fpr)``. The cuts are k = 1, 2, 4, ... in the world without the canary, and
    the same from below in the world with it (absent against present); all of them share ``1 - confidence``.

    Parameters
    ----------
    present, absent : float arrays of shape (n,) and (l,)
        One score for each run.
    delta, confidence : float
    name : str
        What to call the input in errors.

    Returns
    -------
    Bound

    Raises
    ------
    DataError
        If a score is not finite, or a world has fewer than 2 runs.
    UsageError
        If confidence is not inside (0, 1), or delta not in [0, 1).
    """
    with_it, without = _checked_scores(present, f"{name}.present"), _checked_scores(absent, f"{name}.absent")
    check_level(delta, confidence, pure=True)
    significance = (1 - confidence) / 2
    above = _rank_epsilon(with_it, without, delta=delta, significance=significance)
    below = _rank_epsilon(-without, -with_it, delta=delta, significance=significance)
    cuts = len(_ranks(len(without))) + len(_ranks(len(with_it)))
    return Bound(
        epsilon=max(0.0, above, below),
        confidence=confidence,
        delta=delta,
        method=MANY_RUNS,
        n=len(with_it) + len(without),
        thresholds=f"union bound over {cuts} cuts at fixed ranks (1, 2, 4, ...) of one world's scores",
    )


def gaussian_estimate(present: npt.ArrayLike, absent: npt.ArrayLike, *, delta: float, name: str = "scores") -> float:
    """Epsilon of the Gaussian mechanism whose two worlds are as far apart as these scores: an estimate, no bound.

    The distance is the difference of the means over the pooled standard deviation (mu of mu-GDP; Dong, Roth and
    Su 2022). It has no confidence and rests on scores that are Gaussian with one variance, so it can never show a
    violation.

    Parameters
    ----------
    present, absent : float arrays of shape (n,) and (l,)
    delta : float
    name : str

    Returns
    -------
    float
        0 where the scores with the canary are not larger on average; infinite where scores do not vary and differ.
    """
    with_it, without = _checked_scores(present, f"{name}.present"), _checked_scores(absent, f"{name}.absent")
    check_level(delta, 0.5)
    from trustml.privacy.accounting import gaussian_epsilon

    freedom = len(with_it) + len(without) - 2
    squares = float(((with_it - with_it.mean()) ** 2).sum() + ((without - without.mean()) ** 2).sum())
    difference = float(with_it.mean() - without.mean())
    if difference <= 0:
        return 0.0
    return gaussian_epsilon(difference**2 * freedom / squares, delta=delta) if squares > 0 else float("inf")


def count_guesses(
    scores: Scores, included: npt.NDArray[np.bool_], *, name: str
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


def check_level(delta: float, confidence: float, *, pure: bool = False) -> None:
    """Refuse a delta or a confidence that is no probability; delta 0 is there only for `pure`."""
    if not (0 <= delta < 1 if pure else 0 < delta < 1):
        raise UsageError(f"delta: {delta!r} is not {'in [0, 1)' if pure else 'inside (0, 1)'}; state that of the claim")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence: {confidence!r} is not inside (0, 1); 0.95 is usual")


def _one_run(
    m: int,
    guesses: npt.NDArray[np.int64],
    correct: npt.NDArray[np.int64],
    *,
    delta: float,
    confidence: float,
    fdp: bool,
) -> float:
    check_level(delta, confidence)
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
        steps=22,
    )


def refutes_approximate(
    m: int, guesses: int, correct: int, *, epsilon: float, delta: float, significance: float
) -> bool:
    """Whether so many correct guesses refute that the mechanism is (epsilon, delta)-private."""
    return one_run_p_value(m, guesses, correct, epsilon=epsilon, delta=delta) <= significance


def refutes_gaussian(
    m: int, guesses: int, correct: int, *, epsilon: float, delta: float, significance: float
) -> bool:
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


def _ranks(n: int) -> npt.NDArray[np.int64]:
    return 2 ** np.arange(max(1, n // 2).bit_length(), dtype=np.int64)


def _rank_epsilon(hits: Scores, misses: Scores, *, delta: float, significance: float) -> float:
    """Best ``log((tpr - delta) / fpr)`` over cuts at fixed ranks of `misses`, at a common significance."""
    from scipy.special import betaincinv

    ranks, n = _ranks(len(misses)), len(hits)
    each = significance / len(ranks) / 2  # half for either rate
    cuts = np.sort(misses)[::-1][ranks - 1]
    above = n - np.searchsorted(np.sort(hits), cuts, side="right")
    false = betaincinv(ranks, len(misses) - ranks + 1, 1 - each)
    true = np.where(above > 0, betaincinv(np.maximum(above, 1), n - above + 1, each), 0.0)
    gain = np.maximum(true - delta, 0.0)
    with np.errstate(divide="ignore"):
        return float(np.log(gain / false).max())


def _guessed(guesses: npt.NDArray[np.int64]) -> str:
    return f"union bound over {len(guesses)} fixed numbers of guesses: {', '.join(str(made) for made in guesses)}"


def _checked_scores(values: npt.ArrayLike, name: str, *, least: int = 2) -> Scores:
    try:
        scores: Scores = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: not an array of numbers ({error}); give one score for each run") from error
    if scores.ndim != 1 or len(scores) < least:
        raise DataError(f"{name}: shape {scores.shape}; give one dimension of at least {least} scores")
    if not np.isfinite(scores).all():
        raise DataError(f"{name}: score {int(np.argmin(np.isfinite(scores)))} is not finite; leave nothing out, mend it")
    return scores


def _checked_canaries(
    scores: npt.ArrayLike, included: npt.ArrayLike, name: str
) -> tuple[Scores, npt.NDArray[np.bool_]]:
    found = _checked_scores(scores, f"{name}.scores")
    coins: npt.NDArray[Any] = np.asarray(included)
    if coins.dtype != np.bool_ or coins.shape != found.shape:
        raise DataError(
            f"{name}.included: {coins.dtype} of shape {coins.shape}; give bool of the scores' shape {found.shape}"
        )
    if coins.all() or not coins.any():
        raise DataError(f"{name}.included: all {len(coins)} canaries fell alike; include each by a fair coin of its own")
    return found, coins
