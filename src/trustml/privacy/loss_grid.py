"""Privacy losses of single steps on a grid, and the choice of the grid.

*From above*, each step's loss between two grid points is dealt out to both so that the masses of both worlds stay what
they are ("connect the dots", Doroshenko et al., PoPETs 2022): the pair that results dominates. *From below*, the
observer rounds each loss to the grid and adds them up: a test that anyone could make, so what it tells apart is told
apart. Both are exact to second order in the interval. `loss_sums` composes them.

The size of the grid is decided before anything is composed, and never above `MOST_POINTS`: the interval grows instead.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trustml.privacy.pairs import ROUNDING, SMALLEST, Floats, Pair, masses

MOST_POINTS = 1 << 20
_FEWEST_POINTS = 1 << 14
_FINENESS = 40  # standard deviation of a step's tilted loss over the interval
_NODES = 3000
MARGIN = 0.3  # of the window, in standard deviations of the tilted sum
_COARSEST = 1.0  # interval over the same: there a grid is of no use any more
_TILTS = 240
_LEFT_OUT = 24.0  # what the window leaves out of the tilted sum is about exp(-24) of it
_NEAR = 5.0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A step taken `count` times."""

    pair: Pair
    count: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where losses and their sums are kept.

    Attributes
    ----------
    interval : float
    first, points : int
        Sums are kept at ``interval * (first + k)`` for k below `points`.
    tilt, above, below : float
        The tilt; one beyond it and one short of it, for the bounds on what the window leaves out.
    cut : float
        Mass that each step may lose at either end.
    mean, deviation : float
        Of the tilted sum, about; the standard one.
    lowest : tuple of float
        Loss of each kind of step below which there is next to no tilted mass.
    """

    interval: float
    first: int
    points: int
    tilt: float
    above: float
    below: float
    cut: float
    mean: float
    deviation: float
    lowest: tuple[float, ...]

    @property
    def sums(self) -> Floats:
        """The kept sums of losses."""
        return self.interval * (self.first + np.arange(self.points, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Masses of one step on the grid: index of the first, logarithms of the masses, relative error, mass cut off."""

    start: int
    log_masses: Floats
    error: float = 0.0
    infinite: float = 0.0

    def log_moment(self, tilt: float, interval: float) -> float:
        """Logarithm of the mean of ``exp(tilt * loss)``."""
        powers = self.log_masses + tilt * interval * (self.start + np.arange(len(self.log_masses)))
        peak = float(powers.max())
        return peak + math.log(float(np.exp(powers - peak).sum()))


def plan(steps: Sequence[Steps], *, delta: float) -> Grid | None:
    """Choose tilt, window and interval from rough moments; None where no grid is of use.

    Nothing that is proved rests on the choice.
    """
    count = sum(one.count for one in steps)
    cut = max(1e-6 * delta / count, 1e-280)
    tilts = np.geomspace(1e-7, 1e6, _TILTS)
    tilts = np.concatenate([-tilts[::-1], [0.0], tilts])
    curves = []
    for one in steps:
        x = np.linspace(*one.pair.reach(cut), _NODES)
        curves.append((one.pair.loss(x), one.pair.log_density(x) + math.log(x[1] - x[0])))

    @functools.cache
    def moment(at: int) -> float:
        pairs = zip(steps, curves, strict=True)
        return sum(one.count * _log_sum(weights + tilts[at] * losses) for one, (losses, weights) in pairs)

    # Chernoff: delta is at most exp(moment - tilt * epsilon), so that each tilt gives an epsilon, and the least is near
    place, epsilon = _least(lambda at: (moment(at) - math.log(delta)) / tilts[at], _TILTS + 1, len(tilts))
    # the least tilt that brings what the transform rounds near delta: with more, seldom large losses take over
    enough = _first(lambda at: moment(at) - tilts[at] * epsilon <= math.log(delta) + _NEAR, _TILTS + 1, place)
    best = min(enough, len(tilts) - 2)
    tilt = float(tilts[best])
    # Chernoff again, on the tilted sum: beyond these ends lies at most exp(-_LEFT_OUT) of it
    above, top = _least(lambda at: (moment(at) - moment(best) + _LEFT_OUT) / (tilts[at] - tilt), best + 1, len(tilts))
    below, drop = _least(lambda at: (moment(at) - moment(best) + _LEFT_OUT) / (tilt - tilts[at]), 0, best)
    bottom = -drop
    if not (math.isfinite(top) and math.isfinite(bottom) and top > bottom):
        return None
    lowest = tuple(_quantile(*curve, tilt, 1e-12 / count) for curve in curves)
    widest = max(float(losses[-1]) - low for (losses, _), low in zip(curves, lowest, strict=True))
    mean, spread = _mean_and_variance(steps, curves, tilt)
    step = math.sqrt(spread / count)
    top, bottom = top + MARGIN * math.sqrt(spread), bottom - MARGIN * math.sqrt(spread)
    interval = min(step / _FINENESS, (top - bottom) / _FEWEST_POINTS)
    # coarser where the window, or the masses of one step, would take more points than are allowed
    interval = max(interval, (top - bottom) / (MOST_POINTS - 8), widest / MOST_POINTS)
    if interval > _COARSEST * step:
        return None
    first = math.floor(bottom / interval) - 2
    return Grid(
        interval=interval,
        first=first,
        points=_fast_length(math.ceil(top / interval) + 3 - first),
        tilt=tilt,
        above=float(tilts[above]),
        below=float(tilts[below]),
        cut=cut,
        mean=mean,
        deviation=math.sqrt(spread),
        lowest=lowest,
    )


