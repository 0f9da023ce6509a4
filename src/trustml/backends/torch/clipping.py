"""Ways to a sum of clipped gradients: per-example gradients by Opacus, or book-keeping of ours.

*Sampled* (``hooks``, ``functorch``, ``ew``): Opacus writes out all per-example gradients, and they are clipped by its
rule; only their norms are taken here, as torch's own can be 0.8 % too small (:func:`square_norms`).
*Book-keeping*, which Opacus lacks, is in :mod:`trustml.backends.torch.book_keeping`.

Opacus's ``ghost`` (Li et al., ICLR 2022) takes norms from one backward pass and sums up another, of weighted losses.
Where a layer's gradients cancel, rounding decides both, and an example moves the sum by up to 1.9 clipping norms.
"""

from __future__ import annotations

from typing import Protocol

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleExpandedWeights, register_grad_sampler
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.book_keeping import BookKeepingClipper
from trustml.backends.torch.clipping_alone import ALONE, AloneClipper
from trustml.backends.torch.given_rows import clip_rows, square_norms
from trustml.backends.torch.losses import copies_loss
from trustml.backends.torch.network import build_module, trained_parameters
from trustml.backends.torch.optimizers import make_optimizer
from trustml.backends.torch.recurrent import StepsGRU, StepsLSTM, written_gradients
from trustml.models.layer_types import WHY_NO_EXPANDED_WEIGHTS, WITHOUT_EXPANDED_WEIGHTS, WITHOUT_FUNCTORCH
from trustml.models.native import native_of
from trustml.models.token_layers import (
    Unembedding,
)

SAMPLED = ("hooks", "functorch", "ew")
_MOST_WRITTEN = 2**24
"""Numbers of gradients that Opacus writes out at once: 64 MiB, of which several copies lie beside each other."""


@register_grad_sampler([StepsGRU, StepsLSTM])
def _step_by_step(
    layer: StepsGRU | StepsLSTM, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    each = written_gradients(layer, activations[0], backprops, copies=1)
    return dict(zip(layer.parameters(), each, strict=True))


class Clipper(Protocol):
    """A model, Opacus's wrapper around it and Opacus's optimizer.

    Attributes
    ----------
    module : Module
    parameters : dict of str to Parameter
        By canonical name.
    optimizer : DPOptimizer
        Divides, and takes the step.
    most_examples : int, optional
        Examples that fit into memory at once, where that is known.
    """

    module: nn.Module
    parameters: dict[str, nn.Parameter]
    optimizer: DPOptimizer
    most_examples: int | None

    def clip(self, inputs: Tensor, labels: Tensor, *, examples: int, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of clipped gradients in the order of `parameters`, and how many were not clipped.

        Inputs are (b * k, *x), the k copies of an example side by side; labels are (b * k,) or (b * k, c), those of
        copies alike unless they are rows of a user. The first `examples` of the b count, the others fill up.
        """
        ...

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of clipped gradients that are given along a leading axis, by canonical name."""
        ...


def make_clipper(mode: str, model: Model, settings: PrivateSettings) -> Clipper:
    """Wrap a fresh copy of the model."""
    if mode == "book_keeping":
        return BookKeepingClipper(model, settings)
    if mode in ALONE:
        return AloneClipper(mode, model, settings)
    return SampledClipper(mode, model, settings)


def possible_modes(model: Model, settings: PrivateSettings) -> tuple[list[str], dict[str, str]]:
    """Modes that can do what is asked, and why the others cannot."""
    refused = {"ghost": "sums other gradients than it measures: one example moved a sum by 1.9 clipping norms"}
    if native_of(model.architecture) is not None:
        whole = "sees the whole batch at once, in which own code may mix examples that no trial shows"
        refused |= {"hooks": whole, "functorch": whole, "ew": WHY_NO_EXPANDED_WEIGHTS}
        refused["book_keeping"] = "knows layers of an architecture, and no own code"
        return list(ALONE), refused
    if any(isinstance(node.layer, WITHOUT_EXPANDED_WEIGHTS) for node in model.architecture.nodes):
        refused["ew"] = WHY_NO_EXPANDED_WEIGHTS
    if any(isinstance(node.layer, WITHOUT_FUNCTORCH) for node in model.architecture.nodes):
        refused["functorch"] = "cannot vectorise recurrent layers"
    if any(isinstance(node.layer, Unembedding) for node in model.architecture.nodes):
        refused |= dict.fromkeys(SAMPLED, "knows no gradient of a table that outputs are tied to")
    return [mode for mode in (*SAMPLED, "book_keeping") if mode not in refused], refused


class SampledClipper:
    """See :class:`Clipper`."""

    def __init__(self, mode: str, model: Model, settings: PrivateSettings) -> None:
        self.module = build_module(model).train()
        keep_channels_first(self.module)
        self.parameters = trained_parameters(self.module, model)
        written = sum(parameter.numel() for parameter in self.parameters.values())
        self.most_examples: int | None = max(1, _MOST_WRITTEN // max(1, written * settings.multiplicity))
        self._settings, self._task = settings, model.task
        # Gradients of the *sum* of the losses: the only division is by the declared batch size, at the end.
        if mode == "ew":
            self._sampled: nn.Module = GradSampleModuleExpandedWeights(self.module, loss_reduction="sum")
        else:
            self._sampled = GradSampleModule(
                self.module, loss_reduction="sum", force_functorch=mode == "functorch", strict=True
            )
        self.optimizer = DPOptimizer(
            make_optimizer(settings.optimizer, self.parameters),
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=settings.expected_batch_size,
        )

    def clip(self, inputs: Tensor, labels: Tensor, *, examples: int, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of Opacus's per-example gradients, clipped."""
        # The slopes of a user's rows are shares of their mean already; copies of an example are averaged after.
        own = self._settings.rows_of_users
        copies = self._settings.multiplicity if own else 1
        copies_loss(self._task, self._sampled(inputs), labels, copies=copies, own_labels=own).backward()
        rows = [self._joined(parameter.grad_sample)[:examples] for parameter in self.parameters.values()]
        for parameter in self.parameters.values():
            parameter.grad_sample = parameter.grad = None
        unclipped = _unclipped(rows, clipping_norm) if self._settings.count_unclipped else 0
        return clip_rows(rows, clipping_norm=clipping_norm, per_layer=self._settings.per_layer), unclipped

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of the rows, clipped by the same rule."""
        parts = [rows[name] for name in self.parameters]
        return clip_rows(parts, clipping_norm=clipping_norm, per_layer=self._settings.per_layer)

    def _joined(self, sample: Tensor) -> Tensor:
        """Mean over the copies of each example, or sum over what rows of a user take part in theirs."""
        copies = self._settings.multiplicity
        if copies == 1:
            return sample
        each = sample.reshape(-1, copies, *sample.shape[1:])
        return each.sum(dim=1) if self._settings.rows_of_users else each.mean(dim=1)


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


def _unclipped(rows: list[Tensor], clipping_norm: float) -> int:
    squares = torch.stack([square_norms(row.flatten(1)) for row in rows]).sum(dim=0)
    return int((squares.sqrt() <= clipping_norm).sum())
