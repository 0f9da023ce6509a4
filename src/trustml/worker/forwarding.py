"""A private trainer around another, to be watched or bent in one place at a time."""

from __future__ import annotations

from trustml.backends.contract import PrivateTrainer
from trustml.backends.settings import Clipped, EngineChoice
from trustml.data.dataset import Floats, Ints
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

    def accumulate(self, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Clipped:
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
