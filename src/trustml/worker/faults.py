"""Mistakes on purpose, to see whether an audit notices them."""

from __future__ import annotations

from trustml.backends.contract import PrivateTrainer
from trustml.backends.settings import Clipped
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.scenario.attacks import Fault
from trustml.worker.forwarding import ForwardingTrainer

_NEVER = 1e12
"""A clipping norm that no gradient reaches."""


class FaultyTrainer(ForwardingTrainer):
    """A :class:`trustml.backends.contract.PrivateTrainer` that makes one mistake and says nothing of it.

    Parameters
    ----------
    trainer : PrivateTrainer
        Does the work, with other numbers than it should be given.
    fault : {"no clipping", "noise divided by the batch", "halved sensitivity"}
        With half the sensitivity, noise has half its stated standard deviation.
    expected_batch_size : int
    """

    def __init__(self, trainer: PrivateTrainer, fault: Fault, *, expected_batch_size: int) -> None:
        super().__init__(trainer)
        self._clips = fault != "no clipping"
        self._noise = {"noise divided by the batch": 1 / expected_batch_size, "halved sensitivity": 0.5}.get(fault, 1.0)

    def accumulate(self, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Clipped:
        """Clip, or do not."""
        return self._trainer.accumulate(inputs, labels, clipping_norm=clipping_norm if self._clips else _NEVER)

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip, or do not."""
        self._trainer.plant(gradients, clipping_norm=clipping_norm if self._clips else _NEVER)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Take a step, perhaps with too little noise."""
        self._trainer.update(
            clipping_norm=clipping_norm, noise_multiplier=noise_multiplier * self._noise, learning_rate=learning_rate
        )


def with_fault(trainer: PrivateTrainer, fault: Fault, *, expected_batch_size: int) -> PrivateTrainer:
    """Wrap a trainer; one without a fault comes back as it is."""
    if not fault:
        return trainer
    return FaultyTrainer(trainer, fault, expected_batch_size=expected_batch_size)
