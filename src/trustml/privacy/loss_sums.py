"""Epsilon of many steps from their losses on a grid, with all that is left out or rounded charged to the safe side.

Steps are composed by a discrete Fourier transform of masses tilted by ``exp(tilt * loss)`` towards the epsilon that is
asked for: what the transform rounds is then small against delta, and not against 1. What is charged: masses cut off a
step; masses outside the window of sums (Chernoff's bound on the very masses that are composed); the rounding of the
transform (Higham 2002, theorem 24.2, times the number of steps); the relative error of every mass, and of every loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trustml.privacy.loss_grid import MARGIN, Grid, Losses, Steps, dominating, rounded
from trustml.privacy.pairs import ROUNDING, Floats

_WORST_RELATIVE = 0.05
TRANSFORM = 10.0 * ROUNDING
"""What a Fourier transform rounds over log2 of its length: a generous 7 in the theorem."""


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Tilted masses of the sum of all steps' losses.

    Attributes
    ----------
    masses : array
        At the sums of the grid.
    log_scale : float
        The mass at a sum t is ``exp(log_scale - tilt * t)`` times the tilted one.
    error : float
        Bound on the Euclidean norm of what the transform rounded.
    """

    masses: Floats
    log_scale: float
    error: float


def epsilon_above(steps: Sequence[Steps], grid: Grid, *, delta: float) -> float:
    """Upper bound on epsilon of one direction; infinite where what must be charged exceeds delta."""
    parts = [dominating(one.pair, grid, lowest) for one, lowest in zip(steps, grid.lowest, strict=True)]
    relative = sum(one.count * part.error for one, part in zip(steps, parts, strict=True))
    if relative > _WORST_RELATIVE:
        return math.inf
    total = _compose(steps, parts, grid)
    lost = -math.expm1(sum(one.count * math.log1p(-part.infinite) for one, part in zip(steps, parts, strict=True)))
    # Chernoff on the very masses that are composed: what lies above the window counts as told apart
    beyond = sum(one.count * part.log_moment(grid.above, grid.interval) for one, part in zip(steps, parts, strict=True))
    lost += math.exp(min(0.0, beyond - grid.above * grid.sums[-1] + relative))
    sums, interval = grid.sums, grid.interval
    scale = _scale(total, grid)
    mass = np.maximum(total.masses, 0.0) * scale
    # delta at a sum: over all that are greater, mass * (1 - exp(sum - greater one)), which is above - discounted
    above = np.cumsum(mass[::-1])[::-1]
    discounted = _discounted(mass, interval)
    rounding = total.error * scale * _norm(grid)
    allowed = delta * math.exp(-2 * relative) - lost
    at_point = above - discounted + rounding
    reached = np.flatnonzero(at_point <= allowed)
    if allowed <= 0 or not len(reached):
        return math.inf
    place = int(reached[0])
    if place == 0:
        return max(0.0, float(sums[0])) + 2 * relative
    # from one point to the next delta is above - exp(epsilon - sum) * discounted, which is solved for epsilon
    left = float(above[place] + rounding[place - 1]) - allowed
    found = float(sums[place])
    if discounted[place] > 0:
        found = found + math.log(left / discounted[place]) if left > 0 else float(sums[place - 1])
    return max(0.0, min(max(found, float(sums[place - 1])), float(sums[place])) + 2 * relative)


def epsilon_below(steps: Sequence[Steps], grid: Grid, *, delta: float) -> float:
    """Lower bound on epsilon of one direction: what a test on the sum of rounded losses tells apart."""
    both = [rounded(one.pair, grid, lowest) for one, lowest in zip(steps, grid.lowest, strict=True)]
    firsts, seconds = [one[0] for one in both], [one[1] for one in both]
    relative = sum(one.count * max(first.error, second.error) for one, (first, second) in zip(steps, both, strict=True))
    if relative > _WORST_RELATIVE:
        return 0.0
    grid = _centred(steps, firsts, grid)
    first, second = _compose(steps, firsts, grid), _compose(steps, seconds, grid)
    sums, interval = grid.sums, grid.interval
    norm = _norm(grid)
    scale = _scale(first, grid)
    aliased = _outside(steps, firsts, grid)
    told = np.cumsum((first.masses * scale)[::-1])[::-1] - scale * (first.error * norm + aliased)
    told = told * math.exp(-2 * relative) - delta
    scale = _scale(second, grid)
    false = _discounted(np.maximum(second.masses, 0.0) * scale, interval) + second.error * norm * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        # a test that comes out with chance told + delta in one world and false in the other proves log(told / false)
        found = np.where((told > 0) & (false > 0), sums + np.log(told) - np.log(false), -np.inf)
    return max(0.0, float(found.max()) - 2 * relative)


