"""What a regime does to explanations, against what another seed does alone.

Models of two regimes, trained with the same S seeds, are compared pair by pair. The *effect* is the mean agreement of
plain model i with other model j over i != j, minus that of plain models i and j over i != j: 0 where a model of the
other regime is no further from plain ones than they are from each other. Pairs of one seed share batches and starting
weights and are reported apart.

Seeds are resampled, never pairs: a pair is not an observation of its own. The interval is the jackknife over seeds
with Student's t (S - 1 degrees of freedom): a bootstrap of this statistic repeats seeds, has to leave out the pairs
of a seed with its copy, and was too narrow at 5 seeds (see the simulated coverage in the tests).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SEEDS = 3
ENUMERATED_SEEDS = 12
RANDOM_SWAPS = 4095


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval over seeds, and the p-value of a permutation test that it is 0.

    Attributes
    ----------
    value, low, high : float
    p_value : float
        Two-sided; NaN where no test belongs to it.
    seeds : int
    least_p : float, optional
        Smallest that its test can give; left out, 1 / 2**S with S seeds.
    swaps : int
        Swaps that were drawn at random for the test; 0 where all were tried.
    """

    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    least_p: float | None = None
    swaps: int = 0

    @property
    def p_error(self) -> float:
        """Monte-Carlo error of the p-value: the standard error of a share of the swaps that were drawn."""
        return float(np.sqrt(self.p_value * (1 - self.p_value) / self.swaps)) if self.swaps else 0.0


