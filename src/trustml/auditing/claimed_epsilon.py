"""Epsilon from the figures that a claimant states, for each way of drawing batches."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from trustml.auditing.claim import ClaimedSampling


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The mechanism as stated, complete.

    Attributes
    ----------
    noise_multiplier, sample_rate : float
    steps : int
    delta : float
    replace : bool
        Whether one example is replaced by another, which counts twice.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    delta: float
    replace: bool

    @property
    def batches_an_epoch(self) -> int:
        """Number of batches that hold every example once."""
        return math.ceil(1 / self.sample_rate - 1e-9)


@dataclass(frozen=True, kw_only=True)
class ClaimedBound:
    """What is known of the true epsilon.

    Attributes
    ----------
    low : float
        No smaller epsilon holds.
    high : float
        This one is proved.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Three:
    """The same noise, rate and steps under three ways of drawing.

    Attributes
    ----------
    poisson : float
        Upper bound for secret Poisson batches.
    shuffle_low : float
        Lower bound for shuffled epochs.
    unamplified : float
        Upper bound for shuffled epochs, or any others that hold each example once.
    """

    poisson: float
    shuffle_low: float
    unamplified: float


def epsilon_bounds(figures: Figures, sampling: ClaimedSampling) -> ClaimedBound:
    """What is known of epsilon if batches are drawn in this way.

    Poisson: the least and the greatest of several proved bounds (`trustml.privacy.bounds`). Full batch, and in turn:
    the closed form of the Gaussian mechanism over the batches that an example is known to be in. Published: the same
    over all batches, as one example may be in every one; no lower bound. Shuffle: Chua et al.'s
    lower bound (arXiv 2403.17673) and the unamplified composition. Fixed size: Renyi DP (Wang et al., AISTATS 2019) or
    the unamplified composition, whichever is less; no lower bound.
    """
    if figures.noise_multiplier == 0:
        return ClaimedBound(low=math.inf, high=math.inf)
    if sampling == "full batch":
        exact = _gaussian(figures, figures.steps)
        return ClaimedBound(low=exact, high=exact)
    if sampling == "in turn":
        exact = _unamplified(figures)
        return ClaimedBound(low=exact, high=exact)
    if sampling == "published":
        return ClaimedBound(low=0.0, high=_gaussian(figures, figures.steps))
    if sampling in ("poisson", "cyclic poisson"):
        return _poisson(figures)
    if sampling == "fixed":
        return ClaimedBound(low=0.0, high=_fixed(figures))
    return ClaimedBound(low=_shuffle_low(figures), high=_unamplified(figures))


def three_bounds(figures: Figures) -> Three:
    """Compute all three; the noise must not be 0."""
    return Three(poisson=_poisson(figures).high, shuffle_low=_shuffle_low(figures), unamplified=_unamplified(figures))


def _poisson(figures: Figures) -> ClaimedBound:
    from trustml.privacy.bounds import epsilon_bounds as proved
    from trustml.privacy.events import NoiseEvent

    mechanism = NoiseEvent(
        kind="poisson",
        noise_multiplier=figures.noise_multiplier,
        count=figures.steps,
        sample_rate=figures.sample_rate,
    )
    found = proved([mechanism], delta=figures.delta, replace=figures.replace)
    return ClaimedBound(low=found.low, high=found.high)


def _gaussian(figures: Figures, times: int) -> float:
    from trustml.privacy.accounting import gaussian_epsilon

    return gaussian_epsilon((4 if figures.replace else 1) * times / figures.noise_multiplier**2, delta=figures.delta)


def _unamplified(figures: Figures) -> float:
    """Every example is in one batch an epoch; a begun epoch counts whole."""
    return _gaussian(figures, math.ceil(figures.steps / figures.batches_an_epoch))


@functools.lru_cache(maxsize=64)
def _shuffle_low(figures: Figures) -> float:
    from trustml.privacy.shuffle_bound import shuffle_lower_bound

    return shuffle_lower_bound(
        noise_multiplier=figures.noise_multiplier,
        steps_per_epoch=figures.batches_an_epoch,
        epochs=figures.steps // figures.batches_an_epoch,
        delta=figures.delta,
    )


def _fixed(figures: Figures) -> float:
    from trustml.privacy.accounting import epsilon_without_replacement
    from trustml.privacy.events import NoiseEvent

    million = 10**6  # only the ratio of the two counts enters
    mechanism = NoiseEvent(
        kind="without replacement",
        noise_multiplier=figures.noise_multiplier,
        count=figures.steps,
        batch_size=max(1, math.ceil(figures.sample_rate * million)),
        examples=million,
    )
    return epsilon_without_replacement([mechanism], delta=figures.delta).value