def dominating(pair: Pair, grid: Grid, lowest: float) -> Losses:
    """Deal each interval's mass out to its two ends; what is above the last goes to infinity."""
    h, (low, high) = grid.interval, pair.reach(grid.cut)
    ends = np.floor(np.maximum(pair.loss(np.array([low, high])), lowest) / h).astype(np.int64)
    start, cells = int(ends[0]), int(ends[1] - ends[0]) + 2
    losses = h * np.arange(start, start + cells + 1, dtype=np.float64)
    edges = pair.place(losses)
    finite = np.isfinite(edges)
    off = np.abs(pair.loss(edges[finite]) - losses[finite]).max(initial=0.0)
    # the mass below the first edge is rounded up to it; the mass above the last cannot be, and is charged
    around = np.concatenate([[-np.inf], edges, [np.inf]])
    first = masses(pair.first, around, noise=pair.noise)
    second = masses(pair.second, edges, noise=pair.noise)
    inside, outside = first.values[1:-1], second.values
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # the share of the upper end is the one with which a cell keeps its mass in the second world too
        share = (1 - np.exp(losses[:-1]) * outside / inside) / -math.expm1(-h)
    # where the second world's mass is below what doubles hold, all goes up
    share = np.where((inside > SMALLEST) & (outside > SMALLEST), np.clip(share, 0.0, 1.0), 1.0)
    mass = np.zeros(cells + 1)
    mass[1:] += share * inside
    mass[:-1] += (1 - share) * inside
    mass[0] += first.values[0]
    size = float(np.abs(losses).max())
    return Losses(
        start=start,
        log_masses=_log(mass),
        error=max(first.error, second.error) + float(off) + ROUNDING * (32 + 8 * size),
        infinite=float(first.values[-1]) * (1 + first.error),
    )


def rounded(pair: Pair, grid: Grid, lowest: float) -> tuple[Losses, Losses]:
    """Round each loss to the nearest grid point: both worlds' masses, the second's times ``exp(loss)``."""
    h, (low, high) = grid.interval, pair.reach(grid.cut)
    ends = np.rint(np.maximum(pair.loss(np.array([low, high])), lowest) / h).astype(np.int64)
    start, cells = int(ends[0]), int(ends[1] - ends[0]) + 1
    losses = h * np.arange(start, start + cells, dtype=np.float64)
    edges = np.concatenate([[-np.inf], pair.place(losses[1:] - h / 2), [np.inf]])
    first = masses(pair.first, edges, noise=pair.noise)
    second = masses(pair.second, edges, noise=pair.noise)
    with np.errstate(divide="ignore"):
        weights = np.log(second.values) + losses
        # where doubles end: a loss of at least the interval's lower end bounds the second world's mass
        least = np.concatenate([[0.0], np.full(cells - 1, h / 2)])
        bound = np.log(np.maximum(first.values, SMALLEST)) + np.where(np.isfinite(least), least, 0.0)
    bound[0] = losses[0]
    weights = np.where(second.values > SMALLEST, weights, bound)
    slip = ROUNDING * (32 + 8 * float(np.abs(losses).max()))
    return (
        Losses(start=start, log_masses=_log(first.values), error=first.error + slip),
        Losses(start=start, log_masses=weights, error=second.error + slip),
    )


def _mean_and_variance(
    steps: Sequence[Steps], curves: Sequence[tuple[Floats, Floats]], tilt: float
) -> tuple[float, float]:
    """Give mean and variance of the tilted sum of losses."""
    mean = variance = 0.0
    for one, (losses, weights) in zip(steps, curves, strict=True):
        share = _shares(losses, weights, tilt)
        here = float(share @ losses)
        mean += one.count * here
        variance += one.count * float(share @ (losses - here) ** 2)
    return mean, variance


def _quantile(losses: Floats, weights: Floats, tilt: float, share: float) -> float:
    return float(losses[np.searchsorted(np.cumsum(_shares(losses, weights, tilt)), share)])


def _shares(losses: Floats, weights: Floats, tilt: float) -> Floats:
    powers = weights + tilt * losses
    share = np.exp(powers - powers.max())
    found: Floats = share / share.sum()
    return found


def _least(values: Callable[[int], float], low: int, high: int) -> tuple[int, float]:
    """Give place and value of the least of those that fall and then rise, as a convex function over a distance does."""
    place = _first(lambda at: values(at) <= values(at + 1), low, high - 1)
    return place, float(values(place))


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Give the first place from `low` to `high` from which on it holds; at `high` it is taken to."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _log_sum(powers: Floats) -> float:
    peak = float(powers.max())
    return peak + math.log(float(np.exp(powers - peak).sum()))


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _fast_length(points: int) -> int:
    from scipy import fft

    return int(fft.next_fast_len(points, real=True))
