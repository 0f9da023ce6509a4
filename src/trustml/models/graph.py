"""How the nodes of an architecture hang together, and what cannot be."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence

from trustml.errors import ScenarioError
from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layers import (
    INPUT,
    Architecture,
    Node,
)
from trustml.models.token_layers import (
    Embedding,
    Unembedding,
)

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LONGEST = 80


@functools.lru_cache(maxsize=256)
def check_graph(architecture: Architecture) -> None:
    """Check that nodes have usable names, and that each takes what is there and leads to the output.

    Raises
    ------
    ScenarioError
        For the first node that does not; it names the node.
    """
    nodes = architecture.nodes
    if not nodes:
        raise ScenarioError("model.layers", "is empty", fix="end with Dense(units=<number of classes>)")
    bare = not all(isinstance(layer, Node) for layer in architecture.layers)
    for index, node in enumerate(nodes):
        _check_name(node.name, [one.name for one in nodes[:index]], index, numbered=bare)
    for index, node in enumerate(nodes):
        _check_inputs(architecture, index, node)
        if isinstance(node.layer, Unembedding):
            _check_tie(architecture, index, node.layer)
    used = {name for node in nodes for name in node.inputs}
    for index, node in enumerate(nodes[:-1]):
        if node.name not in used:
            raise ScenarioError(
                f"model.layers.{index}",
                f"no node takes the output of {node.name!r}",
                fix="name it among the inputs of a later node, or remove it",
            )


def layer_field(architecture: Architecture, index: int) -> str:
    """Path of a layer's own fields in a scenario."""
    inside = ".layer" if isinstance(architecture.layers[index], Node) else ""
    return f"model.layers.{index}{inside}"


def is_chain(architecture: Architecture) -> bool:
    """Whether every node takes the output of the one before it, and nothing else."""
    return all(
        node.inputs == (before,)
        for node, before in zip(architecture.nodes, [INPUT, *(n.name for n in architecture.nodes)], strict=False)
    )


def value_name(architecture: Architecture, index: int) -> str:
    """Name of a node's output; the input has number -1."""
    return INPUT if index < 0 else architecture.nodes[index].name


def straight_until(architecture: Architecture, first: int = 0) -> int:
    """Give the first node, from `first` on, that bends a straight way; the number of nodes if none does.

    The nodes from `first` up to it are affine, and a chain: nothing else takes what goes into them, so that all that
    comes later follows from the output of the last of them.
    """
    nodes = architecture.nodes
    for index in range(first, len(nodes)):
        before = value_name(architecture, index - 1)
        uses = sum(node.inputs.count(before) for node in nodes)
        if not LAYER_TYPES[type(nodes[index].layer)].affine or nodes[index].inputs != (before,) or uses > 1:
            return index
    return len(nodes)


def downstream(architecture: Architecture, name: str) -> tuple[Node, ...]:
    """Nodes whose outputs depend on that of `name`, in order."""
    reached = {name}
    found = []
    for node in architecture.nodes:
        if reached.intersection(node.inputs):
            reached.add(node.name)
            found.append(node)
    return tuple(found)


def ancestors(architecture: Architecture, names: Sequence[str]) -> set[str]:
    """Names of what these values follow from, and of themselves."""
    needed = set(names)
    for node in reversed(architecture.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return needed


def held_beside(architecture: Architecture, name: str) -> tuple[str, ...]:
    """Values, other than that of `name`, from which those downstream of it are computed: none in a chain."""
    later = downstream(architecture, name)
    own = {name, *(node.name for node in later)}
    return tuple(dict.fromkeys(value for node in later for value in node.inputs if value not in own))


def _check_name(name: str, earlier: list[str], index: int, *, numbered: bool) -> None:
    problem = ""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        problem, fix = "is no plain name", f"use letters, digits, _, - and dots between them, {_LONGEST} at most"
    elif name == INPUT or (numbered and name.isdigit() and name != str(index)):
        problem, fix = "is the name of something else", "begin it with a letter, such as conv1"
    elif name in earlier:
        problem, fix = f"is the name of model.layers.{earlier.index(name)}, too", "give each node a name of its own"
    if problem:
        raise ScenarioError(f"model.layers.{index}.name", f"{name!r} {problem}", fix=fix)


def _check_inputs(architecture: Architecture, index: int, node: Node) -> None:
    names = [INPUT, *(one.name for one in architecture.nodes)]
    for place, name in enumerate(node.inputs):
        field = f"model.layers.{index}.inputs.{place}"
        if name not in names:
            near = difflib.get_close_matches(name, names[: index + 1], n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names[: index + 1])}"
            raise ScenarioError(field, f"{name!r} names no node", fix=fix)
        if name in names[index + 1 :]:
            what = "itself" if name == node.name else f"{name!r}, which comes later"
            raise ScenarioError(field, f"{node.name!r} takes the output of {what}", fix="name an earlier node")
    kind, (fewest, most) = type(node.layer).__name__, LAYER_TYPES[type(node.layer)].inputs
    if len(node.inputs) < fewest:
        raise ScenarioError(
            f"model.layers.{index}",
            f"{kind} takes {fewest} inputs or more and {node.name!r} has {len(node.inputs)}",
            fix=f"write Node(name=..., layer={kind}(), inputs=(..., ...))",
        )
    if len(node.inputs) > most:
        raise ScenarioError(
            f"model.layers.{index}.inputs",
            f"{kind} takes {'one input' if most == 1 else f'{most} inputs at most'} and {node.name!r} has "
            f"{len(node.inputs)}",
            fix="join them by Add or Concatenate first" if most == 1 else f"name {most} or fewer",
        )


def _check_tie(architecture: Architecture, index: int, layer: Unembedding) -> None:
    """Check that weights are tied to the table of one Embedding, and by one node: then both uses are clipped as one."""
    field = layer_field(architecture, index)
    tables = {node.name: node.layer for node in architecture.nodes[:index] if isinstance(node.layer, Embedding)}
    if layer.of not in tables:
        fix = f"choose one of {', '.join(tables)}" if tables else "put an Embedding before it"
        raise ScenarioError(f"{field}.of", f"{layer.of!r} names no earlier Embedding", fix=fix)
    table = tables[layer.of]
    if table.vocabulary != layer.vocabulary:
        problem = f"{layer.vocabulary} is another than the {table.vocabulary} of {layer.of!r}"
        raise ScenarioError(f"{field}.vocabulary", problem, fix=f"use {table.vocabulary}")
    earlier = [node.layer for node in architecture.nodes[:index]]
    if any(isinstance(one, Unembedding) and one.of == layer.of for one in earlier):
        problem = f"the table of {layer.of!r} is tied to another node already"
        raise ScenarioError(f"{field}.of", problem, fix="let one node use it, or use a Dense without ties")
