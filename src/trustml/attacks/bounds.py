"""Lower bounds on epsilon from the scores of an attack, with their confidence.

No threshold is picked by looking at how well it does: attacks guess a number of canaries, or cut at a rank of one
world's scores, from a short list that is fixed by the sample size alone, and the bound is a union bound over that
list. Scores are larger where a canary seems to be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.guesses import best_epsilon, count_guesses
from trustml.errors import DataError, UsageError

Scores: TypeAlias = npt.NDArray[np.float64]

ONE_RUN = "one run, Steinke et al. 2023"
ONE_RUN_FDP = "one run, Mahloujifar et al. 2025"
MANY_RUNS = "many runs, Clopper-Pearson"
_RANK_RATIO = 4
_FALSE_SHARE = 0.75  # of the significance, for the false positive rate: its error weighs more


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
    check_level(delta, confidence)
    guesses, correct = count_guesses(*_checked_canaries(scores, included, name), name=name)
    return Bound(
        epsilon=best_epsilon(len(np.ravel(scores)), guesses, correct, delta=delta, confidence=confidence, fdp=False),
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
    check_level(delta, confidence)
    guesses, correct = count_guesses(*_checked_canaries(scores, included, name), name=name)
    return Bound(
        epsilon=best_epsilon(len(np.ravel(scores)), guesses, correct, delta=delta, confidence=confidence, fdp=True),
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
    of both give ``log((tpr - delta) / fpr)``. The cuts are k = 1, 4, 16, ... in the world without the canary, and
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
        thresholds=f"union bound over {cuts} cuts at fixed ranks (1, 4, 16, ...) of one world's scores",
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


def check_level(delta: float, confidence: float, *, pure: bool = False) -> None:
    """Refuse a delta or a confidence that is no probability; delta 0 is there only for `pure`."""
    if not (0 <= delta < 1 if pure else 0 < delta < 1):
        raise UsageError(f"delta: {delta!r} is not {'in [0, 1)' if pure else 'inside (0, 1)'}; state that of the claim")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence: {confidence!r} is not inside (0, 1); 0.95 is usual")


def _ranks(n: int) -> npt.NDArray[np.int64]:
    """1, 4, 16, ... up to half of n."""
    return _RANK_RATIO ** np.arange(1 + int(np.log2(max(1, n // 2)) // np.log2(_RANK_RATIO)), dtype=np.int64)


def _rank_epsilon(hits: Scores, misses: Scores, *, delta: float, significance: float) -> float:
    """Best ``log((tpr - delta) / fpr)`` over cuts at fixed ranks of `misses`, at a common significance."""
    from scipy.special import betaincinv

    ranks, n = _ranks(len(misses)), len(hits)
    each = significance / len(ranks)
    cuts = np.sort(misses)[::-1][ranks - 1]
    above = n - np.searchsorted(np.sort(hits), cuts, side="right")
    false = betaincinv(ranks, len(misses) - ranks + 1, 1 - _FALSE_SHARE * each)
    true = np.where(above > 0, betaincinv(np.maximum(above, 1), n - above + 1, (1 - _FALSE_SHARE) * each), 0.0)
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
        raise DataError(f"{name}: score {int(np.argmin(np.isfinite(scores)))} is not finite; leave nothing out, fix it")
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
        raise DataError(
            f"{name}.included: all {len(coins)} canaries fell alike; include each by a fair coin of its own"
        )
    return found, coins
