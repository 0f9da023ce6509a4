"""PyTorch's optimizers, and their memory in canonical form."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from trustml.backends.torch.network import from_torch_tensors, to_torch_tensor
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD, Optimizer

_ADAM_SLOTS = {"mean": "exp_avg", "variance": "exp_avg_sq"}


def make_optimizer(optimizer: Optimizer, parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Make ``torch.optim.SGD`` or ``torch.optim.Adam``."""
    if isinstance(optimizer, SGD):
        return torch.optim.SGD(parameters.values(), lr=optimizer.learning_rate, momentum=optimizer.momentum)
    return torch.optim.Adam(
        parameters.values(),
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.stabilizer,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def read_state(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> Weights:
    """Copy what the optimizer remembers; empty before its first step."""
    state: Weights = {}
    for name, parameter in parameters.items():
        kept = optimizer.state.get(parameter, {})
        slots = {"momentum": "momentum_buffer", **_ADAM_SLOTS}
        tensors = {slot: kept[key] for slot, key in slots.items() if kept.get(key) is not None}
        for slot, tensor in tensors.items():
            state[f"{slot}/{name}"] = from_torch_tensors({name: tensor})[name]
        if "step" in kept:
            state["count"] = np.array(float(kept["step"]), np.float32)
    return state


def restore_state(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], state: Weights) -> None:
    """Put back what :func:`read_state` gave, of this backend or another."""
    for name, parameter in parameters.items():
        kept: dict[str, torch.Tensor | None] = {}
        if f"momentum/{name}" in state:
            kept["momentum_buffer"] = to_torch_tensor(state[f"momentum/{name}"], name)
        for slot, key in _ADAM_SLOTS.items():
            if f"{slot}/{name}" in state:
                kept[key] = to_torch_tensor(state[f"{slot}/{name}"], name)
                kept["step"] = torch.tensor(float(state["count"]))
        optimizer.state[parameter] = kept
