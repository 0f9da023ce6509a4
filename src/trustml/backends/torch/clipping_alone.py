"""Per-example gradients with no rule for any layer: every example goes through the network by itself.

By ``torch.func`` under ``vmap``, each in a batch of one; or, where that cannot be, by one backward pass an example,
which is the oracle of all other ways for a network of somebody's own code. Opacus's modes see whole batches.
"""

from __future__ import annotations

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.given_rows import clip_rows, square_norms
from trustml.backends.torch.losses import copies_loss
from trustml.backends.torch.network import build_module, trained_parameters
from trustml.backends.torch.optimizers import make_optimizer

ALONE = ("one by one", "vmap")
"""Ways to clip that see every example alone: the first is the oracle of all others."""


class AloneClipper:
    """Per-example gradients of a network that is asked for one example at a time.

    See :class:`trustml.backends.torch.clipping.Clipper`. The copies of an example make one mean loss.
    """

    most_examples: int | None = None

    def __init__(self, mode: str, model: Model, settings: PrivateSettings) -> None:
        self.module: nn.Module = build_module(model).train()
        self.parameters = trained_parameters(self.module, model)
        self._names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        self._mode, self._settings, self._task = mode, settings, model.task
        self.optimizer = DPOptimizer(
            make_optimizer(settings.optimizer, self.parameters),
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=settings.expected_batch_size,
        )

    def clip(self, inputs: Tensor, labels: Tensor, *, examples: int, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of per-example gradients, clipped."""
        copies = self._settings.multiplicity
        each, each_label = inputs.unflatten(0, (-1, copies)), labels.unflatten(0, (-1, copies))
        if self._mode == "vmap":
            current = {self._names[id(one)]: one.detach() for one in self.parameters.values()}
            # each draws masks of its own for dropout
            found = vmap(grad(self._loss), in_dims=(None, 0, 0), randomness="different")(current, each, each_label)
            rows = [found[self._names[id(one)]][:examples] for one in self.parameters.values()]
        else:
            rows = self._loop(each[:examples], each_label[:examples])
        norms = torch.stack([square_norms(row.flatten(1)) for row in rows]).sum(dim=0).sqrt()
        unclipped = int((norms <= clipping_norm).sum()) if self._settings.count_unclipped else 0
        return clip_rows(rows, clipping_norm=clipping_norm, per_layer=self._settings.per_layer), unclipped

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of the rows, clipped by the same rule."""
        parts = [rows[name] for name in self.parameters]
        return clip_rows(parts, clipping_norm=clipping_norm, per_layer=self._settings.per_layer)

    def _loss(self, parameters: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return self._of_one(functional_call(self.module, parameters, (inputs,)), labels)

    def _of_one(self, outputs: Tensor, labels: Tensor) -> Tensor:
        own = self._settings.rows_of_users
        return copies_loss(self._task, outputs, labels, copies=self._settings.multiplicity, own_labels=own)

    def _loop(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        parameters = list(self.parameters.values())
        found = [
            torch.autograd.grad(
                self._of_one(self.module(one), label), parameters, allow_unused=True, materialize_grads=True
            )
            for one, label in zip(inputs, labels, strict=True)
        ]
        return [torch.stack(rows) for rows in zip(*found, strict=True)]
