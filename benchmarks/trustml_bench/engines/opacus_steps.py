"""Opacus as its documentation drives it: ``make_private``, then the user's own loop, here on one fixed batch."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trustml_bench.engine import Work
from trustml_bench.engines.torch_network import batch, start, weights_of
from trustml_bench.workloads import CLIPPING_NORM, LEARNING_RATE, Workload


def hooks(workload: Workload) -> Work:
    """Opacus's default."""
    return _private_step(workload, "hooks")


def functorch(workload: Workload) -> Work:
    """Per-example gradients by ``torch.func``."""
    return _private_step(workload, "functorch")


def ew(workload: Workload) -> Work:
    """Per-example gradients by PyTorch's ExpandedWeights."""
    trial = _private_step(workload, "ew")
    try:
        trial()
    except RuntimeError as error:  # PyTorch 2.13: a view of gradients that may be channels-last
        raise NotImplementedError(f"ExpandedWeights: {str(error).splitlines()[0][:200]}") from error
    return _private_step(workload, "ew")


def ghost(workload: Workload) -> Work:
    """Ghost clipping: norms, then a second backward pass."""
    return _private_step(workload, "ghost")


def _private_step(workload: Workload, mode: str) -> Work:
    plain, (inputs, labels) = start(workload).train(), batch(workload)
    criterion: Any = nn.CrossEntropyLoss()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        made = PrivacyEngine().make_private(
            module=plain,
            optimizer=torch.optim.SGD(plain.parameters(), LEARNING_RATE),
            criterion=criterion,
            data_loader=DataLoader(TensorDataset(inputs, labels), batch_size=workload.size),
            noise_multiplier=workload.noise_multiplier,
            max_grad_norm=CLIPPING_NORM,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
    module, optimizer = made[:2]
    if mode == "ghost":
        criterion = made[2]

    def step() -> None:
        optimizer.zero_grad()
        criterion(module(inputs), labels).backward()
        optimizer.step()

    return Work(unit=step, outcome=lambda: weights_of(plain, workload))
