"""Random small graphs: branches, and all ways in which they meet."""

from __future__ import annotations

import numpy as np

from trustml.models.layers import (
    GELU,
    INPUT,
    Add,
    Architecture,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    Multiply,
    Node,
    SiLU,
    Tanh,
)
from trustml.models.shapes import Shape, value_shapes

_SMOOTH: tuple[Layer, ...] = (GELU(), SiLU(), Tanh(), LayerNorm(epsilon=0.1), GroupNorm(groups=2, epsilon=0.1))


def draw_graph(generator: np.random.Generator, shape: Shape, *, classes: int = 10) -> Architecture:
    """Draw a graph for images of that shape, without kinks, at which rounding would decide gradients."""
    nodes: list[Node] = []
    for number in range(int(generator.integers(3, 9))):
        layer, inputs = _draw_node(generator, _shapes(nodes, shape))
        nodes.append(Node(name=f"part{number % 2}.{number}", layer=layer, inputs=inputs))
    used = {name for node in nodes for name in node.inputs}
    ends = [node.name for node in nodes if node.name not in used]
    for end in ends:
        pool = Flatten() if generator.random() < 0.3 else GlobalAvgPool()
        nodes.append(Node(name=f"{end}.pool", layer=pool, inputs=(end,)))
    if len(ends) > 1:
        nodes.append(Node(name="all", layer=Concatenate(), inputs=tuple(f"{end}.pool" for end in ends)))
    return Architecture(layers=(*nodes, Dense(units=classes)))


def _shapes(nodes: list[Node], shape: Shape) -> dict[str, Shape]:
    if not nodes:
        return {INPUT: shape}
    used = {name for node in nodes for name in node.inputs}
    ends = tuple(node.name for node in nodes if node.name not in used)
    pools = [Node(name=f"{end}.pool", layer=Flatten(), inputs=(end,)) for end in ends]
    joint = [Node(name="all", layer=Concatenate(), inputs=tuple(one.name for one in pools))] if len(ends) > 1 else []
    found = value_shapes(Architecture(layers=(*nodes, *pools, *joint)), shape)
    return {name: found[name] for name in (INPUT, *(node.name for node in nodes))}


def _draw_node(generator: np.random.Generator, shapes: dict[str, Shape]) -> tuple[Layer, tuple[str, ...]]:
    names = list(shapes)
    source = names[int(generator.integers(len(names)))]
    alike = [name for name in names if shapes[name] == shapes[source]]
    level = [name for name in names if shapes[name][:2] == shapes[source][:2]]
    way = generator.random()
    if way < 0.35 and len(alike) > 1:
        layer: Layer = Add() if generator.random() < 0.6 else Multiply()
        return layer, tuple(generator.choice(alike, size=int(generator.integers(2, 4))).tolist())
    if way < 0.5 and len(level) > 1:
        return Concatenate(), tuple(generator.choice(level, size=2).tolist())
    if way < 0.65:
        layer = _SMOOTH[int(generator.integers(len(_SMOOTH)))]
        odd = isinstance(layer, GroupNorm) and shapes[source][-1] % 2
        return (GELU() if odd else layer), (source,)
    if way < 0.72 and min(shapes[source][:2]) > 2:
        return AvgPool(size=(2, 2), stride=(1, 1)), (source,)
    side = int(generator.choice([1, 3]))
    padding = ((side // 2, side // 2), (side // 2, side // 2))
    bias = bool(generator.random() < 0.5)
    return Conv2D(filters=int(generator.choice([2, 4])), kernel=(side, side), padding=padding, bias=bias), (source,)
