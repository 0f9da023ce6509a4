"""What shuffled batches leak at the least: a lower bound on the epsilon of DP-SGD with shuffling.

Chua et al., "How Private are DP-SGD Implementations?", ICML 2024 (arXiv 2403.17673): for the worst pair of data
sets, one epoch in T batches is the choice between ``N(2 e_t, s^2 I)`` and ``N(e_t, s^2 I)`` with the batch t of the
example uniform in 1..T, where s is the noise multiplier. Whatever can be told from ``max_t x_t`` alone is a
post-processing, so its privacy loss bounds that of the whole from below. Several epochs compose.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from trustml.privacy.loss_sums import TRANSFORM
from trustml.privacy.pairs import Floats

_SLICES = 4000
_DISCRETISATION = 1e-3
_MOST_POINTS = 1 << 23
"""Of the grid of all epochs: where it would have more, the interval grows, which can only lower the bound."""
_LEAST = -700.0
"""Of logarithms of masses without the example: smaller ones are lost in doubles, and a larger one bounds the loss."""
_MOST_EPOCHS = 10**5  # what fewer epochs tell, more tell too
_CUT_OFF = 1e-15  # by dp-accounting's default


def shuffle_lower_bound(*, noise_multiplier: float, steps_per_epoch: int, epochs: int, delta: float) -> float:
    """Give a lower bound on epsilon after whole epochs of shuffled batches, under zeroing out one example.

    Parameters
    ----------
    noise_multiplier : float
    steps_per_epoch : int
    epochs : int
        0 gives 0.
    delta : float

    Returns
    -------
    float
        No epsilon below it holds. It is not an upper bound of anything.
    """
    if epochs == 0:
        return 0.0
    with np.errstate(over="ignore"):
        try:
            return _composed(noise_multiplier, steps_per_epoch, min(epochs, _MOST_EPOCHS), delta)
        except OverflowError:  # dp-accounting came to losses far below zero: nothing is told apart
            return 0.0


@functools.lru_cache(maxsize=512)  # models of several backends have the same, at the same points of their curves
def _composed(noise_multiplier: float, steps_per_epoch: int, epochs: int, delta: float) -> float:
    with_example, without = _masses_of_epoch(noise_multiplier, steps_per_epoch, single=epochs == 1)
    if not len(without):
        return 0.0
    losses = with_example - without
    interval = max(_DISCRETISATION, epochs * float(np.ptp(losses)) / _MOST_POINTS)
    distribution = _epoch(noise_multiplier, steps_per_epoch, interval, single=epochs == 1)
    if epochs == 1:
        return float(distribution.get_epsilon_for_delta(delta))
    off = _composition_error(with_example, losses, epochs, interval)
    return float(distribution.self_compose(epochs).get_epsilon_for_delta(min(1.0, delta + off)))


@functools.lru_cache(maxsize=16)
def _masses_of_epoch(noise_multiplier: float, steps_per_epoch: int, *, single: bool) -> tuple[Floats, Floats]:
    """Logarithms of what is kept of both worlds' masses."""
    borders = _borders(noise_multiplier, steps_per_epoch)
    with_example = _log_masses(borders, shift=2.0, noise=noise_multiplier, batches=steps_per_epoch)
    without = np.maximum(_log_masses(borders, shift=1.0, noise=noise_multiplier, batches=steps_per_epoch), _LEAST)
    # a bound from below may drop masses: in one epoch these add nothing to delta, in several they are below exp(-50)
    kept = with_example > without - (0.0 if single else 50.0)
    return with_example[kept], without[kept]


@functools.lru_cache(maxsize=16)
def _epoch(noise_multiplier: float, steps_per_epoch: int, interval: float, *, single: bool) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    with_example, without = _masses_of_epoch(noise_multiplier, steps_per_epoch, single=single)
    return privacy_loss_distribution.from_two_probability_mass_functions(
        dict(enumerate(without)),
        dict(enumerate(with_example)),
        pessimistic_estimate=False,
        value_discretization_interval=interval,
    )


def _composition_error(log_masses: Floats, losses: Floats, epochs: int, interval: float) -> float:
    """How much too large delta may come out of dp-accounting's composition, which is no bound from below by itself.

    It counts the tails that it cuts off as infinite losses, lets them in at the other end, and its Fourier transform
    rounds (as in `loss_sums`).
    """
    steps = np.floor(losses / interval)
    _, place = np.unique(steps, return_inverse=True)
    norm = float(np.linalg.norm(np.bincount(place, weights=np.exp(log_masses))))
    points = epochs * (float(np.ptp(steps)) + 1) + 1
    return 2 * _CUT_OFF + epochs * TRANSFORM * (math.log2(points) + 2) * math.sqrt(points) * norm


def _borders(noise: float, batches: int) -> Floats:
    """Thresholds that cover where the largest coordinate lies in either world."""
    reach = noise * (math.sqrt(2 * math.log(max(2, batches))) + 9)
    return np.linspace(-reach, 2 + reach, _SLICES)


def _log_masses(borders: Floats, *, shift: float, noise: float, batches: int) -> Floats:
    """Log-probability that the largest coordinate lies in each slice, one coordinate being shifted."""
    from scipy.stats import norm

    # the largest coordinate is below a border where all of them are
    log_below = norm.logcdf((borders - shift) / noise) + (batches - 1) * norm.logcdf(borders / noise)
    log_below = np.concatenate([[-np.inf], log_below, [0.0]])
    with np.errstate(divide="ignore", invalid="ignore"):
        # log(exp(b) - exp(a)), where the upper tail is a difference of two numbers next to 1
        gap = np.minimum(log_below[:-1] - log_below[1:], 0.0)
        return np.where(np.isneginf(log_below[1:]), -np.inf, log_below[1:] + np.log(-np.expm1(gap)))
