"""Small PyTorch models for Captum and Quantus, and the same models as our callables see them (channels last)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights

SIDE = 8


def small_cnn(*, seed: int, classes: int = 3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * (SIDE - 2) ** 2, classes),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def images(count: int, *, seed: int) -> Floats:
    """Images (count, 8, 8, 1)."""
    return np.random.default_rng(seed).standard_normal((count, SIDE, SIDE, 1)).astype(np.float32)


def first(channels_last: Floats) -> Floats:
    """Channels first, as PyTorch and Quantus want them."""
    return np.ascontiguousarray(np.moveaxis(channels_last, -1, 1))


def last(channels_first: Floats) -> Floats:
    return np.ascontiguousarray(np.moveaxis(channels_first, 1, -1))


def predict_with(model: torch.nn.Module) -> Callable[[Floats], Floats]:
    def predict(rows: Floats) -> Floats:
        with torch.no_grad():
            return model(torch.tensor(first(rows))).numpy()

    return predict


def gradient(model: torch.nn.Module, inputs: Floats, targets: Ints, device: str | None = None) -> Floats:
    """Gradient of the target logit, channels first; its arguments are what Quantus passes."""
    leaf = torch.tensor(np.asarray(inputs, np.float32), requires_grad=True)
    with torch.enable_grad():
        total = model(leaf)[np.arange(len(leaf)), np.asarray(targets)].sum()
    return torch.autograd.grad(total, leaf)[0].numpy()


class Dense(torch.nn.Linear):
    """A dense layer that Quantus randomises to weights of our choice."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, fresh_kernel: np.ndarray, fresh_bias: np.ndarray) -> None:
        self.ready = False
        super().__init__(*kernel.shape)
        self.fresh = (torch.tensor(fresh_kernel.T.copy()), torch.tensor(fresh_bias))
        self.ready = True
        self.fill(torch.tensor(kernel.T.copy()), torch.tensor(bias))

    def fill(self, kernel: torch.Tensor, bias: torch.Tensor) -> None:
        with torch.no_grad():
            self.weight.copy_(kernel)
            self.bias.copy_(bias)

    def reset_parameters(self) -> None:
        if self.ready:
            self.fill(*self.fresh)


def dense_net(weights: Weights, fresh: Weights) -> torch.nn.Module:
    """Flatten and dense layers with ReLU between, from weights named 1.kernel, 3.kernel and so on."""
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    for index in sorted({int(name.split(".")[0]) for name in weights}):
        names = (f"{index}.kernel", f"{index}.bias")
        layers += [Dense(*(weights[name] for name in names), *(fresh[name] for name in names)), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval()
