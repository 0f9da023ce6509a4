"""Methods from predictions alone (:mod:`trustml.attribution.perturbation`), on compiled forward passes."""

from __future__ import annotations

from trustml.attribution.perturbation import Perturbation, perturbation
from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.scores import JaxScores
from trustml.data.dataset import Floats


def by_perturbation(request: ExplainRequest, method: Perturbation) -> Floats:
    """Attributions by one method; shape (n, *x)."""
    return perturbation(JaxScores(request), method)
