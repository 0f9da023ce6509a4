"""Search by machine for an example that moves the clipped sum by more than the clipping norm.

A proof on one network is none: where an example's gradient is mostly rounding (a normalised image far from zero, a
last layer that cancels), what a compiler, a library or a batch of another size does to the last digit decides how far
the sum moves. The search draws networks, weights, batches and blocks, adds one example to a batch, and goes on from the
trials that came closest to the bound, as an evolution strategy does (Rechenberg, 1973).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tests.conformance.trials import (
    CLASSES,
    Network,
    Trial,
    draw_examples,
    draw_networks,
    draw_trial,
    draw_weights,
    mutated,
)
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.privacy.rounding import summation_rounding

MARGIN = 1e-5
"""Beyond the clipping norm, for the rounding of the norm and of the scaled gradient themselves."""
_LEAST = 3
"""Trials on networks that are drawn, however little time there is."""
_KEPT = 4
"""Trials of a network that the search goes on from."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """How far an example moved the sum.

    Attributes
    ----------
    network : Network
    trial : Trial
    moved : float
        In clipping norms.
    allowed : float
        One, :data:`MARGIN`, and what rounding the sum may add, which the noise covers.
    """

    network: Network
    trial: Trial
    moved: float
    allowed: float

    @property
    def passes(self) -> bool:
        """Whether the example moved the sum no further than is allowed."""
        return self.moved <= self.allowed


class ClippedSum(Protocol):
    """The compiled training path of one network."""

    def __call__(self, weights: Weights, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Weights:
        """Sum of clipped gradients of a batch of any size, inputs (n, k, *x) and labels (n,), without noise."""
        ...


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search came to.

    Attributes
    ----------
    worst : Move
        The one that went furthest beyond what is allowed, or stayed nearest to it.
    networks, trials : int
    """

    worst: Move
    networks: int
    trials: int


def search_sensitivity(
    make: Callable[[Network], ClippedSum],
    *,
    seconds: float,
    seed: int,
    trials: int = 40,
    networks: Iterator[Network] | None = None,
    known: Sequence[tuple[Network, Sequence[Trial]]] = (),
    tell: Callable[[Move], None] = lambda move: None,
) -> Search:
    """Search until the time is over, at least on one network.

    Parameters
    ----------
    make : callable
        From a network to its clipped sum, which may take a second to compile.
    seconds : float
    seed : int
    trials : int
        On each network.
    networks : iterator of Network, optional
        Instead of random ones.
    known : sequence of (Network, sequence of Trial)
        Tried first, before time counts.
    tell : callable
        Is given each move that is the worst so far.
    """
    generator = np.random.default_rng(seed)
    moves = _moves(make, known, networks or draw_networks(generator), trials, seconds, generator)
    worst, seen, tried = None, set[int](), 0
    for number, move in moves:
        seen.add(number)
        tried += 1
        if worst is None or excess(move) > excess(worst):
            worst = move
            tell(move)
    assert worst is not None
    return Search(worst=worst, networks=len(seen), trials=tried)


def _moves(
    make: Callable[[Network], ClippedSum],
    known: Sequence[tuple[Network, Sequence[Trial]]],
    networks: Iterator[Network],
    trials: int,
    seconds: float,
    generator: np.random.Generator,
) -> Iterator[tuple[int, Move]]:
    """Give the number of a network and a move on it: all that is known, then what is drawn until time is over."""
    for number, (network, of_it) in enumerate(known):
        clipped_sum = make(network)
        yield from ((number, try_one(network, trial, clipped_sum)) for trial in of_it)
    end, drawn = time.monotonic() + seconds, 0
    for number, network in enumerate(networks, len(known)):
        clipped_sum = make(network)
        best: list[Move] = []
        for turn in range(trials):
            fresh = not best or turn < trials // 3 or generator.random() < 0.2
            trial = draw_trial(generator) if fresh else mutated(best[generator.integers(len(best))].trial, generator)
            move = try_one(network, trial, clipped_sum)
            best = sorted([*best, move], key=excess, reverse=True)[:_KEPT]
            yield number, move
            drawn += 1
            if drawn >= _LEAST and time.monotonic() > end:
                return


def try_one(network: Network, trial: Trial, clipped_sum: ClippedSum) -> Move:
    """Add one example to a batch, look at the sums before and after, and at the example alone."""
    generator = np.random.default_rng(trial.seed)
    weights = draw_weights(network, trial, generator)
    shape = network.copies, *network.input_shape
    others = draw_examples(trial.others, (trial.batch, *shape), generator)
    added = draw_examples(trial.added, (1, *shape), generator)
    labels = generator.integers(CLASSES, size=trial.batch + 1)
    place = round(trial.place * trial.batch)
    both = np.concatenate([others[:place], added, others[place:]])
    classes = np.insert(labels[:-1], place, labels[-1])

    def total(inputs: Floats, labels: Ints) -> Weights:
        return clipped_sum(weights, inputs, labels, clipping_norm=trial.clipping_norm)

    before = total(others, labels[:-1])
    # unlike Python's, numpy's maximum of a number and of what is none is none
    moved = float(np.maximum(_distance(total(both, classes), before), _distance(total(added, labels[-1:]), {})))
    return Move(
        network=network,
        trial=trial,
        moved=moved / trial.clipping_norm,
        allowed=1 + MARGIN + summation_rounding(trial.batch + 1),
    )


def _distance(one: Weights, other: Weights) -> float:
    """L2 norm of the difference, in float64; what is missing on one side is zero."""
    zero = np.zeros(())
    parts = (one.get(name, zero).astype(np.float64) - other.get(name, zero) for name in one.keys() | other.keys())
    return math.sqrt(sum(float(np.square(part).sum()) for part in parts))


def excess(move: Move) -> float:
    """How far beyond what is allowed, in clipping norms; what is no number is furthest."""
    return move.moved - move.allowed if math.isfinite(move.moved) else math.inf
