"""Clipped sums from one forward and one backward pass, without a gradient of any parameter by autograd.

Book-keeping (Bu et al., ICML 2023, arXiv 2210.00038): hooks keep what goes into each layer with weights, and the one
backward pass gives the gradients by what comes out; norms and clipped sums follow from the two. Opacus has no such
mode; its optimizer divides and steps here as in its own modes.
"""

from __future__ import annotations

from typing import cast, get_args

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings, written_numbers
from trustml.backends.torch.given_rows import clip_rows, clipping_scales
from trustml.backends.torch.layer_gradients import Covered, layer_gradients, tied_gradients, trained_of
from trustml.backends.torch.losses import copies_loss
from trustml.backends.torch.network import build_module, trained_parameters
from trustml.backends.torch.optimizers import make_optimizer
from trustml.backends.torch.tokens import TiedProduct
from trustml.errors import UsageError
from trustml.models.shapes import layer_shapes

_MOST_WRITTEN, _MOST_ROWS = 2**26, 512
"""Numbers of gradients that are written out at once, 256 MiB of them, and rows whose activations lie beside them."""
_HEAVY, _ROWS_OF_HEAVY = 2**16, 32
"""Numbers of an example's gradients from which blocks of so many rows take at most a twentieth longer for each than
larger ones. Of a batch of 64 in one block, which has to have room for 80, a fifth of the work is filling."""


class BookKeepingClipper:
    """See :class:`trustml.backends.torch.clipping.Clipper`.

    Raises
    ------
    UsageError
        If the model has a layer with weights whose gradients are not known here.
    """

    def __init__(self, model: Model, settings: PrivateSettings) -> None:
        self.module = build_module(model).train()
        self.parameters = trained_parameters(self.module, model)
        self._settings, self._task = settings, model.task
        self._seen: list[tuple[Covered | TiedProduct, Tensor, Tensor]] = []
        layers = weighted_layers(self.module)
        tied = [one for one in self.module.modules() if isinstance(one, TiedProduct)]
        for layer in [*layers, *(one for one in tied if one.tied[0] in layers)]:
            layer.register_forward_hook(self._keep)
        copies = settings.multiplicity
        written = written_numbers(model.architecture, model.input_shape, copies=copies, frozen=model.frozen)
        sequences = any(len(shape) == 2 for shape in layer_shapes(model.architecture, model.input_shape)[1:])
        small = nn.Linear | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm
        matrices = not all(isinstance(layer, small) for layer in layers) or copies > 1 or sequences
        rows = _ROWS_OF_HEAVY if written >= _HEAVY else _MOST_ROWS
        self.most_examples = max(1, min(rows // copies, _MOST_WRITTEN // max(1, written))) if matrices else None
        self.optimizer = DPOptimizer(
            make_optimizer(settings.optimizer, self.parameters),
            noise_multiplier=0.0,
            max_grad_norm=1.0,
            expected_batch_size=settings.expected_batch_size,
        )

    def clip(self, inputs: Tensor, labels: Tensor, *, examples: int, clipping_norm: float) -> tuple[list[Tensor], int]:
        """Sum of clipped gradients, by one backward pass."""
        settings = self._settings
        outputs = self.module(inputs)
        loss = copies_loss(self._task, outputs, labels, copies=settings.multiplicity, own_labels=settings.rows_of_users)
        seen, self._seen = self._seen, []
        # Asked for these alone, autograd makes no gradient of a parameter, nor of the first layer's input.
        slopes = torch.autograd.grad(loss, [output for _, _, output in seen])
        with torch.no_grad():
            return self._clipped(seen, slopes, examples, clipping_norm)

    def clip_rows(self, rows: dict[str, Tensor], *, clipping_norm: float) -> list[Tensor]:
        """Sum of the rows, clipped by the same rule."""
        parts = [rows[name] for name in self.parameters]
        return clip_rows(parts, clipping_norm=clipping_norm, per_layer=self._settings.per_layer)

    def _clipped(
        self,
        seen: list[tuple[Covered | TiedProduct, Tensor, Tensor]],
        outputs: tuple[Tensor, ...],
        examples: int,
        clipping_norm: float,
    ) -> tuple[list[Tensor], int]:
        copies = self._settings.multiplicity
        products = {
            id(layer.tied[0]): (values, gradient)
            for (layer, values, _), gradient in zip(seen, outputs, strict=True)
            if isinstance(layer, TiedProduct)
        }
        own = [
            (layer, values, gradient)
            for (layer, values, _), gradient in zip(seen, outputs, strict=True)
            if not isinstance(layer, TiedProduct)
        ]
        layers = [layer_gradients(*one, copies=copies) for one in own]
        for number, (layer, _, _) in enumerate(own):
            if id(layer) in products:
                layers[number] = tied_gradients(layers[number], *products[id(layer)], copies=copies)
        squares = [layer.square_norms() for layer in layers]
        together = [square for part in squares for square in part]
        scaled = clipping_scales(together, clipping_norm=clipping_norm, per_layer=self._settings.per_layer)
        for scale in scaled:
            scale[examples:] = 0.0  # what fills the block up
        scales = iter(scaled)
        found: dict[int, Tensor] = {}
        for (layer, _, _), gradients, part in zip(own, layers, squares, strict=True):
            sums = gradients.weighted_sums([next(scales) for _ in part])
            found |= {id(parameter): total for parameter, total in zip(trained_of(layer), sums, strict=True)}
        unclipped = 0
        if self._settings.count_unclipped:
            unclipped = int((torch.stack(together).sum(dim=0)[:examples].sqrt() <= clipping_norm).sum())
        return [found[id(parameter)] for parameter in self.parameters.values()], unclipped

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._seen.append((cast(Covered, layer), inputs[0].detach(), output))


def weighted_layers(module: nn.Module) -> list[nn.Module]:
    """Layers with weights of their own that are trained.

    Raises
    ------
    UsageError
        If there is one whose gradients are not known here.
    """
    layers = [layer for layer in module.modules() if trained_of(layer)]
    for layer in layers:
        if not isinstance(layer, get_args(Covered)):
            raise UsageError(f"execution.grad_sample_mode: 'book_keeping' does not cover {layer}; use auto or hooks")
    return layers
