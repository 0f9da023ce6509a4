"""Which values hold a model's tokens step by step: those of ids, of a table's features, or of an image's patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.errors import ScenarioError
from trustml.models.layers import (
    GELU,
    INPUT,
    Add,
    Architecture,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    LayerNorm,
    LeakyReLU,
    Multiply,
    Node,
    ReLU,
    RMSNorm,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from trustml.models.shapes import Shape, value_shapes
from trustml.models.token_layers import (
    Attention,
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    Prepend,
    Reshape,
    SinusoidalPositions,
    Unembedding,
)

_ACTIVATIONS = (ReLU, LeakyReLU, GELU, SiLU, Softplus, Tanh, Sigmoid)
_TOKENWISE = (Dense, LayerNorm, RMSNorm, Dropout, Scale, LearnedPositions, SinusoidalPositions, Unembedding)
_STEP_BY_STEP = (*_ACTIVATIONS, *_TOKENWISE, Add, Multiply, Concatenate)
"""Layers of which every step follows from that step of what they take."""


@dataclass(frozen=True, kw_only=True)
class TokenPath:
    """The tokens of a model's input, and where they are.

    Attributes
    ----------
    source : Node
        Makes them.
    in_front : dict of str to int
        Steps in front of the first of them, such as a class token, by name of each value that holds them.
    grid : (int, int), optional
        Rows and columns of patches.
    """

    source: Node
    in_front: dict[str, int]
    grid: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """How a sequence becomes rows and columns of patches.

    Attributes
    ----------
    first : int
        Steps to leave out in front, such as a class token.
    rows, columns : int
    """

    first: int
    rows: int
    columns: int


def token_path(architecture: Architecture, input_shape: Shape) -> TokenPath:
    """Follow the tokens from the input as far as they go step by step.

    Raises
    ------
    ScenarioError
        Where nothing makes tokens of the input.
    """
    source, start, grid = _source(architecture, input_shape)
    in_front = {start: 0}
    for node in architecture.nodes:
        given = [in_front[name] for name in node.inputs if name in in_front]
        if not given or node.name in in_front:
            continue
        if isinstance(node.layer, Prepend):
            in_front[node.name] = given[0] + 1
        elif len(set(given)) == 1 and (
            (isinstance(node.layer, Attention) and all(name in in_front for name in node.inputs[:3]))
            or (isinstance(node.layer, _STEP_BY_STEP) and len(given) == len(node.inputs))
        ):
            in_front[node.name] = given[0]
    return TokenPath(source=source, in_front=in_front, grid=grid)


def patch_grid(architecture: Architecture, input_shape: Shape, layer: int) -> PatchGrid | None:
    """How the output of a node becomes rows and columns of patches; None where it holds none."""
    try:
        path = token_path(architecture, input_shape)
    except ScenarioError:
        return None
    first = path.in_front.get(architecture.nodes[layer].name) if layer >= 0 else None
    if path.grid is None or first is None:
        return None
    return PatchGrid(first=first, rows=path.grid[0], columns=path.grid[1])


def last_attended(architecture: Architecture, input_shape: Shape) -> int:
    """Number of the node that the last attention to patches looks at; -1 where there is none.

    What comes later has no gradient but at the token that is read out.
    """
    names = [node.name for node in architecture.nodes]
    for node in reversed(architecture.nodes):
        if isinstance(node.layer, Attention):
            projection = names.index(node.inputs[0])
            layer = names.index(architecture.nodes[projection].inputs[0]) if projection else 0
            return layer if patch_grid(architecture, input_shape, layer) is not None else -1
    return -1


def no_tokens(problem: str) -> ScenarioError:
    """Tell what keeps tokens from being followed."""
    return ScenarioError("explanations.methods", problem, fix="use another method")


def named(node: Node) -> str:
    """Name of a node, if it has one of its own, and its kind."""
    kind = type(node.layer).__name__
    return kind if node.name.isdigit() else f"{node.name} ({kind})"


def _source(architecture: Architecture, input_shape: Shape) -> tuple[Node, str, tuple[int, int] | None]:
    """The node that makes tokens of the input, the value that has them as a sequence, and the grid of patches."""
    takers = [n for n in architecture.nodes if INPUT in n.inputs and not isinstance(n.layer, Mask)]
    if len(takers) != 1:
        raise no_tokens(f"needs one layer that makes tokens of the input, and {len(takers)} layers take it")
    (node,) = takers
    layer = node.layer
    if isinstance(layer, Embedding | FeatureTokens):
        return node, node.name, None
    reshaped = [n for n in architecture.nodes if node.name in n.inputs]
    if isinstance(layer, Conv2D) and len(reshaped) == 1 and isinstance(reshaped[0].layer, Reshape):
        shapes = value_shapes(architecture, input_shape)
        rows, columns, width = shapes[node.name]
        whole = input_shape[:2] == (rows * layer.kernel[0], columns * layer.kernel[1])
        apart = layer.kernel == layer.stride and not np.any(layer.padding)
        if whole and apart and shapes[reshaped[0].name] == (rows * columns, width):
            return node, reshaped[0].name, (rows, columns)
    raise no_tokens(f"needs tokens of ids, of features or of patches, and {named(node)} makes none of the input")
