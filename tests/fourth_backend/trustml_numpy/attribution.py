"""Attributions by their formulas; what is called for a method, the entry's cells say."""

from __future__ import annotations

import numpy as np

from trustml.catalogue.available import implementation
from trustml.frameworks.implementation import resolve
from trustml_numpy.network import NumpyNetwork


def explain(request):
    function = resolve(implementation("numpy", request.method))
    return {"native": np.asarray(function(request, request.method), np.float32)}


def saliency(request, method):
    gradients = NumpyNetwork(request.model).input_gradients(request.inputs, request.targets)
    return np.abs(gradients) if method.absolute else gradients


def input_x_gradient(request, method):
    return request.inputs * NumpyNetwork(request.model).input_gradients(request.inputs, request.targets)


def integrated_gradients(request, method):
    network, points = NumpyNetwork(request.model), (np.arange(method.n_steps) + 0.5) / method.n_steps
    along = [network.input_gradients(np.float32(point) * request.inputs, request.targets) for point in points]
    return request.inputs * np.mean(along, axis=0)
