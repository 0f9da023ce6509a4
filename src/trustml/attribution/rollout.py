"""Attention rollout: how much of what a model reads out comes from each token, if attention were all there is.

Abnar and Zuidema (ACL 2020, arXiv 2005.00928, section 3): the shares of attention, averaged over heads, are multiplied
from the first layer to the last; where a shortcut leads past the attention, a step keeps half of itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError
from trustml.models.graph import ancestors
from trustml.models.layers import INPUT, Architecture, Conv2D, GlobalAvgPool, Node
from trustml.models.shapes import value_shapes
from trustml.models.token_layers import Attention, FeatureTokens, MaskedMean, Pick
from trustml.models.token_path import TokenPath, named, no_tokens, token_path
from trustml.models.token_types import feature_of_columns, rotations

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Values = Mapping[str, npt.NDArray[np.float32]]
Outputs = Callable[[Floats, Sequence[str]], Values]
"""Inputs and names of nodes, to the outputs of these nodes."""

_BYTES = 2**27
"""Of shares that are held at once."""


@dataclass(frozen=True, kw_only=True)
class TokenWay:
    """The way of the tokens through a model.

    Attributes
    ----------
    source : Node
        Makes the tokens of the input.
    first : int
        Steps in front of them, such as a class token.
    attention : tuple of Node
        In order.
    past : tuple of bool
        Whether a shortcut leads past each.
    read : Node
        Takes one step of them, or their mean.
    """

    source: Node
    first: int
    attention: tuple[Node, ...]
    past: tuple[bool, ...]
    read: Node


def why_no_rollout(architecture: Architecture, input_shape: tuple[int, ...]) -> str:
    """Say why there is no rollout; empty if there is one."""
    try:
        token_way(architecture, input_shape)
    except ScenarioError as error:
        return error.problem
    return ""


def token_way(architecture: Architecture, input_shape: tuple[int, ...]) -> TokenWay:
    """Follow the tokens from the input to where they are read out.

    Raises
    ------
    ScenarioError
        Where they cannot be followed.
    """
    nodes = architecture.nodes
    attention = tuple(node for node in nodes if isinstance(node.layer, Attention))
    if not attention:
        raise no_tokens("needs attention, and the model has none")
    path = token_path(architecture, input_shape)
    read: list[Node] = []
    for node in nodes:
        if node.name in path.in_front or not any(name in path.in_front for name in node.inputs):
            continue
        if not isinstance(node.layer, Pick | MaskedMean | GlobalAvgPool):
            raise no_tokens(f"follows tokens step by step, and {named(node)} joins several")
        read.append(node)
    if len(read) != 1:
        raise no_tokens(f"needs one place where tokens are read out, and the model has {len(read)}")
    return _checked(architecture, path, attention, read[0])


def rollout(architecture: Architecture, inputs: Floats, outputs: Outputs, *, rows: int) -> Floats:
    """Share of each value's token in what is read out, in the shape of the inputs; all of an example's tokens sum to 1.

    A class token has its own share, which is nobody's: then the rest sums to less.

    Parameters
    ----------
    architecture : Architecture
    inputs : float32 array of shape (n, *x)
    outputs : Outputs
        Of the model that is explained.
    rows : int
        Of one pass, at most.
    """
    way = token_way(architecture, inputs.shape[1:])
    shapes = value_shapes(architecture, inputs.shape[1:])
    names = [name for node in way.attention for name in (*node.inputs[:2], *node.inputs[3:])]
    names += [name for name in way.read.inputs[1:]]
    largest = max(_scores(node, shapes) for node in way.attention)
    rows = max(1, min(rows, _BYTES // (8 * largest)))
    found = []
    for start in range(0, len(inputs), rows):
        part = inputs[start : start + rows]
        values = outputs(part, tuple(dict.fromkeys(names)))
        found.append(_by_value(way, _rolled(way, values), part.shape))
    return np.concatenate(found)


def attention_shares(
    layer: Attention, queries: npt.NDArray[np.floating], keys: npt.NDArray[np.floating], mask: Floats | None = None
) -> Doubles:
    """How much each query takes of each key, averaged over heads: (n, steps, other steps); float64.

    A step that has no key to look at takes nothing.
    """
    q, k = (part.astype(np.float64).reshape(*part.shape[:2], layer.heads, -1) for part in (queries, keys))
    if layer.rotary:
        q, k = _turned(layer, q), _turned(layer, k)
    scores = np.einsum("nqhc,nkhc->nhqk", q, k) / np.sqrt(q.shape[-1])
    there = np.ones((1, 1, 1, k.shape[1]), bool) if mask is None else (mask > 0)[:, None, None]
    if layer.causal:
        there = there & np.tril(np.ones((q.shape[1], k.shape[1]), bool))
    scores = np.where(there, scores, -1e300)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True)) * there
    found: Doubles = (weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)).mean(axis=1)
    return found


def _rolled(way: TokenWay, values: Values) -> Doubles:
    """Share of each token in what is read out, (n, steps)."""
    whole: Doubles | None = None
    for node, past in zip(way.attention, way.past, strict=True):
        assert isinstance(node.layer, Attention)
        mask = values[node.inputs[3]] if len(node.inputs) > 3 else None
        shares = attention_shares(node.layer, values[node.inputs[0]], values[node.inputs[1]], mask)
        if past:
            # a step that looks at nothing keeps all of itself
            kept = np.where(shares.sum(axis=-1) > 0, 0.5, 1.0)[..., None]
            shares = (1 - kept) * shares + kept * np.eye(shares.shape[1])
        whole = shares if whole is None else shares @ whole
    assert whole is not None
    layer = way.read.layer
    if isinstance(layer, Pick):
        read = whole[:, layer.index]
    elif isinstance(layer, MaskedMean):
        there = (values[way.read.inputs[1]] > 0).astype(np.float64)
        read = np.einsum("nq,nqk->nk", there, whole) / np.maximum(there.sum(axis=1, keepdims=True), 1.0)
    else:
        read = whole.mean(axis=1)
    return read[:, way.first :]


def _by_value(way: TokenWay, shares: Doubles, shape: tuple[int, ...]) -> Floats:
    """Give each value of an input the share of its token."""
    layer = way.source.layer
    if isinstance(layer, FeatureTokens):
        found = shares[:, feature_of_columns(layer, shape[1])]
    elif isinstance(layer, Conv2D):
        down, across = layer.kernel
        patches = shares.reshape(len(shares), shape[1] // down, shape[2] // across, 1)
        found = np.broadcast_to(patches.repeat(down, axis=1).repeat(across, axis=2), shape)
    else:
        found = np.broadcast_to(shares.reshape(*shares.shape, *[1] * (len(shape) - 2)), shape)
    return np.ascontiguousarray(found, np.float32)


def _checked(architecture: Architecture, path: TokenPath, attention: tuple[Node, ...], read: Node) -> TokenWay:
    nodes = {node.name: node for node in architecture.nodes}
    outside = next((node for node in attention if node.name not in path.in_front), None)
    if outside is not None:
        raise no_tokens(f"follows one sequence of tokens, and {named(outside)} looks at another")
    for before, after in itertools.pairwise(attention):
        if before.name not in ancestors(architecture, after.inputs[:1]):
            raise no_tokens(f"multiplies attention up, and {named(before)} and {named(after)} stand side by side")
    first = {path.in_front[node.name] for node in attention} | {path.in_front[read.inputs[0]]}
    if len(first) > 1:
        raise no_tokens("needs the same tokens in every attention, and the model prepends one between them")
    if attention[-1].name not in ancestors(architecture, read.inputs[:1]):
        raise no_tokens(f"needs attention before tokens are read out, and {named(read)} comes first")
    names = [path.source.name, *(node.name for node in attention)]
    ends = [*(node.inputs[0] for node in attention[1:]), read.inputs[0]]
    past = tuple(
        _goes_past(nodes, end, around, begin) for begin, around, end in zip(names, names[1:], ends, strict=False)
    )
    return TokenWay(source=path.source, first=first.pop(), attention=attention, past=past, read=read)


def _goes_past(nodes: Mapping[str, Node], end: str, around: str, begin: str) -> bool:
    """Whether a value leads from one node to another around a third."""
    waiting, seen = [end], {around, INPUT}
    while waiting:
        name = waiting.pop()
        if name == begin:
            return True
        if name not in seen:
            seen.add(name)
            waiting += nodes[name].inputs
    return False


def _turned(layer: Attention, heads: Doubles) -> Doubles:
    """Turn pairs of channels of each head (n, steps, heads, channels)."""
    cosines, sines = (part[:, None] for part in rotations(layer, (heads.shape[1], layer.heads * heads.shape[3])))
    first, second = np.split(heads, 2, axis=-1)
    return np.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


def _scores(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    assert isinstance(node.layer, Attention)
    return node.layer.heads * shapes[node.inputs[0]][0] * shapes[node.inputs[1]][0]
