"""Attributions in JAX: the definitions themselves, compiled once for each architecture, method and shape."""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.jax.tiling import at_most
from trustml.catalogue.available import implementation
from trustml.frameworks.implementation import resolve


def explain(request: ExplainRequest) -> Attributions:
    """Attributions by one method; what JAX returns is the definition."""
    function = resolve(implementation("jax", request.method))
    with at_most(request.rows):
        return {"native": np.asarray(function(request, request.method), np.float32)}
