"""Where a network can be cut, so that what lies before is the same for every step of a training."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layers import INPUT, Architecture, Dropout, Node
from trustml.models.shapes import Shape, node_of, value_shapes, weight_shapes
from trustml.models.token_layers import Unembedding


@dataclass(frozen=True, kw_only=True)
class Cut:
    """An architecture in two: what gives features, and what is trained on them.

    Attributes
    ----------
    front, back : Architecture
    features : tuple of int
        Shape of one example between the two.
    """

    front: Architecture
    back: Architecture
    features: Shape


def cut_before(architecture: Architecture, input_shape: Shape, trained: Collection[str]) -> Cut | None:
    """Cut as late as can be before the first of these weights; None if there is nothing to be saved.

    All of the back must follow from one vector of the front, whose values are the same at every step.
    """
    nodes, shapes = architecture.nodes, value_shapes(architecture, input_shape)
    own = {node_of(name) for name in trained}
    first = next((index for index, node in enumerate(nodes) if node.name in own), len(nodes))
    for end in range(first, 0, -1):
        front, back = nodes[:end], nodes[end:]
        between = front[-1].name
        if not back or len(shapes[between]) != 1 or not _stands_alone(front, back, between):
            continue
        if not any(LAYER_TYPES[type(node.layer)].has_weights for node in front):
            return None
        return Cut(
            front=msgspec.structs.replace(architecture, layers=front),
            back=msgspec.structs.replace(architecture, layers=_from_input(back, between)),
            features=shapes[between],
        )
    return None


def weights_of(cut: Cut, input_shape: Shape) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the weights of the front, and of the back."""
    return tuple(weight_shapes(cut.front, input_shape)), tuple(weight_shapes(cut.back, cut.features))


def _stands_alone(front: tuple[Node, ...], back: tuple[Node, ...], between: str) -> bool:
    """Whether the back takes one value of the front alone, and nothing in the front is drawn."""
    inside = {node.name for node in back}
    taken = {name for node in back for name in node.inputs} - inside
    tables = {node.layer.of for node in back if isinstance(node.layer, Unembedding)}
    drawn = any(isinstance(node.layer, Dropout) for node in front)
    return taken == {between} and tables <= inside and not drawn


def _from_input(nodes: tuple[Node, ...], between: str) -> tuple[Node, ...]:
    return tuple(
        msgspec.structs.replace(node, inputs=tuple(INPUT if name == between else name for name in node.inputs))
        for node in nodes
    )
