"""Distinguishing games: one private step on two neighbouring batches, again and again.

What one step of DP-SGD promises is a Gaussian mechanism. An attacker who chose the batch tries to tell from the
noisy gradient whether one example more was in it; how well that goes bounds epsilon from below. The pair of batches
is searched with noise off, which costs no confidence, and every step gives one score, so that trials are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from trustml.attacks.bounds import Bound, many_run_bound
from trustml.conformance.subject import OUTLIER, Step, StepFactory, StepSettings, Vector, flat, norm_of
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError

Reference: TypeAlias = Literal["nothing", "the next step", "another run"]

_NO_NUMBER = 1e300
"""Score of a step that gives something not finite, which tells as much as a huge number."""
_TELL_EVERY = 50
_BATCHES: tuple[tuple[float, ...], ...] = (
    (),
    (1.0,),
    (OUTLIER,),
    (1.0, 1.0, -5.0),
    *((2.0 ** (power / 3),) * 16 for power in range(-3, 7)),
)
_CANARIES = (OUTLIER, -OUTLIER, 3.0, -3.0, 25.0)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two batches that differ by one example, and what the attacker compares the step with.

    Attributes
    ----------
    name : str
    inputs : float32 array of shape (n, *x)
        The batch without the canary; may be empty.
    labels : int64 array of shape (n,)
    canary : float32 array of shape (1, *x)
    canary_label : int64 array of shape (1,)
    micro_batch_size : int
        Of the step; 0 leaves it open.
    reference : {"nothing", "the next step", "another run"}
        A step on the batch without the canary that is subtracted: the next one of the same run, or one that the
        attacker takes in a run of its own. The canary is in one step all the same, so the claim stays.
    """

    name: str
    inputs: Floats
    labels: Ints
    canary: Floats
    canary_label: Ints
    micro_batch_size: int = 0
    reference: Reference = "nothing"

    def batch(self, present: bool) -> tuple[Floats, Ints]:
        """Give the batch of one world."""
        if not present:
            return self.inputs, self.labels
        return np.concatenate([self.inputs, self.canary]), np.concatenate([self.labels, self.canary_label])


@dataclass(frozen=True, kw_only=True)
class GameResult:
    """What a game came to.

    Attributes
    ----------
    claim : float
        Epsilon at the bound's delta that one step promises.
    bound : Bound
    """

    claim: float
    bound: Bound

    @property
    def violated(self) -> bool:
        """Whether the bound refutes the claim."""
        return self.bound.epsilon > self.claim


def candidate_pairs(inputs: Floats, labels: Ints) -> Iterator[Pair]:
    """Pairs of which one is the worst for many a mistake; the plain ones first.

    One example at several scales, and a canary made of it that pulls with the others or against them.

    Parameters
    ----------
    inputs : float32 array of shape (n, *x)
        Its first example is used.
    labels : int64 array of shape (n,)
        Of two classes at least.

    Raises
    ------
    UsageError
        If there is one class alone.
    """
    one, label, other = one_example(inputs, labels)
    for scales in _BATCHES:
        batch = one * np.array(scales, np.float32).reshape(-1, *(1,) * (one.ndim - 1))
        for canary_scale in _CANARIES:
            for canary_label in (other, label):
                yield Pair(
                    name=f"{len(scales)} of scale {scales[:1]}, canary of scale {canary_scale:g}",
                    inputs=batch,
                    labels=np.repeat(label, len(scales)),
                    canary=one * np.float32(canary_scale),
                    canary_label=canary_label,
                )


def worst_pair(make_step: StepFactory, inputs: Floats, labels: Ints, settings: StepSettings) -> Pair:
    """Find the pair whose un-noised sums are farthest apart; of about equal ones the first.

    Parameters
    ----------
    make_step : callable
        See :class:`trustml.conformance.StepFactory`.
    inputs, labels : arrays
        See :func:`candidate_pairs`.
    settings : StepSettings
        Its noise is left out.
    """
    quiet = make_step(replace(settings, noise_multiplier=0.0))
    best, farthest = None, -1.0
    for pair in candidate_pairs(inputs, labels):
        apart = norm_of(_difference(quiet, pair)) * settings.expected_batch_size
        if math.isfinite(apart) and apart > 1.01 * farthest:
            best, farthest = pair, apart
    if best is None:
        raise UsageError("make_step: no pair of batches gives finite gradients; see check_step")
    return best


