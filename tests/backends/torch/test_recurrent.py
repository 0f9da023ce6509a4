"""Per-example gradients of PyTorch's recurrent layers, against Opacus's own layers, autograd and book-keeping."""

from __future__ import annotations

import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.layers import DPGRU, DPLSTM
from torch import nn

from trustml.backends.torch.recurrent import StepsGRU, StepsLSTM, written_gradients

pytestmark = pytest.mark.torch

EXAMPLES, STEPS, CHANNELS, UNITS = 5, 6, 3, 4
PAIRS = ((StepsGRU, DPGRU), (StepsLSTM, DPLSTM))


def batch(kind: type[StepsGRU | StepsLSTM]) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    layer = kind(CHANNELS, UNITS)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    inputs = torch.randn((EXAMPLES, STEPS, CHANNELS), generator=generator)
    return layer, inputs, torch.randn((EXAMPLES, STEPS, UNITS), generator=generator)


def looped(layer: nn.Module, inputs: torch.Tensor, outputs: torch.Tensor) -> list[torch.Tensor]:
    """Autograd, one example at a time, through PyTorch's own kernel."""
    rows = [
        torch.autograd.grad(layer(inputs[i : i + 1]), list(layer.parameters()), outputs[i : i + 1])
        for i in range(len(inputs))
    ]
    return [torch.stack(part) for part in zip(*rows, strict=True)]


@pytest.mark.parametrize("kind", [StepsGRU, StepsLSTM])
def test_gradients_are_those_of_one_example_at_a_time(kind):
    layer, inputs, outputs = batch(kind)
    expected = looped(layer, inputs, outputs)
    for found, one in zip(written_gradients(layer, inputs, outputs, copies=1), expected, strict=True):
        assert (found - one).norm() < 1e-6 * one.norm()
    for found, one in zip(written_gradients(layer, inputs[:4], outputs[:4], copies=2), expected, strict=True):
        assert (found - (one[:4:2] + one[1:4:2])).norm() < 1e-6 * one.norm()


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(("kind", "of_opacus"), PAIRS)
def test_opacus_has_the_same_function_and_the_same_gradients(kind, of_opacus):
    layer, inputs, outputs = batch(kind)
    other = of_opacus(CHANNELS, UNITS, batch_first=True)
    other.load_state_dict(layer.state_dict())
    sampled = GradSampleModule(other, loss_reduction="sum")
    states = sampled(inputs)[0]
    assert (states - layer(inputs)).abs().max() < 1e-6
    states.backward(outputs)
    theirs = {name.removeprefix("_module."): part.grad_sample for name, part in sampled.named_parameters()}
    found = written_gradients(layer, inputs, outputs, copies=1)
    for (name, _), each in zip(layer.named_parameters(), found, strict=True):
        assert (each - theirs[name]).norm() < 1e-6 * each.norm()


def test_vmap_cannot_vectorise_them():
    """So that Opacus's functorch is refused by name; when this fails, it need not be. An LSTM's is one by one."""
    layer, inputs, _ = batch(StepsGRU)

    def total(parameters, one):
        return torch.func.functional_call(layer, parameters, (one[None],)).sum()

    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    with pytest.raises(RuntimeError):
        torch.func.vmap(torch.func.grad(total), in_dims=(None, 0))(parameters, inputs)
