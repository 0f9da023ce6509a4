"""Private training by Opacus: its per-example gradients and its optimizer, on batches drawn by the core.

Opacus's own loader is left out on purpose: it would draw other batches than the other backends get, and it
rounds the expected batch size to an integer of its own making.
"""

from __future__ import annotations

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional

from trustml.backends.contract import DPStep, Model
from trustml.backends.torch.device import current_device
from trustml.backends.torch.network import (
    build_module,
    from_torch_tensors,
    parameter_names,
    read_weights,
    to_input,
    to_labels,
)
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights

_MT_WORDS = 624
_MT_OFFSET = 24  # bytes of torch's CPU generator state before the Mersenne Twister's words


class OpacusTrainer:
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, *, step: DPStep, dropout_seed: int) -> None:
        torch.manual_seed(dropout_seed)
        names = list(model.weights)
        self._module = build_module(model).train()
        _keep_channels_first(self._module)
        self._parameters = parameter_names(self._module, names)
        # Per-example gradients of the *sum* of the losses: the only division is the declared one, below.
        self._sampled = GradSampleModule(self._module, loss_reduction="sum")
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self._module.parameters(), lr=step.learning_rate, momentum=step.momentum),
            noise_multiplier=step.noise_multiplier,
            max_grad_norm=step.clipping_norm,
            expected_batch_size=step.expected_batch_size,
            loss_reduction="mean",
            generator=noise_generator(step.noise_seed, current_device()),
        )

    def step(self, inputs: Floats, labels: Ints) -> None:
        """Take one private step; an empty batch is a step of noise alone."""
        self._sample_gradients(inputs, labels)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def clipped_sum(self, inputs: Floats, labels: Ints) -> Weights:
        """Sum of clipped gradients by Opacus, without noise."""
        self._sample_gradients(inputs, labels)
        self._optimizer.clip_and_accumulate()
        sums = {name: parameter.summed_grad.clone() for name, parameter in self._parameters.items()}
        self._optimizer.zero_grad(set_to_none=True)
        return from_torch_tensors(sums)

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return read_weights(self._module, list(self._parameters))

    def _sample_gradients(self, inputs: Floats, labels: Ints) -> None:
        if len(labels) == 0:
            for parameter in self._parameters.values():
                parameter.grad_sample = torch.zeros((0, *parameter.shape), device=parameter.device)
            return
        loss = functional.cross_entropy(self._sampled(to_input(inputs)), to_labels(labels), reduction="sum")
        loss.backward()


def _keep_channels_first(module: nn.Module) -> None:
    """Give every convolution an input that is contiguous channels-first in memory.

    Opacus 1.6.0 reads activations with ``as_strided`` as if they were (``utils.tensor_utils.unfold2d``), but
    PyTorch lays some out channels-last on its own, and the per-example gradients are then silently wrong.
    """

    def contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.contiguous(memory_format=torch.contiguous_format) for part in inputs)

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(contiguous)


def noise_generator(seed: tuple[int, int, int, int], device: torch.device) -> torch.Generator:
    """Make a generator that really holds the entropy of `seed`.

    ``manual_seed`` keeps only 32 bits on the CPU, few enough to try them all, so there the whole state of
    the Mersenne Twister is filled instead. On CUDA the generator takes 64 bits.
    """
    generator = torch.Generator(device=device)
    words = np.random.SeedSequence(list(seed)).generate_state(_MT_WORDS)
    if device.type != "cpu":
        return generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    generator.manual_seed(0)
    state = generator.get_state().numpy().copy()
    state[_MT_OFFSET : _MT_OFFSET + 8 * _MT_WORDS].view(np.uint64)[:] = words
    generator.set_state(torch.from_numpy(state))
    return generator
