"""How many floating-point operations a plain step takes, by arithmetic from the shapes of its layers."""

from __future__ import annotations

from trustml.models.layers import Conv2D, Dense
from trustml.models.shapes import layer_shapes
from trustml_bench.workloads import NETWORKS, Workload


def forward_operations(network: str) -> int:
    """Operations of one example's forward pass: two for each multiply-add of dense layers and convolutions.

    Activations, pooling and biases are left out, as is usual: they are below a hundredth of it here.
    """
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


def step_operations(workload: Workload) -> int:
    """Operations of a plain training step: three forward passes, for outputs, inputs' gradients and weights' gradients.

    The first layer's inputs need no gradient, so this is somewhat more than what has to be done.
    """
    return 3 * workload.size * forward_operations(workload.network)
