"""Captum's integrated gradients where the way first bends.

Layers that are affine keep a straight way straight. So Captum integrates behind those in front, from what they make of
the baseline to what they make of the input, and the mean gradient goes back through them once: of the layers that all
points would go through, the first and often the largest is left out.
"""

from __future__ import annotations

import captum.attr
import torch
from captum.log import log_usage
from torch import Tensor, nn

from trustml.backends.torch.captum_calls import fast_layout, summed_gradients
from trustml.backends.torch.network import split_module
from trustml.models.graph import straight_until
from trustml.models.layers import Architecture


class StraightIntegratedGradients(captum.attr.IntegratedGradients):
    """Captum's integrated gradients of a network whose first layers may be straight.

    Parameters
    ----------
    module : nn.Module
        One child a node.
    architecture : Architecture
    """

    def __init__(self, module: nn.Module, architecture: Architecture) -> None:
        super().__init__(module)
        self._front, behind = split_module(module, straight_until(architecture))
        self._behind = captum.attr.IntegratedGradients(behind, multiply_by_inputs=False)
        self._behind.gradient_func = summed_gradients

    @log_usage()  # NoiseTunnel takes the decoration off
    def attribute(
        self,
        inputs: Tensor,
        baselines: Tensor | tuple[Tensor],
        target: Tensor,
        n_steps: int,
        internal_batch_size: int,
    ) -> Tensor:
        """Attributions, shaped like `inputs`; all arguments are Captum's."""
        if isinstance(baselines, tuple):  # of NoiseTunnel
            (baselines,) = baselines
        leaf = fast_layout(inputs.detach()).requires_grad_()
        with torch.enable_grad():
            end = self._front(leaf)
        with torch.no_grad():
            begin = self._front(fast_layout(baselines))
        mean = self._behind.attribute(
            end.detach(), begin, target=target, n_steps=n_steps, internal_batch_size=internal_batch_size
        )
        (gradient,) = torch.autograd.grad(end, leaf, mean)
        return gradient * (inputs - baselines)
