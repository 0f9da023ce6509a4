"""Opake as its documentation drives it: a loss on ``functional_call``, ``clipped_grad``, ``gaussian_noise``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from opake.dpsgd.clipping import clipped_grad
from opake.dpsgd.noise import gaussian_noise
from opake.random import key
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from trustml.backends.contract import Model
from trustml.conformance import Step, StepFactory, StepSettings
from trustml.data.dataset import Floats, Ints
from trustml_bench.conforming.engines.opacus_step import channels_first
from trustml_bench.engines.torch_network import build


def make(model: Model) -> StepFactory:
    """Give a factory."""
    module = build(model)
    params = {name: value.detach() for name, value in module.named_parameters()}

    def loss(given: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cross_entropy(functional_call(module, given, (x[None],)), y[None])  # of one example

    def factory(settings: StepSettings) -> Step:
        gradient, clip_state = clipped_grad(
            loss,
            clipping_norm=settings.clipping_norm,
            batch_argnums=(1, 2),
            normalize_by=settings.expected_batch_size,
        )
        noise, noise_state = gaussian_noise(noise_multiplier=settings.noise_multiplier, key=key(settings.seed))

        def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> Any:
            nonlocal clip_state, noise_state
            found, clip_state = gradient(params, channels_first(inputs), torch.from_numpy(labels), state=clip_state)
            noisy, noise_state = noise(found, noise_state)
            return {name: np.array(value) for name, value in noisy.pytree.items()}

        return step

    return factory
