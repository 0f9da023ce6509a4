"""The shape that every node of an architecture gives, and the shapes of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trustml.errors import ScenarioError
from trustml.models.graph import check_graph, layer_field
from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layer_types import Shape as Shape
from trustml.models.layer_types import windows as windows
from trustml.models.layers import (
    INPUT,
    Architecture,
    GroupNorm,
    Layer,
    LayerNorm,
    NativeModule,
)
from trustml.models.token_layers import (
    Unembedding,
)


def layer_output(layer: Layer, shapes: Sequence[Shape], *, field: str) -> Shape:
    """Shape of one example after `layer`, from those of its inputs.

    Raises
    ------
    ScenarioError
        If the layer cannot take those shapes; `field` names the layer.
    """
    return LAYER_TYPES[type(layer)].output(layer, shapes, field)


def value_shapes(architecture: Architecture, input_shape: Shape) -> dict[str, Shape]:
    """Shape of one example at the input and after each node, by name and in order.

    Raises
    ------
    ScenarioError
        If the architecture is no graph, or a layer cannot take what it gets.
    """
    check_graph(architecture)
    found = {INPUT: input_shape}
    for index, node in enumerate(architecture.nodes):
        inputs = [found[name] for name in node.inputs]
        found[node.name] = layer_output(node.layer, inputs, field=layer_field(architecture, index))
        if isinstance(node.layer, Unembedding) and found[node.layer.of][-1] != inputs[0][-1]:
            problem = f"gets {inputs[0][-1]} channels, but rows of {node.layer.of!r} have {found[node.layer.of][-1]}"
            raise ScenarioError(layer_field(architecture, index), problem, fix="bring them to one width by a Dense")
    return found


def layer_shapes(architecture: Architecture, input_shape: Shape) -> list[Shape]:
    """Shape of one example at the input, and after each node."""
    return list(value_shapes(architecture, input_shape).values())


def refuse_erasing_norms(architecture: Architecture, input_shape: Shape) -> None:
    """Refuse layers that normalise one value by itself: whatever it was, nothing but 0 is left of it.

    Raises
    ------
    ScenarioError
    """
    shapes = value_shapes(architecture, input_shape)
    for index, node in enumerate(architecture.nodes):
        layer, shape, field = node.layer, shapes[node.inputs[0]], layer_field(architecture, index)
        if isinstance(layer, GroupNorm) and math.prod(shape) == layer.groups:
            problem = f"{layer.groups} groups of {shape} hold one value each, of which normalising leaves 0"
            raise ScenarioError(f"{field}.groups", problem, fix="use fewer groups, or leave the layer out")
        if isinstance(layer, LayerNorm) and shape[-1] == 1:
            problem = f"LayerNorm over the last axis of {shape} normalises one value, of which it leaves 0"
            raise ScenarioError(field, problem, fix="leave the layer out, or put it where there are more values")


def weight_shapes(architecture: Architecture, input_shape: Shape) -> dict[str, Shape]:
    """Canonical name and shape of every weight, in order.

    Names are ``<node>.<kernel|bias|scale>``, where a node that has no name is known by its place. Dense kernels are
    (in, out), convolution kernels (height, width, in, out) or (steps, in, out). A network of somebody's own code keeps
    its own names and shapes.
    """
    shapes = value_shapes(architecture, input_shape)
    return {
        part if isinstance(node.layer, NativeModule) else f"{node.name}.{part}": shape
        for node in architecture.nodes
        for part, shape in LAYER_TYPES[type(node.layer)].weights(node.layer, shapes[node.inputs[0]]).items()
    }


def node_of(name: str) -> str:
    """Name of the node that a weight belongs to."""
    return name.rpartition(".")[0]