@dataclass(frozen=True, kw_only=True)
class Agreements:
    """Agreements between the models of a plain and another regime, S seeds each.

    Attributes
    ----------
    within_plain, within_other : float64 arrays of shape (S, S)
        Symmetric; the diagonal is not used.
    cross : float64 array of shape (S, S)
        Plain model i with other model j.
    """

    within_plain: Doubles
    within_other: Doubles
    cross: Doubles


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What a regime does to explanations.

    Attributes
    ----------
    effect : Estimate
        Agreement across regimes minus the floor, other seeds each time.
    floor : Estimate
        Agreement of plain models with each other: what another seed does alone.
    cross : Estimate
        Agreement across regimes, other seeds.
    same_seed : Estimate
        Agreement across regimes, same seed.
    within_other : Estimate
        Agreement of the other regime's models with each other.
    """

    effect: Estimate
    floor: Estimate
    cross: Estimate
    same_seed: Estimate
    within_other: Estimate


def contrast(agreements: Agreements) -> Contrast:
    """Estimate the effect of a regime and its parts.

    Raises
    ------
    ValueError
        With fewer than 3 seeds: nothing can be said of the spread.
    """
    seeds = len(agreements.cross)
    if seeds < LEAST_SEEDS:
        raise ValueError(f"{seeds} seeds; an interval over seeds needs {LEAST_SEEDS}")

    def estimate(statistic: Callable[[Ints], float], p_value: float = float("nan")) -> Estimate:
        return jackknife(statistic, seeds, p_value=p_value)

    swapped = effects_of_swaps(agreements)
    return Contrast(
        effect=estimate(lambda kept: effect_of(agreements, kept), p_value_of(swapped)),
        floor=estimate(lambda kept: _between_seeds(agreements.within_plain, kept)),
        cross=estimate(lambda kept: _between_seeds(agreements.cross, kept)),
        same_seed=estimate(lambda kept: float(np.diag(agreements.cross)[kept].mean())),
        within_other=estimate(lambda kept: _between_seeds(agreements.within_other, kept)),
    )


def difference(first: Agreements, second: Agreements) -> Estimate:
    """Effect of one regime minus that of another, against the same plain models.

    The p-value comes from swapping the two other regimes' models within a seed, for which the agreements between
    them are not needed: under no difference each seed's pair of models may change places.
    """
    seeds = len(first.cross)

    def statistic(kept: Ints) -> float:
        return _between_seeds(first.cross, kept) - _between_seeds(second.cross, kept)

    everyone = np.arange(seeds)
    flips = _signs(seeds)
    gap = first.cross - second.cross  # the column is the other regime's seed
    swapped = np.array([_between_seeds(gap * sign[None, :], everyone) for sign in flips])
    return jackknife(statistic, seeds, p_value=p_value_of(swapped))


def trend(cross: Doubles, doses: Doubles) -> Estimate:
    """Slope of the agreement with plain models over a dose, by least squares over regimes that differ in it alone.

    The p-value comes from permuting the doses among the models of each seed: were the dose nothing to them, they could
    change places. That holds whatever the models of one seed have in common.

    Parameters
    ----------
    cross : float64 array of shape (D, S, S)
        Plain model i with model j of each dose. For one number a model, that number in all of column j.
    doses : float64 array of shape (D,)
        Not all the same.
    """
    seeds = cross.shape[1]
    centred = doses - doses.mean()
    weights = centred / (centred**2).sum()

    def statistic(kept: Ints) -> float:
        return float(sum(w * _between_seeds(part, kept) for w, part in zip(weights, cross, strict=True)))

    others = cross.sum(axis=1) - np.diagonal(cross, axis1=1, axis2=2)  # (D, S), without pairs of a seed
    means = others / (seeds - 1)
    orders = np.array(list(itertools.permutations(range(len(doses)))))
    slopes = np.einsum("d,pds->ps", weights, means[orders]) / seeds  # of each seed, in each order of its doses
    every = len(orders) ** seeds <= RANDOM_SWAPS
    if every:
        chosen = np.array(list(itertools.product(range(len(orders)), repeat=seeds)))
    else:
        random = np.random.default_rng(0).integers(len(orders), size=(RANDOM_SWAPS, seeds))
        chosen = np.concatenate([np.zeros((1, seeds), np.int64), random])
    swapped = slopes[chosen, np.arange(seeds)].sum(axis=1)
    found = jackknife(statistic, seeds, p_value=p_value_of(swapped))
    return replace(found, least_p=1 / len(swapped), swaps=0 if every else RANDOM_SWAPS)


def paired(first: Doubles, second: Doubles) -> Estimate:
    """Mean difference of one number a model, seed by seed: Student's t interval, sign-flip test.

    Parameters
    ----------
    first, second : float64 arrays of shape (S,)
    """
    gaps = first - second
    if len(gaps) < LEAST_SEEDS:
        raise ValueError(f"{len(gaps)} seeds; an interval over seeds needs {LEAST_SEEDS}")
    swapped = (_signs(len(gaps)) * gaps).mean(axis=1)
    return jackknife(lambda kept: float(gaps[kept].mean()), len(gaps), p_value=p_value_of(swapped))


def jackknife(statistic: Callable[[Ints], float], seeds: int, *, p_value: float = float("nan")) -> Estimate:
    """Value over all seeds with a 95 % interval from leaving out one seed at a time (Tukey; Student's t)."""
    everyone = np.arange(seeds)
    value = statistic(everyone)
    without = np.array([statistic(np.delete(everyone, seed)) for seed in everyone])
    spread = np.sqrt((seeds - 1) / seeds * ((without - without.mean()) ** 2).sum())
    reach = float(stats.t.ppf(0.975, seeds - 1) * spread)
    swaps = RANDOM_SWAPS if seeds > ENUMERATED_SEEDS else 0
    return Estimate(value=value, low=value - reach, high=value + reach, p_value=p_value, seeds=seeds, swaps=swaps)


def effects_of_swaps(agreements: Agreements) -> Doubles:
    """Effect after the two models of some seeds change regimes; the first is the effect as it is."""
    seeds = len(agreements.cross)
    everyone = np.arange(seeds)
    effects = []
    for sign in _signs(seeds):
        stay = sign > 0
        both, mixed = stay[:, None] & stay[None, :], stay[:, None] & ~stay[None, :]
        within = np.where(
            both,
            agreements.within_plain,
            np.where(mixed, agreements.cross, np.where(mixed.T, agreements.cross.T, agreements.within_other)),
        )
        cross = np.where(
            both,
            agreements.cross,
            np.where(mixed, agreements.within_plain, np.where(mixed.T, agreements.within_other, agreements.cross.T)),
        )
        effects.append(_between_seeds(cross, everyone) - _between_seeds(within, everyone))
    return np.array(effects)


def p_value_of(swapped: Doubles) -> float:
    """Share of swaps at least as far from 0 as the first, which swaps nothing."""
    observed = abs(swapped[0])
    return float((np.abs(swapped) >= observed - 1e-12).mean())


def holm(p_values: Doubles) -> Doubles:
    """Adjust p-values for their number (Holm, Scandinavian Journal of Statistics 1979); NaN stays NaN."""
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def effect_of(agreements: Agreements, kept: Ints) -> float:
    """Effect over some of the seeds."""
    return _between_seeds(agreements.cross, kept) - _between_seeds(agreements.within_plain, kept)


def _between_seeds(matrix: Doubles, kept: Ints) -> float:
    """Mean over pairs of different seeds."""
    part = matrix[np.ix_(kept, kept)]
    return float(part[~np.eye(len(kept), dtype=bool)].mean())


def _signs(seeds: int) -> Doubles:
    """Every way to swap (-1) or not (+1) within each seed, or many at random; the first swaps nothing."""
    if seeds <= ENUMERATED_SEEDS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=seeds)))
    random = np.random.default_rng(0).choice((1.0, -1.0), (RANDOM_SWAPS, seeds))
    return np.concatenate([np.ones((1, seeds)), random])
