"""Plain training in PyTorch."""

from __future__ import annotations

import torch

from trustml.backends.contract import Model
from trustml.backends.torch.losses import batch_loss
from trustml.backends.torch.network import (
    build_module,
    load_weights,
    read_weights,
    to_input,
    to_labels,
    trained_parameters,
)
from trustml.backends.torch.optimizers import make_optimizer, read_state, restore_state, set_learning_rate
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights
from trustml.scenario.optimizers import Optimizer


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, optimizer: Optimizer, dropout_seed: int) -> None:
        torch.manual_seed(dropout_seed)
        self._module, self._task = build_module(model).train(), model.task
        self._names = list(model.weights)
        self._parameters = trained_parameters(self._module, model)
        self._optimizer = make_optimizer(optimizer, self._parameters)

    def step(self, inputs: Floats, labels: LabelArray, *, learning_rate: float) -> None:
        """Take one step on the mean loss of the batch."""
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.zero_grad(set_to_none=True)
        batch_loss(self._task, self._module(to_input(inputs)), to_labels(labels)).backward()
        self._optimizer.step()

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._module, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return read_state(self._optimizer, self._parameters)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state."""
        load_weights(self._module, weights)
        restore_state(self._optimizer, self._parameters, state)
