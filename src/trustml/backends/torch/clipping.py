"""Opacus's ways to a sum of clipped gradients, each driven as the pair that Opacus makes of it.

*Sampled* (``hooks``, ``functorch``, ``ew``): all per-example gradients in memory, clipped by ``DPOptimizer``.
*Ghost*: their norms alone, then one more backward pass over the weighted losses (Li et al., ICLR 2022).
*Book-keeping*, which Opacus lacks, is in :mod:`trustml.backends.torch.book_keeping`.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from opacus.grad_sample import (
    GradSampleModule,
    GradSampleModuleExpandedWeights,
    GradSampleModuleFastGradientClipping,
)
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping, DPPerLayerOptimizer
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.book_keeping import BookKeepingClipper
from trustml.backends.torch.given_rows import clip_rows
from trustml.backends.torch.network import build_module, parameter_names
from trustml.backends.torch.optimizers import make_optimizer
from trustml.models.layers import Conv2D

SAMPLED = ("hooks", "functorch", "ew")


class Clipper(Protocol):
    """A model, Opacus's wrapper around it and Opacus's optimizer.

    Attributes
    ----------
    module : Sequential
    parameters : dict of str to Parameter
        By canonical name.
    optimizer : DPOptimizer
        Divides, and takes the step.
    """

    module: nn.Sequential
    parameters: dict[str, nn.Parameter]
    optimizer: DPOptimizer

    def clip(self, inputs: Tensor, labels: Tensor, *, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of clipped gradients in the order of `parameters`, and how many were not clipped.

        Inputs are (b * k, *x), the k copies of an example side by side; labels are (b * k,).
        """
        ...

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of clipped gradients that are given along a leading axis, by canonical name."""
        ...


def make_clipper(mode: str, model: Model, settings: PrivateSettings) -> Clipper:
    """Wrap a fresh copy of the model."""
    if mode == "book_keeping":
        return BookKeepingClipper(model, settings)
    if mode == "ghost":
        return GhostClipper(model, settings)
    return SampledClipper(mode, model, settings)


def possible_modes(model: Model, settings: PrivateSettings) -> tuple[list[str], dict[str, str]]:
    """Modes that can do what is asked, and why the others cannot."""
    refused = {}
    if any(isinstance(layer, Conv2D) for layer in model.architecture.layers):
        # PyTorch 2.13: conv_group_weight_grad_sample takes a view of gradients that may be channels-last.
        refused["ew"] = "fails on convolutions at some batch sizes"
    if settings.per_layer:
        refused["ghost"] = "clips flat only"
    if settings.multiplicity > 1:
        refused["ghost"] = "cannot average the copies of an example before clipping"
    return [mode for mode in (*SAMPLED, "ghost", "book_keeping") if mode not in refused], refused


class SampledClipper:
    """See :class:`Clipper`."""

    def __init__(self, mode: str, model: Model, settings: PrivateSettings) -> None:
        self.module = build_module(model).train()
        keep_channels_first(self.module)
        self.parameters = parameter_names(self.module, list(model.weights))
        self._settings = settings
        # Gradients of the *sum* of the losses: the only division is by the declared batch size, at the end.
        if mode == "ew":
            self._sampled: nn.Module = GradSampleModuleExpandedWeights(self.module, loss_reduction="sum")
        else:
            self._sampled = GradSampleModule(
                self.module, loss_reduction="sum", force_functorch=mode == "functorch", strict=True
            )
        inner = make_optimizer(settings.optimizer, self.parameters)
        self.optimizer: DPOptimizer
        if settings.per_layer:
            self.optimizer = DPPerLayerOptimizer(
                inner,
                noise_multiplier=0.0,
                max_grad_norm=[1.0] * len(self.parameters),
                expected_batch_size=settings.expected_batch_size,
            )
        else:
            self.optimizer = DPOptimizer(
                inner,
                noise_multiplier=0.0,
                max_grad_norm=1.0,
                expected_batch_size=settings.expected_batch_size,
            )

    def clip(self, inputs: Tensor, labels: Tensor, *, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of clipped gradients, by Opacus's optimizer."""
        functional.cross_entropy(self._sampled(inputs), labels, reduction="sum").backward()
        copies = self._settings.multiplicity
        for parameter in self.parameters.values():
            if copies > 1:
                sample = parameter.grad_sample
                parameter.grad_sample = sample.reshape(-1, copies, *sample.shape[1:]).mean(dim=1)
        unclipped = self._count(clipping_norm) if self._settings.count_unclipped else 0
        return self._clipped(clipping_norm), unclipped

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of the rows, clipped by Opacus's optimizer."""
        for name, parameter in self.parameters.items():
            parameter.grad_sample = rows[name]
        return self._clipped(clipping_norm)

    def _clipped(self, clipping_norm: float) -> list[Tensor]:
        self.optimizer.max_grad_norm = clipping_norm
        if isinstance(self.optimizer, DPPerLayerOptimizer):
            each = clipping_norm / math.sqrt(len(self.parameters))
            self.optimizer.max_grad_norms = [each] * len(self.parameters)
        self.optimizer.clip_and_accumulate()
        sums = [parameter.summed_grad for parameter in self.parameters.values()]
        for parameter in self.parameters.values():
            parameter.grad_sample = parameter.summed_grad = parameter.grad = None
        return sums

    def _count(self, clipping_norm: float) -> int:
        squares = [p.grad_sample.flatten(1).square().sum(dim=1) for p in self.parameters.values()]
        return int((torch.stack(squares).sum(dim=0).sqrt() <= clipping_norm).sum())


class GhostClipper:
    """See :class:`Clipper`."""

    def __init__(self, model: Model, settings: PrivateSettings) -> None:
        self.module = build_module(model).train()
        keep_channels_first(self.module)
        self.parameters = parameter_names(self.module, list(model.weights))
        self._sampled = GradSampleModuleFastGradientClipping(
            self.module, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True
        )
        inner = make_optimizer(settings.optimizer, self.parameters)
        clipping = DPOptimizerFastGradientClipping(
            inner,
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=settings.expected_batch_size,
            loss_reduction="sum",
        )
        self._loss = DPLossFastGradientClipping(
            self._sampled, clipping, nn.CrossEntropyLoss(reduction="sum"), loss_reduction="sum"
        )
        clipping.loss_reduction = "mean"  # from here on it only divides by the declared size
        self.optimizer: DPOptimizer = clipping

    def clip(self, inputs: Tensor, labels: Tensor, *, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of clipped gradients, by two backward passes."""
        self._sampled.max_grad_norm = clipping_norm
        self._loss(self._sampled(inputs), labels).backward()
        unclipped = int((self._sampled.per_sample_gradient_norms <= clipping_norm).sum())
        # Opacus drops the gradients of what it wraps with set_to_none=False, so each is copied.
        sums = [parameter.grad.clone() for parameter in self.parameters.values()]
        self.optimizer.zero_grad(set_to_none=True)
        return sums, unclipped

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of the rows by Opacus's rule; its ghost mode itself never sees a gradient."""
        parts = [rows[name] for name in self.parameters]
        return clip_rows(parts, clipping_norm=clipping_norm, per_layer=False)


def keep_channels_first(module: nn.Module) -> None:
    """Give every convolution an input that is contiguous channels-first in memory.

    Opacus 1.6.0 reads activations with ``as_strided`` as if they were (``utils.tensor_utils.unfold2d``), but
    PyTorch lays some out channels-last on its own, and the per-example gradients are then silently wrong.
    """

    def contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.contiguous(memory_format=torch.contiguous_format) for part in inputs)

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(contiguous)