def _compose(steps: Sequence[Steps], parts: Sequence[Losses], grid: Grid) -> Sum:
    """Convolve tilted masses; sums outside the window come in at its other side, and are charged by the callers."""
    from scipy import fft

    points, log_scale, shrink, slip = grid.points, 0.0, 0.0, 0.0
    product: Any = None
    for one, part in zip(steps, parts, strict=True):
        index = part.start + np.arange(len(part.log_masses))
        moment = part.log_moment(grid.tilt, grid.interval)
        tilted = np.exp(part.log_masses + grid.tilt * grid.interval * index - moment)
        folded = np.bincount(index % points, weights=tilted, minlength=points)
        log_scale += one.count * moment
        shrink += one.count * TRANSFORM * math.log2(points) * float(np.linalg.norm(folded))
        slip += 16 * one.count * ROUNDING
        spectrum = fft.rfft(folded)
        # the count-th power; masses sum to 1, so that only rounding makes a size larger
        size, angle = np.abs(spectrum), np.angle(spectrum)
        with np.errstate(divide="ignore"):
            size = np.exp(one.count * np.log(np.minimum(size, 1.0)))
        power = size * np.exp(1j * one.count * angle)
        product = power if product is None else product * power
    found = fft.irfft(product, points)
    size = float(np.linalg.norm(found))
    error = shrink * math.exp(min(50.0, shrink * math.sqrt(points))) + (slip + TRANSFORM * math.log2(points)) * size
    return Sum(masses=np.roll(found, -(grid.first % points)), log_scale=log_scale, error=error)


def _centred(steps: Sequence[Steps], parts: Sequence[Losses], grid: Grid) -> Grid:
    """Move the window to where rounding moved the sum: over many steps even a little of it adds up."""
    mean = 0.0
    for one, part in zip(steps, parts, strict=True):
        losses = grid.interval * (part.start + np.arange(len(part.log_masses)))
        share = np.exp(part.log_masses + grid.tilt * losses - part.log_moment(grid.tilt, grid.interval))
        mean += one.count * float(share @ losses)
    moved = mean - grid.mean
    if abs(moved) < MARGIN * grid.deviation:
        return grid
    return replace(grid, first=grid.first + round(moved / grid.interval))


def _outside(steps: Sequence[Steps], parts: Sequence[Losses], grid: Grid) -> float:
    """Bound the tilted mass of sums outside the window (Chernoff)."""

    def moment(tilt: float) -> float:
        return sum(one.count * part.log_moment(tilt, grid.interval) for one, part in zip(steps, parts, strict=True))

    here, last, first = moment(grid.tilt), grid.sums[-1], grid.sums[0]
    over = moment(grid.above) - here - (grid.above - grid.tilt) * last
    under = moment(grid.below) - here + (grid.tilt - grid.below) * first
    return math.exp(min(0.0, over)) + math.exp(min(0.0, under))


def _discounted(mass: Floats, interval: float) -> Floats:
    """At each sum, the masses from there on, each times ``exp(-(its sum - this sum))``."""
    from scipy.signal import lfilter

    found: Floats = lfilter([1.0], [1.0, -math.exp(-interval)], mass[::-1])[::-1]
    return found


def _norm(grid: Grid) -> float:
    """Bound on the Euclidean norm of the scales from a sum on, over the scale there."""
    return min(math.sqrt(grid.points), 1 / math.sqrt(-math.expm1(-2 * grid.tilt * grid.interval)))


def _scale(total: Sum, grid: Grid) -> Floats:
    """Mass over tilted mass at each sum; cut off where doubles end, far below any epsilon that is looked for."""
    return np.exp(np.minimum(total.log_scale - grid.tilt * grid.sums, 600.0))
