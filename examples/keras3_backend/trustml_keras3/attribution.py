"""Attributions by their formulas, from gradients of Keras's engine; what is called for a method, the entry says."""

from __future__ import annotations

import keras
import numpy as np

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.catalogue.available import implementation
from trustml.data.dataset import Floats
from trustml.frameworks.implementation import resolve
from trustml.scenario.methods import InputXGradient, IntegratedGradients, Saliency
from trustml_keras3.network import KerasNetwork


def explain(request: ExplainRequest) -> Attributions:
    """See :attr:`trustml.backends.contract.Backend.explain`."""
    function = resolve(implementation(f"keras_{keras.backend.backend()}", request.method))
    return {"native": np.asarray(function(request, request.method), np.float32)}


def saliency(request: ExplainRequest, method: Saliency) -> Floats:
    """Gradients, or their magnitudes."""
    gradients = KerasNetwork(request.model).input_gradients(request.inputs, request.targets)
    return np.abs(gradients) if method.absolute else gradients


def input_x_gradient(request: ExplainRequest, method: InputXGradient) -> Floats:
    """Gradients times inputs."""
    return request.inputs * KerasNetwork(request.model).input_gradients(request.inputs, request.targets)


def integrated_gradients(request: ExplainRequest, method: IntegratedGradients) -> Floats:
    """Mean gradient on the way from the baseline, by Gauss-Legendre quadrature, times the way."""
    network, way = KerasNetwork(request.model), request.inputs - request.baseline
    points, shares = np.polynomial.legendre.leggauss(method.n_steps)
    total = np.zeros(way.shape)
    for point, share in zip((points + 1) / 2, shares / 2, strict=True):
        at = (request.baseline + np.float32(point) * way).astype(np.float32)
        total += share * network.input_gradients(at, request.targets)
    return (way * total).astype(np.float32)
