"""Epsilon between two proved bounds, for Gaussian mechanisms on everything and on secret Poisson batches.

The upper bound is the least of several: privacy loss distributions on a grid, Renyi DP, and closed forms. The lower
one is the greatest of what tests prove that anyone could make. All are there within about a second, whatever the
figures: the size of a grid is decided before it is filled (`loss_grid.MOST_POINTS`), and where that is too coarse the
others hold.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trustml.privacy.bound_kinds import CLOSED_FORM, GRID, NOTHING, PARTICIPATION, RENYI, BoundKind
from trustml.privacy.events import NoiseEvent
from trustml.privacy.loss_grid import Grid, Steps, plan
from trustml.privacy.loss_sums import epsilon_above, epsilon_below
from trustml.privacy.pairs import Pair, Way
from trustml.privacy.participation import epsilon_by_participation, epsilon_of_counts, epsilon_of_sums
from trustml.privacy.renyi import renyi_epsilon

SMALLEST_DELTA = 1e-12
"""Below it no grid counts as an upper bound: Renyi DP and closed forms alone."""

_MOST_MECHANISMS = 64
_ROOT = 4e-12  # how exactly the closed form's equation is solved


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is proved of epsilon.

    Attributes
    ----------
    low : float
        No smaller epsilon holds.
    high : float
        This one holds; infinite where nothing is proved.
    by : str
        Which of the upper bounds was the least.
    """

    low: float
    high: float
    by: str


def epsilon_bounds(mechanisms: Sequence[NoiseEvent], *, delta: float, replace: bool = False) -> Bounds:
    """Bound epsilon of the composition from both sides.

    Parameters
    ----------
    mechanisms : sequence of NoiseEvent
        Of the kinds "poisson" and "gaussian".
    delta : float
    replace : bool
        Whether neighbours differ by an example that is replaced, and not by one that is added or removed.

    Returns
    -------
    Bounds
    """
    merged = _merged(mechanisms)
    high, by = _upper(merged, delta, replace)
    low = _lower(merged, delta, replace)
    # Were they ever to contradict one another, neither may be relied on: the wider of both is what is said.
    return Bounds(low=min(low, high), high=max(low, high), by=by)


def epsilon_upper(mechanisms: Sequence[NoiseEvent], *, delta: float) -> tuple[float, BoundKind]:
    """Upper bound under adding or removing one, and which bound it is."""
    return _upper(_merged(mechanisms), delta, False)


@functools.lru_cache(maxsize=512)
def _upper(mechanisms: tuple[NoiseEvent, ...], delta: float, replace: bool) -> tuple[float, BoundKind]:
    if not mechanisms:
        return 0.0, NOTHING
    plain = _gaussian(_precision(mechanisms, replace), delta) * (1 + _ROOT) + _ROOT
    if all(m.kind == "gaussian" for m in mechanisms):
        return plain, CLOSED_FORM
    # without amplification: which batches hold the example is told, and that each does (joint convexity)
    found: list[tuple[float, BoundKind]] = [(plain, CLOSED_FORM)]
    half = 2 if replace else 1
    if len(mechanisms) == 1:
        (m,) = mechanisms
        noise = m.noise_multiplier / half
        told = epsilon_by_participation(noise=noise, rate=m.sample_rate, steps=m.count, delta=delta)
        found.append((told, PARTICIPATION))
    if not replace:
        found.append((renyi_epsilon(mechanisms, delta=delta), RENYI))
    if delta >= SMALLEST_DELTA and len(mechanisms) <= _MOST_MECHANISMS:
        found.append((max(_above(mechanisms, way, delta) for way in _ways(replace)), GRID))
    return min(found)


@functools.lru_cache(maxsize=512)
def _lower(mechanisms: tuple[NoiseEvent, ...], delta: float, replace: bool) -> float:
    if not mechanisms:
        return 0.0
    if all(m.kind == "gaussian" for m in mechanisms):
        return max(0.0, _gaussian(_precision(mechanisms, replace), delta) * (1 - _ROOT) - _ROOT)
    found = [0.0]
    for m in mechanisms:  # what the others release can be passed over
        noise, rate = m.noise_multiplier, m.sample_rate
        found.append(epsilon_of_counts(noise=noise, rate=rate, steps=m.count, delta=delta))
        found.append(epsilon_of_sums(noise=noise, rate=rate, steps=m.count, delta=delta))
    if len(mechanisms) <= _MOST_MECHANISMS:
        found += [_below(mechanisms, way, delta) for way in _ways(replace)]
    return max(found)


def _above(mechanisms: tuple[NoiseEvent, ...], way: Way, delta: float) -> float:
    # adding one can make nothing less likely than by the factor (1 - rate) a step
    most = -math.fsum(m.count * math.log1p(-m.sample_rate) if m.sample_rate < 1 else -math.inf for m in mechanisms)
    limit = most * (1 + 1e-12) if way == "add" else math.inf
    steps, grid = _planned(mechanisms, way, delta)
    return limit if grid is None else min(limit, epsilon_above(steps, grid, delta=delta))


def _below(mechanisms: tuple[NoiseEvent, ...], way: Way, delta: float) -> float:
    steps, grid = _planned(mechanisms, way, delta)
    return 0.0 if grid is None else epsilon_below(steps, grid, delta=delta)


@functools.lru_cache(maxsize=64)
def _planned(mechanisms: tuple[NoiseEvent, ...], way: Way, delta: float) -> tuple[tuple[Steps, ...], Grid | None]:
    steps = tuple(
        Steps(pair=Pair(noise=m.noise_multiplier, rate=m.sample_rate, way=way), count=m.count) for m in mechanisms
    )
    return steps, plan(steps, delta=delta)


def _merged(mechanisms: Iterable[NoiseEvent]) -> tuple[NoiseEvent, ...]:
    """Equal mechanisms together, and all plain Gaussian ones as one."""
    counts: dict[tuple[float, float], int] = defaultdict(int)
    precision: list[float] = []
    for m in mechanisms:
        if m.kind == "gaussian" or m.sample_rate == 1:
            precision.append(m.count / m.noise_multiplier**2)
        else:
            counts[m.noise_multiplier, m.sample_rate] += m.count
    found = [
        NoiseEvent(kind="poisson", noise_multiplier=noise, sample_rate=rate, count=count)
        for (noise, rate), count in sorted(counts.items())
        if count
    ]
    total = math.fsum(precision)
    if total:
        found.append(NoiseEvent(kind="gaussian", noise_multiplier=total**-0.5, count=1))
    return tuple(found)


def _ways(replace: bool) -> tuple[Way, ...]:
    return ("replace",) if replace else ("remove", "add")


def _precision(mechanisms: Sequence[NoiseEvent], replace: bool) -> float:
    return math.fsum((4 if replace else 1) * m.count / m.noise_multiplier**2 for m in mechanisms)


def _gaussian(precision: float, delta: float) -> float:
    import dp_accounting

    return float(dp_accounting.get_epsilon_gaussian(precision**-0.5, delta)) if precision > 0 else 0.0
