"""Canaries that are gradients or updates, put in among those of examples and clients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trustml.attacks.canaries import DiracDirections, Directions, Doubles, in_pieces, step_evidence
from trustml.backends.contract import Client, Federation, PrivateTrainer
from trustml.backends.settings import EngineChoice, RoundOutcome
from trustml.conformance.subject import flat
from trustml.data.batches import BatchPlan
from trustml.data.dataset import Floats
from trustml.models.weights import Weights
from trustml.plan.job import Mechanism
from trustml.worker.forwarding import ForwardingTrainer


class CanaryTrainer(ForwardingTrainer):
    """A :class:`trustml.backends.contract.PrivateTrainer` in whose sums canaries join, and that weighs the evidence.

    The auditor is the strongest that the guarantee speaks of: it sees every noisy gradient, and knows all examples
    and the batches they came in. So what examples added is taken off before the noisy sum is projected on the
    canaries' directions. Canaries are sampled apart from examples and from each other, so that this tells nothing of
    their coins and a canary is as well protected against this auditor as against any. Which canaries joined which step
    stays hidden from it.

    Parameters
    ----------
    trainer : PrivateTrainer
        Does the work.
    directions : Directions
    joins : BatchPlan
        Canaries that join each step.
    mechanism : Mechanism
    rate : float
        Probability that an included canary joins a step.
    strength : float
        See :func:`trustml.attacks.canaries.step_evidence`.
    """

    def __init__(
        self,
        trainer: PrivateTrainer,
        *,
        directions: Directions,
        joins: BatchPlan,
        mechanism: Mechanism,
        rate: float,
        strength: float,
    ) -> None:
        super().__init__(trainer)
        self._directions, self._joins = directions, joins
        self._mechanism, self._rate, self._strength = mechanism, rate, strength
        self._like = trainer.clipped_sum()
        self._steps = 0
        self.evidence: Doubles = np.zeros(directions.count)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Let canaries join, take the step, and see what it tells."""
        known = flat(self._trainer.clipped_sum())
        for piece in in_pieces(self._joins[self._steps], self._directions.size):
            rows = self._directions.rows(piece) * np.float32(clipping_norm)
            self._trainer.plant(unflat(rows, like=self._like), clipping_norm=clipping_norm)
        self._trainer.update(
            clipping_norm=clipping_norm, noise_multiplier=noise_multiplier, learning_rate=learning_rate
        )
        noisy = flat(self._trainer.gradient()) * self._mechanism.expected_batch_size
        self.evidence += step_evidence(
            self._directions.project((noisy - known) / clipping_norm),
            rate=self._rate,
            noise_multiplier=noise_multiplier,
            strength=self._strength,
        )
        self._steps += 1


class CanaryFederation:
    """A :class:`trustml.backends.contract.Federation` to whose rounds clients come that answer a given direction.

    Parameters
    ----------
    federation : Federation
        Does the work.
    directions : Directions
    joins : BatchPlan
        Canaries that come to each round.
    """

    def __init__(self, federation: Federation, *, directions: Directions, joins: BatchPlan) -> None:
        self._federation, self._directions, self._joins = federation, directions, joins
        self._like = federation.weights()
        self._rounds = 0

    @property
    def choice(self) -> EngineChoice | None:
        """That of the federation."""
        return self._federation.choice

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Let canaries come, and take the round."""
        norm = np.float32(self._federation.clipping_norm())
        for piece in in_pieces(self._joins[self._rounds], self._directions.size):
            self._federation.plant(unflat(self._directions.rows(piece) * norm, like=self._like))
        self._rounds += 1
        return self._federation.round(clients)

    def plant(self, updates: Weights) -> None:
        """Leave it to the federation."""
        self._federation.plant(updates)

    def weights(self) -> Weights:
        """That of the federation."""
        return self._federation.weights()

    def clipping_norm(self) -> float:
        """That of the federation."""
        return self._federation.clipping_norm()


def unflat(rows: Floats, *, like: Weights) -> Weights:
    """Turn rows of all coordinates into weights behind a leading axis; the opposite of ``flat`` for each row."""
    ends = np.cumsum([part.size for part in like.values()])[:-1]
    parts = np.split(rows, ends, axis=1)
    return {
        name: np.ascontiguousarray(part).reshape(len(rows), *like[name].shape)
        for name, part in zip(like, parts, strict=True)
    }


def strength_of(directions: Directions, like: Weights, *, per_layer: bool) -> float:
    """Length of a clipped canary along its direction, in units of the clipping norm, on average.

    Clipped per layer, no single direction is the worst case: what lies in one tensor keeps
    ``1 / sqrt(number of tensors)`` of its length.
    """
    if not per_layer:
        return 1.0
    each = 1 / math.sqrt(len(like))
    if isinstance(directions, DiracDirections):
        return each
    lengths = [math.sqrt(part.size / directions.size) for part in like.values()]
    return sum(length * min(length, each) for length in lengths)
