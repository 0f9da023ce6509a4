"""A private trainer around another, to be watched or bent in one place at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from trustml.backends.contract import PrivateTrainer
from trustml.backends.settings import Clipped, EngineChoice
from trustml.conformance.subject import flat
from trustml.conformance.training import NOISE_SHOWN, ExecutedStep
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights


class ForwardingTrainer:
    """A :class:`trustml.backends.contract.PrivateTrainer` that leaves everything to another one.

    Parameters
    ----------
    trainer : PrivateTrainer
        Does the work.
    """

    def __init__(self, trainer: PrivateTrainer) -> None:
        self._trainer = trainer

    @property
    def choice(self) -> EngineChoice:
        """That of the trainer."""
        return self._trainer.choice

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Leave it to the trainer."""
        return self._trainer.accumulate(inputs, labels, clipping_norm=clipping_norm)

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Leave it to the trainer."""
        self._trainer.plant(gradients, clipping_norm=clipping_norm)

    def clipped_sum(self) -> Weights:
        """That of the trainer."""
        return self._trainer.clipped_sum()

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Leave it to the trainer."""
        self._trainer.update(
            clipping_norm=clipping_norm, noise_multiplier=noise_multiplier, learning_rate=learning_rate
        )

    def gradient(self) -> Weights:
        """That of the trainer."""
        return self._trainer.gradient()

    def weights(self) -> Weights:
        """That of the trainer."""
        return self._trainer.weights()

    def state(self) -> Weights:
        """That of the trainer."""
        return self._trainer.state()

    def restore(self, weights: Weights, state: Weights) -> None:
        """Restore the trainer."""
        self._trainer.restore(weights, state)


class TracingTrainer(ForwardingTrainer):
    """A :class:`trustml.backends.contract.PrivateTrainer` that tells of every update before it returns.

    Parameters
    ----------
    trainer : PrivateTrainer
        Does the work.
    attempt : int
    expected_batch_size : int
        To find the noise: noisy gradient times this, less the sum.
    tell : callable
        Gets each :class:`ExecutedStep`.
    begin : callable, optional
        Called before each update, so that a step that is killed on its way is seen too.
    """

    def __init__(
        self,
        trainer: PrivateTrainer,
        *,
        attempt: int,
        expected_batch_size: int,
        tell: Callable[[ExecutedStep], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(trainer)
        self._attempt = attempt
        self._expected, self._tell, self._begin = expected_batch_size, tell, begin
        self._batch, self._size = hashlib.sha256(), 0

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Watch a microbatch."""
        self._batch.update(np.ascontiguousarray(inputs).tobytes())
        self._size += len(labels)
        return self._trainer.accumulate(inputs, labels, clipping_norm=clipping_norm)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Watch a step."""
        self._begin()
        quiet = flat(self._trainer.clipped_sum())
        self._trainer.update(
            clipping_norm=clipping_norm, noise_multiplier=noise_multiplier, learning_rate=learning_rate
        )
        noise = flat(self._trainer.gradient()) * self._expected - quiet
        scale = max(noise_multiplier * clipping_norm, 1e-30)
        begin = tuple(round(float(value), 5) for value in noise[:NOISE_SHOWN] / scale)
        self._tell(ExecutedStep(attempt=self._attempt, batch=self._batch.hexdigest(), size=self._size, noise=begin))
        self._batch, self._size = hashlib.sha256(), 0
