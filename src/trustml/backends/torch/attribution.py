"""Attributions by Captum, with its own defaults."""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.network import build_module, from_input, to_input, to_labels

_ROWS_AT_ONCE = 1024


def explain(request: ExplainRequest) -> Attributions:
    """Captum's integrated gradients: Gauss-Legendre points, times (input - baseline)."""
    module = build_module(request.model).eval()
    inputs = to_input(request.inputs)
    found = IntegratedGradients(module).attribute(
        inputs,
        baselines=torch.full_like(inputs, request.method.baseline),
        target=to_labels(request.targets),
        n_steps=request.method.n_steps,
        method="gausslegendre",
        internal_batch_size=_ROWS_AT_ONCE,
    )
    return {"native": from_input(found.float())}