def play(
    make_step: StepFactory,
    pair: Pair,
    settings: StepSettings,
    *,
    trials: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Vector, Vector]:
    """Take `trials` noisy steps in each world and score them.

    Parameters
    ----------
    make_step : callable
    pair : Pair
    settings : StepSettings
        Its seed and the three that follow it are used, one for each run.
    trials : int
    tell : callable
        Is told now and then how many of all steps are done.

    Returns
    -------
    present, absent : float64 arrays of shape (trials,)
        Projection of the noisy sum on the direction in which the canary moves the sum without noise.
    """
    if trials < 2:
        raise UsageError(f"trials: {trials}; a game needs 2 or more, and hundreds to show anything")
    direction = _direction(make_step, pair, settings)
    scores = {}
    for world, present in enumerate((True, False)):
        step = make_step(replace(settings, seed=settings.seed + 2 * world))
        compared = step
        if pair.reference == "another run":
            compared = make_step(replace(settings, seed=settings.seed + 2 * world + 1))
        found = np.empty(trials)
        for trial in range(trials):
            seen = flat(step(*pair.batch(present), pair.micro_batch_size))
            if pair.reference != "nothing":
                seen = seen - flat(compared(*pair.batch(False), pair.micro_batch_size))
            found[trial] = _score(seen * settings.expected_batch_size, direction)
            done = world * trials + trial + 1
            if done % _TELL_EVERY == 0 or done == 2 * trials:
                tell(done, 2 * trials)
        scores[present] = found
    return scores[True], scores[False]


def judge(
    present: Vector, absent: Vector, *, noise_multiplier: float, delta: float, confidence: float, name: str = "game"
) -> GameResult:
    """Hold a game's scores against what one step promises.

    Parameters
    ----------
    present, absent : float64 arrays of shape (trials,)
    noise_multiplier : float
        As it is claimed. The claim is the exact epsilon of one Gaussian mechanism, without amplification: the
        attacker knows the batch.
    delta, confidence : float
    name : str
        What to call the scores in errors.
    """
    from trustml.privacy.accounting import gaussian_epsilon

    if not 0 < noise_multiplier < math.inf:
        raise UsageError(f"noise_multiplier: {noise_multiplier!r} is not positive and finite, so it promises nothing")
    bound = many_run_bound(present, absent, delta=delta, confidence=confidence, name=name)
    return GameResult(claim=gaussian_epsilon(noise_multiplier**-2, delta=delta), bound=bound)


def one_example(inputs: Floats, labels: Ints) -> tuple[Floats, Ints, Ints]:
    """Give the first example, its label, and another label."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise UsageError(f"labels: {len(classes)} class; a game needs examples of two classes or more")
    return inputs[:1], labels[:1], classes[(np.searchsorted(classes, labels[:1]) + 1) % len(classes)]


def _difference(quiet: Step, pair: Pair) -> Vector:
    with_it, without = (flat(quiet(*pair.batch(present), pair.micro_batch_size)) for present in (True, False))
    return with_it - without


def _direction(make_step: StepFactory, pair: Pair, settings: StepSettings) -> Vector:
    """Unit vector from one world to the other without noise; zero where the worlds are the same or not finite."""
    apart = _difference(make_step(replace(settings, noise_multiplier=0.0)), pair)
    length = norm_of(apart)
    return apart / length if math.isfinite(length) and length > 0 else np.zeros_like(apart)


def _score(seen: Vector, direction: Vector) -> float:
    return float(seen @ direction) if np.isfinite(seen).all() else _NO_NUMBER
