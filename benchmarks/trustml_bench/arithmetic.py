"""How much work a step is, by arithmetic from the shapes of its layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trustml.models.layers import Conv2D, Dense
from trustml.models.shapes import layer_shapes
from trustml.models.weights import initial_weights
from trustml_bench.layered import LAYERED, plan
from trustml_bench.workloads import NETWORKS, Workload


@dataclass(frozen=True, kw_only=True)
class Count:
    """Of one example: operations of a forward pass, values of the input and of all outputs; and of all weights."""

    operations: int
    inputs: int
    values: int
    weights: int


def count(network: str) -> Count:
    """Count a network."""
    generator = np.random.default_rng(0)
    if network in LAYERED:
        made = plan(LAYERED[network].layers, LAYERED[network].shape, generator)
        inputs, operations, values, weights = LAYERED[network].shape, made.operations, made.values, made.weights
    else:
        architecture, inputs, _ = NETWORKS[network]
        operations = forward_operations(network)
        values = sum(math.prod(shape) for shape in layer_shapes(architecture, inputs)[1:])
        weights = initial_weights(architecture, inputs, generator=generator)
    return Count(
        operations=operations,
        inputs=math.prod(inputs),
        values=values,
        weights=sum(array.size for array in weights.values()),
    )


def forward_operations(network: str) -> int:
    """Operations of one example's forward pass: two for each multiply-add of dense layers and convolutions.

    Activations, pooling and biases are left out, as is usual: they are below a hundredth of it here.
    """
    if network in LAYERED:
        return count(network).operations
    architecture, shape, _ = NETWORKS[network]
    shapes = layer_shapes(architecture, shape)
    total = 0
    for layer, before, after in zip(architecture.layers, shapes[:-1], shapes[1:], strict=True):
        match layer:
            case Dense():
                total += 2 * before[-1] * after[-1]
            case Conv2D():
                total += 2 * after[0] * after[1] * after[2] * layer.kernel[0] * layer.kernel[1] * before[-1]
    return total


def step_operations(workload: Workload) -> int | None:
    """Operations of a plain training step: three forward passes, for outputs, inputs' gradients and weights' gradients.

    The first layer's inputs need no gradient, so this is somewhat more than what has to be done. None where a part of
    the network is trained.
    """
    if workload.network not in LAYERED and workload.network not in NETWORKS:
        return None
    return 3 * workload.size * forward_operations(workload.network)
