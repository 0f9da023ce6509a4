"""Opacus as its documentation drives it: ``make_private`` with its own Poisson loader."""

from __future__ import annotations

import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

from trustml.backends.contract import Model
from trustml.backends.settings import StockSettings
from trustml.backends.torch.clipping import keep_channels_first
from trustml.backends.torch.losses import batch_loss
from trustml.backends.torch.network import build_module, parameter_names, read_weights, to_input, to_labels
from trustml.backends.torch.optimizers import make_optimizer
from trustml.data.dataset import Examples
from trustml.models.weights import Weights


class MakePrivateTrainer:
    """See :class:`trustml.backends.contract.StockTrainer`."""

    def __init__(self, model: Model, *, settings: StockSettings, examples: Examples) -> None:
        torch.manual_seed(settings.seed)
        module = build_module(model).train()
        keep_channels_first(module)
        self._plain, self._task = module, model.task
        self._names = list(model.weights)
        optimizer = make_optimizer(settings.optimizer, parameter_names(module, self._names))
        loader = DataLoader(
            TensorDataset(to_input(examples.inputs), to_labels(examples.labels)), batch_size=settings.batch_size
        )
        self._module, self._optimizer, self._loader = PrivacyEngine().make_private(
            module=module,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=settings.clipping_norm,
        )

    def epoch(self) -> list[int]:
        """Go through Opacus's loader once."""
        sizes = []
        for inputs, labels in self._loader:
            self._optimizer.zero_grad()
            batch_loss(self._task, self._module(inputs), labels).backward()
            self._optimizer.step()
            sizes.append(len(labels))
        return sizes

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._plain, self._names)
