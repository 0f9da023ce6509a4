"""Layers that go through a sequence step by step: PyTorch's own, and their per-example gradients.

A step computes ``a = W x + b`` and ``a' = W' state + b'`` and goes on from those. With the gradients of the loss by all
``a`` and ``a'``, an example's gradient by a weight is a sum over steps, as a convolution's is one over positions.
Autograd gives them where steps are written out. Opacus has layers of its own for recurrent networks, which do the same;
for PyTorch's, :mod:`trustml.backends.torch.clipping` gives its hooks this rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

PARAMETERS = {
    "kernel": "weight_ih_l0",
    "recurrent_kernel": "weight_hh_l0",
    "bias": "bias_ih_l0",
    "recurrent_bias": "bias_hh_l0",
}
"""PyTorch's name of each canonical part, in its order of parameters."""


class StepsGRU(nn.GRU):
    """PyTorch's GRU, of which the states of all steps are the output."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__(channels, units, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Sequences (n, steps, channels) to states (n, steps, units)."""
        with _own_kernels(self, inputs):
            return super().forward(inputs)[0]


class StepsLSTM(nn.LSTM):
    """PyTorch's LSTM, of which the states of all steps are the output."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__(channels, units, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Sequences (n, steps, channels) to states (n, steps, units)."""
        with _own_kernels(self, inputs):
            return super().forward(inputs)[0]


def step_gradients(
    layer: StepsGRU | StepsLSTM, inputs: Tensor, outputs: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Give what both weights multiply and the gradients of what they give, at each step.

    Parameters
    ----------
    layer : StepsGRU or StepsLSTM
    inputs : Tensor of shape (n, steps, channels)
        What went in.
    outputs : Tensor of shape (n, steps, units)
        Gradient of the loss by what came out.

    Returns
    -------
    of_inputs : (Tensor of shape (n, steps, channels), Tensor of shape (n, steps, gates * units))
    of_states : (Tensor of shape (n, steps, units), Tensor of shape (n, steps, gates * units))
    """
    with torch.no_grad():
        entered = functional.linear(inputs, layer.weight_ih_l0, layer.bias_ih_l0)
    taps = torch.zeros_like(entered).requires_grad_()
    with torch.enable_grad():
        states = torch.stack(list(_states(layer, entered.requires_grad_(), taps)), dim=1)
    of_entered, of_taps = torch.autograd.grad(states, (entered, taps), outputs)
    before = functional.pad(states.detach()[:, :-1], (0, 0, 1, 0))
    return (inputs, of_entered), (before, of_taps)


def written_gradients(layer: StepsGRU | StepsLSTM, inputs: Tensor, outputs: Tensor, *, copies: int) -> list[Tensor]:
    """Gradient of each example by both weights and both biases: a sum over steps and copies."""
    weights, biases = [], []
    for parts in step_gradients(layer, inputs, outputs):
        a, g = (part.unflatten(0, (-1, copies)).flatten(1, 2) for part in parts)
        weights.append(torch.bmm(g.transpose(1, 2), a))
        biases.append(g.sum(dim=1))
    return [*weights, *biases]


def _states(layer: StepsGRU | StepsLSTM, entered: Tensor, taps: Tensor) -> Iterator[Tensor]:
    """States after each step; `taps` are added to what states are multiplied to, to read its gradient."""
    weight, bias = layer.weight_hh_l0.detach(), layer.bias_hh_l0.detach()
    state = cell = entered.new_zeros((entered.shape[0], layer.hidden_size))
    for own, tap in zip(entered.unbind(1), taps.unbind(1), strict=True):
        before = functional.linear(state, weight, bias) + tap
        if isinstance(layer, StepsGRU):
            (a0, a1, a2), (b0, b1, b2) = own.chunk(3, dim=1), before.chunk(3, dim=1)
            update = torch.sigmoid(a1 + b1)
            state = (1 - update) * torch.tanh(a2 + torch.sigmoid(a0 + b0) * b2) + update * state
        else:
            enter, forget, new, leave = (own + before).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(leave) * torch.tanh(cell)
        yield state


def _own_kernels(layer: nn.Module, inputs: Tensor) -> AbstractContextManager[None]:
    """Leave cuDNN out where nothing is trained: its recurrent layers have gradients in training alone."""
    return torch.backends.cudnn.flags(enabled=False) if inputs.is_cuda and not layer.training else nullcontext()
