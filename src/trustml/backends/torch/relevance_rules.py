"""Rules of layer-wise relevance propagation for the modules of our architectures."""

from __future__ import annotations

from typing import Any

from captum.attr._core.lrp import SUPPORTED_NON_LINEAR_LAYERS
from captum.attr._utils.lrp_rules import EpsilonRule, PropagationRule
from torch import nn

from trustml.backends.torch.own_layers import (
    ChannelConcatenation,
    ChannelsLastFlatten,
    GlobalMean,
    GraphModule,
    Rearranged,
    Sum,
    Thinning,
)
from trustml.backends.torch.resizing import (
    AdaptiveMean,
    CroppedTranspose1d,
    CroppedTranspose2d,
    GlobalMax,
    Scaled,
    Transposed,
)
from trustml.backends.torch.tokens import Lookup, Reshaped, Step

_SUMS = (
    nn.Linear,
    nn.Conv2d,
    nn.Conv1d,
    CroppedTranspose2d,
    CroppedTranspose1d,
    nn.AvgPool2d,
    AdaptiveMean,
    GlobalMean,
    Sum,
    Scaled,
)
_MOVES = (
    ChannelsLastFlatten,
    nn.ConstantPad1d,
    nn.ConstantPad2d,
    Thinning,
    Transposed,
    ChannelConcatenation,
)


class _PassThrough(PropagationRule):
    """Relevance goes back to where the value came from: for modules that only move values."""

    def forward_hook(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        """Leave the module to autograd, which takes relevance back as it would a gradient."""

    def _manipulate_weights(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        """There are no weights."""


def set_epsilon_rules(module: nn.Module, epsilon: float) -> None:
    """Set the epsilon rule on every linear module; Captum takes the rules away again after each call.

    A MaxPool keeps Captum's default, which gives all relevance to the largest value: a larger epsilon would take
    some away where nothing is summed.

    Raises
    ------
    NotImplementedError
        If there is a module that LRP has no rule for.
    """
    for layer in module.modules():
        match layer:
            case _ if isinstance(layer, _SUMS):
                layer.rule = EpsilonRule(epsilon)
            case GlobalMax():
                layer.rule = EpsilonRule()  # Captum's default, as of a MaxPool
            case _ if isinstance(layer, _MOVES):
                layer.rule = _PassThrough()
            case Lookup() | Step() | Reshaped():  # a Lookup of tokens that were looked up
                layer.rule = _PassThrough()
            case nn.Sequential() | GraphModule() | Rearranged() | nn.MaxPool2d():
                pass
            case _ if type(layer) not in SUPPORTED_NON_LINEAR_LAYERS:
                raise NotImplementedError(f"LRP has no rule for {type(layer).__name__}")
