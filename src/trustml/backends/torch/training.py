"""Plain training in PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional

from trustml.backends.contract import Model
from trustml.backends.torch.network import build_module, read_weights, to_input, to_labels
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.scenario.regimes import SGD


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, *, optimizer: SGD, dropout_seed: int) -> None:
        torch.manual_seed(dropout_seed)
        self._names = list(model.weights)
        self._module = build_module(model).train()
        self._optimizer = torch.optim.SGD(
            self._module.parameters(), lr=optimizer.learning_rate, momentum=optimizer.momentum
        )

    def step(self, inputs: Floats, labels: Ints) -> None:
        """Take one step on the mean cross-entropy of the batch."""
        self._optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self._module(to_input(inputs)), to_labels(labels)).backward()
        self._optimizer.step()

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._module, self._names)
