"""Private training by Opacus: its per-example gradients and its optimizer, on batches drawn by the core.

Opacus's own loader is left out on purpose: it would draw other batches than the other backends get, and it
rounds the expected batch size to an integer of its own making. So is its noise, which is ``torch.normal``'s and ends
at 5.77 standard deviations (:mod:`trustml.backends.torch.noise`).
"""

from __future__ import annotations

import torch

from trustml.backends.contract import Model
from trustml.backends.settings import Clipped, EngineChoice, PrivateSettings
from trustml.backends.torch.clipping import Clipper, make_clipper
from trustml.backends.torch.device import current_device
from trustml.backends.torch.modes import choose_mode
from trustml.backends.torch.network import (
    from_torch_tensors,
    load_weights,
    read_weights,
    rows_to_torch,
)
from trustml.backends.torch.noise import CorrelatedNoise, add_noise, noise_words
from trustml.backends.torch.optimizers import read_state, restore_state, set_learning_rate
from trustml.backends.torch.ranks import Ranks, clip_block
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights


class OpacusTrainer:
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, *, settings: PrivateSettings, dropout_seed: int) -> None:
        self._settings = settings
        self._choice = choose_mode(model, settings)
        torch.manual_seed(dropout_seed)
        self._generator = noise_words(settings.noise_seed, current_device())
        self._clipper: Clipper = make_clipper(self._choice.name, model, settings)
        self._correlated = settings.noise and CorrelatedNoise(
            settings.noise,
            size=sum(parameter.numel() for parameter in self._parameters.values()),
            generator=self._generator,
            device=current_device(),
        )
        self._rows = settings.block_rows(most=self._clipper.most_examples, multiple=max(1, settings.devices))
        self._ranks = (
            Ranks(
                model,
                settings,
                clipper=self._clipper,
                mode=self._choice.name,
                dropout_seed=dropout_seed,
                rows=self._rows,
            )
            if settings.devices > 1
            else None
        )
        self._names = list(model.weights)
        self._sums: list[torch.Tensor] | None = None

    @property
    def choice(self) -> EngineChoice:
        """Opacus's ``grad_sample_mode`` in use."""
        return self._choice

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip one microbatch, block by block, and add it to the sum."""
        if not len(labels):
            return Clipped(finite=True, unclipped=0)
        found = [
            self._clip_block(inputs[start : start + self._rows], labels[start : start + self._rows], clipping_norm)
            for start in range(0, len(labels), self._rows)
        ]
        sums = found[0][0]
        for more, _ in found[1:]:
            torch._foreach_add_(sums, more)
        if not torch.stack([part.sum() for part in sums]).isfinite().all():
            return Clipped(finite=False, unclipped=0)
        self._add(sums)
        return Clipped(finite=True, unclipped=sum(unclipped for _, unclipped in found))

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip gradients from elsewhere by the same rule, and add them to the sum."""
        self._add(self._clipper.clip_rows(rows_to_torch(gradients), clipping_norm=clipping_norm))

    def clipped_sum(self) -> Weights:
        """Sum so far, without noise."""
        return from_torch_tensors(dict(zip(self._parameters, self._sum(), strict=True)))

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Add noise, let Opacus divide, and take the step."""
        optimizer = self._clipper.optimizer
        deviation = self._settings.deviation(noise_multiplier=noise_multiplier, clipping_norm=clipping_norm)
        noisy = (
            self._correlated.add(self._sum(), deviation=deviation)
            if self._correlated
            else add_noise(self._sum(), deviation=deviation, generator=self._generator)
        )
        for parameter, total in zip(self._parameters.values(), noisy, strict=True):
            parameter.grad = total.view_as(parameter)
            parameter.grad_sample = total.new_zeros((0, *total.shape))  # one batch, for Opacus's divisor
        optimizer.scale_grad()
        set_learning_rate(optimizer.original_optimizer, learning_rate)
        optimizer.original_optimizer.step()
        self._gradient = [parameter.grad.detach() for parameter in self._parameters.values()]
        optimizer.zero_grad(set_to_none=True)
        for parameter in self._parameters.values():
            parameter.grad_sample = None
        self._sums = None

    def gradient(self) -> Weights:
        """Noisy mean gradient of the last update."""
        return from_torch_tensors(dict(zip(self._parameters, self._gradient, strict=True)))

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._clipper.module, self._names)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        return read_state(self._clipper.optimizer.original_optimizer, self._parameters)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state; the noise goes on from its own, new seed."""
        load_weights(self._clipper.module, weights)
        restore_state(self._clipper.optimizer.original_optimizer, self._parameters, state)

    def _clip_block(self, inputs: Floats, labels: LabelArray, clipping_norm: float) -> tuple[list[torch.Tensor], int]:
        if self._ranks is not None:
            return self._ranks.clip(inputs, labels, clipping_norm=clipping_norm)
        own_labels = self._settings.rows_of_users
        return clip_block(
            self._clipper, inputs, labels, rows=self._rows, clipping_norm=clipping_norm, own_labels=own_labels
        )

    def _add(self, sums: list[torch.Tensor]) -> None:
        if self._sums is None:
            self._sums = sums
        else:
            torch._foreach_add_(self._sums, sums)

    @property
    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return self._clipper.parameters

    def _sum(self) -> list[torch.Tensor]:
        if self._sums is None:
            return [torch.zeros_like(parameter) for parameter in self._parameters.values()]
        return self._sums
