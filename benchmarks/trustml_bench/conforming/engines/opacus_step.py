"""Opacus as its documentation drives it: ``make_private``, then the user's own loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trustml.backends.contract import Model
from trustml.conformance import Step, StepFactory, StepSettings
from trustml.data.dataset import Floats, Ints
from trustml_bench.engines.torch_network import build

_BATCHES = 3
"""Of what is trained on, in an epoch."""
_RANK = 4


def hooks(model: Model) -> StepFactory:
    """Opacus's default."""
    return partial(_step, lambda: build(model), model.input_shape, "hooks")


def functorch(model: Model) -> StepFactory:
    """Per-example gradients by ``torch.func``."""
    return partial(_step, lambda: build(model), model.input_shape, "functorch")


def ghost(model: Model) -> StepFactory:
    """Ghost clipping: norms, then a second backward pass."""
    return partial(_step, lambda: build(model), model.input_shape, "ghost")


def lora(model: Model) -> StepFactory:
    """Adapters of PEFT on every dense layer; they start away from zero, where half of them would have no gradient."""
    from peft import LoraConfig, get_peft_model

    def adapted() -> nn.Module:
        base = build(model)
        dense = [name for name, child in base.named_modules() if isinstance(child, nn.Linear)]
        torch.manual_seed(0)
        return get_peft_model(
            base, LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=dense, init_lora_weights=False)
        )

    return partial(_step, adapted, model.input_shape, "hooks")


def _step(make: Callable[[], nn.Module], shape: tuple[int, ...], mode: str, settings: StepSettings) -> Step:
    plain = make().train()
    trained = [part for part in plain.parameters() if part.requires_grad]
    rows = torch.zeros(_BATCHES * settings.expected_batch_size, *_shape_of(shape))
    data = TensorDataset(rows, torch.zeros(len(rows), dtype=torch.int64))
    criterion: Any = nn.CrossEntropyLoss()
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        made = PrivacyEngine().make_private(
            module=plain,
            optimizer=torch.optim.SGD(trained, lr=0.0),  # so that every call starts from the same weights
            criterion=criterion,
            data_loader=DataLoader(data, batch_size=settings.expected_batch_size),
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=settings.clipping_norm,
            grad_sample_mode=mode,
            noise_generator=torch.Generator().manual_seed(settings.seed),
        )
    module, optimizer = made[:2]
    if mode == "ghost":
        criterion = made[2]

    held = [part.detach().clone() for part in trained]

    def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> list[Floats]:
        x, y = channels_first(inputs), torch.from_numpy(labels)
        size = micro_batch_size or max(1, len(y))
        starts = list(range(0, len(y), size)) or [0]
        for start in starts:
            optimizer.signal_skip_step(do_skip=start != starts[-1])  # as BatchMemoryManager does
            optimizer.zero_grad()
            criterion(module(x[start : start + size]), y[start : start + size]).backward()
            optimizer.step()
        with torch.no_grad():
            for part, value in zip(trained, held, strict=True):
                part.copy_(value)  # what is not finite spoils weights even at a learning rate of zero
        return [np.array(part.grad) for part in trained]

    return step


def _shape_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[-1], *shape[:-1]) if len(shape) == 3 else shape


def channels_first(inputs: Floats) -> torch.Tensor:
    """Give images as ``torchvision`` does: channels first, in memory too."""
    return torch.from_numpy(np.moveaxis(inputs, -1, 1).copy() if inputs.ndim == 4 else inputs)
