"""Attributions by Captum, called as its users call it; channels last and in numpy.

``native`` is what Captum returns. ``completed`` follows the definition, where Captum does not and its own functions
can be made to; how the two relate says :mod:`trustml.catalogue.methods`.
"""

from __future__ import annotations

import torch
from torch import nn

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import seeded, without_reminders
from trustml.backends.torch.native import own_part
from trustml.backends.torch.network import build_module
from trustml.catalogue.available import implementation
from trustml.frameworks.implementation import resolve


def explain(request: ExplainRequest) -> Attributions:
    """See :class:`trustml.backends.contract.Backend`.

    Raises
    ------
    NotImplementedError
        If Captum cannot do what is asked for.
    """
    function = resolve(implementation("torch", request.method))
    with seeded(request.seed):  # modules draw weights before they are given theirs
        module = build_module(request.model).eval()
    _lay_out_filters(module)
    with seeded(request.seed), without_reminders():
        found: Attributions = function(module, request, request.method)
        return found


def _lay_out_filters(module: nn.Module) -> None:
    """Lay filters out as images are, or a pass of few rows turns all of them round.

    Behind a GroupNorm images lie otherwise, and own code may count on the layout that it gave its weights.
    """
    if own_part(module) is None and not any(isinstance(layer, nn.GroupNorm) for layer in module.modules()):
        module.to(memory_format=torch.channels_last)
