"""Opacus as its documentation drives it, beside our use of it: the same mechanism, but for what is listed here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from opacus import PrivacyEngine
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from trustml.backends.settings import PrivateSettings
from trustml.backends.torch import BACKEND
from trustml.backends.torch.network import build_module, from_torch_tensors, parameter_names
from trustml.conformance.subject import flat
from trustml.scenario.optimizers import SGD
from trustml.worker.conformance import example_data, example_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Secure RNG turned off"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
]
NORM, NOISE = 0.8, 1.5


def make_private(count: int, batch_size: int):
    inputs, labels = example_data("mlp")
    rows = np.arange(count) % len(labels)
    model = example_model("mlp")
    module = build_module(model).train()
    loader = DataLoader(
        TensorDataset(torch.from_numpy(inputs[rows]), torch.from_numpy(labels[rows])), batch_size=batch_size
    )
    parameters = parameter_names(module, list(model.weights))
    private, optimizer, loader = PrivacyEngine().make_private(
        module=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.0),
        data_loader=loader,
        noise_multiplier=NOISE,
        max_grad_norm=NORM,
    )
    return private, optimizer, loader, parameters


def test_make_private_clips_and_sums_as_we_do():
    private, optimizer, _, parameters = make_private(48, 16)
    inputs, labels = example_data("mlp")
    functional.cross_entropy(private(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
    optimizer.clip_and_accumulate()
    stock = flat(from_torch_tensors({name: p.summed_grad for name, p in parameters.items()}))
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=16, noise_seed=(1, 2, 3, 4))
    ours = BACKEND.private(example_model("mlp"), settings, 0)
    ours.accumulate(inputs[:, None], labels, clipping_norm=NORM)
    # The engine divides the loss by the batch and multiplies it back: 1e-5 relative is that rounding.
    assert np.linalg.norm(stock - flat(ours.clipped_sum())) < 1e-5 * np.linalg.norm(stock)


def test_make_private_adds_the_same_noise_and_divides_by_its_own_batch_size():
    private, optimizer, _, parameters = make_private(48, 16)
    inputs, labels = example_data("mlp")
    functional.cross_entropy(private(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
    optimizer.clip_and_accumulate()
    total = flat(from_torch_tensors({name: p.summed_grad for name, p in parameters.items()}))
    optimizer.add_noise()
    optimizer.scale_grad()
    noisy = flat(from_torch_tensors({name: p.grad for name, p in parameters.items()}))
    noise = noisy * optimizer.expected_batch_size - total
    assert abs(noise.std() / (NOISE * NORM) - 1) < 6 / np.sqrt(2 * len(noise))


@pytest.mark.parametrize(("count", "batch_size", "divisor"), [(48, 16, 16), (48, 20, 16), (47, 16, 15), (45, 7, 6)])
def test_opacus_rounds_the_expected_batch_size_to_one_of_its_own(count, batch_size, divisor):
    """Known drift of Opacus 1.6.0: ``int(n / ceil(n / b))``; ours is the declared size."""
    _, optimizer, _, _ = make_private(count, batch_size)
    assert optimizer.expected_batch_size == divisor


@pytest.mark.parametrize("batches", [99, 210, 234])
def test_opacus_loses_a_step_to_rounding(batches):
    """Known drift of Opacus 1.6.0: ``int(1 / (1 / n)) != n``; our plan has every step."""
    _, _, loader, _ = make_private(batches, 1)
    assert len(loader.batch_sampler) in (batches, batches - 1)
    assert int(1 / (1 / batches)) == batches or len(loader.batch_sampler) == batches - 1


def test_expanded_weights_fail_on_gradients_laid_out_channels_last():
    """Why ``ew`` is left out for convolutions. When this fails, PyTorch was fixed."""
    from torch.nn.utils._expanded_weights.conv_utils import conv_group_weight_grad_sample

    gradient = torch.randn(4, 8, 5, 5).to(memory_format=torch.channels_last)
    inputs = torch.randn(4, 3, 7, 7)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        conv_group_weight_grad_sample(inputs, gradient, (3, 3), (1, 1), (0, 0), (1, 1), 4, torch.nn.functional.conv2d)
