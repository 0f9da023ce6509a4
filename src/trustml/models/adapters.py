"""Low-rank adapters (Hu et al., ICLR 2022, arXiv 2106.09685): a pair of small dense layers beside a frozen one.

They are nodes like any other, so that all that is done with dense layers, clipping among it, is done with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from trustml.models.layers import Add, Architecture, Dense, Node, Scale
from trustml.models.shapes import Shape, weight_shapes
from trustml.models.weights import Weights

DOWN, UP = "down.kernel", "up.kernel"
"""Weights of a pair, behind the name of the layer that they are beside."""


def with_adapters(architecture: Architecture, beside: Sequence[str], *, rank: int, scale: float) -> Architecture:
    """Put a pair of rank `rank` beside dense layers: ``x @ kernel + bias + scale * (x @ down) @ up``.

    All weights keep their names, so that those of the architecture are weights of the adapted one.

    Parameters
    ----------
    architecture : Architecture
    beside : sequence of str
        Names of nodes, each a Dense.
    rank : int
    scale : float
    """
    nodes: list[Node] = []
    sums = {name: f"{name}.adapted" for name in beside}
    for node in architecture.nodes:
        inputs = tuple(sums.get(name, name) for name in node.inputs)
        nodes.append(msgspec.structs.replace(node, inputs=inputs))
        if node.name in sums:
            assert isinstance(node.layer, Dense)
            up = Dense(units=node.layer.units, bias=False)
            nodes += [
                Node(name=f"{node.name}.down", layer=Dense(units=rank, bias=False), inputs=inputs),
                Node(name=f"{node.name}.up", layer=up),
                Node(name=f"{node.name}.scaled", layer=Scale(value=scale)),
                Node(name=sums[node.name], layer=Add(), inputs=(node.name, f"{node.name}.scaled")),
            ]
    return msgspec.structs.replace(architecture, layers=tuple(nodes))


def starting_pairs(
    adapted: Architecture, input_shape: Shape, beside: Sequence[str], *, generator: np.random.Generator
) -> Weights:
    """Draw the pairs of an adapted architecture: `down` uniform within 1/sqrt(fan_in), `up` zero.

    So the adapted network begins as the one that it was made of.
    """
    shapes = weight_shapes(adapted, input_shape)
    found: Weights = {}
    for name in beside:
        bound = 1 / math.sqrt(shapes[f"{name}.{DOWN}"][0])
        found[f"{name}.{DOWN}"] = generator.uniform(-bound, bound, shapes[f"{name}.{DOWN}"]).astype(np.float32)
        found[f"{name}.{UP}"] = np.zeros(shapes[f"{name}.{UP}"], np.float32)
    return found


def merged(weights: Weights, beside: Sequence[str], *, scale: float) -> Weights:
    """Add each pair's product to the kernel that it is beside, which leaves the weights of the architecture alone.

    A kernel beside a pair whose product is zero keeps its bits.
    """
    pairs = {f"{name}.{part}" for name in beside for part in (DOWN, UP)}
    found = {name: array for name, array in weights.items() if name not in pairs}
    for name in beside:
        kernel, down, up = (weights[f"{name}.{part}"].astype(np.float64) for part in ("kernel", DOWN, UP))
        found[f"{name}.kernel"] = (kernel + scale * (down @ up)).astype(np.float32)
    return found
