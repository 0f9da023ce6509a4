"""What a draft can do without: norms in the weights before them, padding in convolutions, orders before a Dense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np

from trustml.errors import UsageError
from trustml.importing.draft import ChannelAffine, Draft, Kind, Note, Piece
from trustml.models.layers import (
    GELU,
    INPUT,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GroupNorm,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Transpose,
)
from trustml.models.token_layers import LearnedPositions, Reshape, Unembedding

Norms: TypeAlias = Mapping[str, GroupNorm] | GroupNorm | None
_WEIGHTED = (Dense, Conv2D, Conv1D, ConvTranspose2D, ConvTranspose1D)
_EACH = (ReLU, LeakyReLU, GELU, SiLU, Softplus, Tanh, Sigmoid)
"""Layers of each value by itself: the order of values does not matter to them."""


def folded(draft: Draft, output: str, norms: Norms) -> list[Piece]:
    """Give the nodes that are left, in order; the draft's notes say what was folded."""
    graph = _Graph(draft, output)
    _replace_norms(graph, norms)
    for fold in (_fold_affine, _fold_padding, _fold_positions, _fold_order):
        for name in list(graph.pieces):
            if name in graph.pieces and name != INPUT:
                fold(graph, graph.pieces[name])
    return graph.in_order()


class _Graph:
    """Nodes that the output follows from."""

    def __init__(self, draft: Draft, output: str) -> None:
        needed = {output, INPUT}
        for name in reversed(list(draft.pieces)):
            piece = draft.pieces[name]
            if name in needed:
                needed.update(piece.inputs)
                if isinstance(piece.layer, Unembedding):
                    needed.add(piece.layer.of)
        self.draft, self.output = draft, output
        self.pieces = {name: piece for name, piece in draft.pieces.items() if name in needed}
        draft.notes[:] = [note for note in draft.notes if note.kind != "copied" or note.node in self.pieces]

    def takers(self, name: str) -> list[Piece]:
        """Nodes that take a value, once for each time."""
        return [piece for piece in self.pieces.values() for one in piece.inputs if one == name]

    def only_taker(self, name: str) -> Piece | None:
        """Give the node that alone takes a value, if that is not the output."""
        found = self.takers(name)
        return found[0] if len(found) == 1 and name != self.output else None

    def remove(self, piece: Piece) -> None:
        """Take a node out; who took it takes what it took."""
        (before,) = piece.inputs
        for one in self.takers(piece.name):
            one.inputs = tuple(before if name == piece.name else name for name in one.inputs)
        if self.output == piece.name:
            self.output = before
        del self.pieces[piece.name]

    def insert(self, piece: Piece, before: Piece) -> None:
        """Put a node in front of another in the list."""
        items = [(name, one) for name, one in self.pieces.items()]
        place = [name for name, _ in items].index(before.name)
        items.insert(place, (piece.name, piece))
        self.pieces = dict(items)

    def note(self, kind: Kind, piece: Piece, what: str) -> None:
        """Tell what became of a node."""
        self.draft.notes.append(Note(kind=kind, node=piece.name, what=what))

    def in_order(self) -> list[Piece]:
        """All nodes but the input, the output last."""
        found = [piece for name, piece in self.pieces.items() if name not in (INPUT, self.output)]
        return [*found, self.pieces[self.output]]


def _replace_norms(graph: _Graph, norms: Norms) -> None:
    found = {name: one for name, one in graph.pieces.items() if isinstance(one.layer, ChannelAffine) and one.layer.norm}
    named = norms if isinstance(norms, Mapping) else {} if norms is None else dict.fromkeys(found, norms)
    for name, layer in named.items():
        if name not in found:
            known = ", ".join(list(found)[:8]) or "none"
            raise UsageError(f"norms: {name!r} is no BatchNorm of the model; its BatchNorms are {known}")
        piece = found[name]
        if piece.shape[-1] % layer.groups:
            problem = f"{layer.groups} groups do not divide the {piece.shape[-1]} channels of {name!r}"
            raise UsageError(f"norms: {problem}; choose a divisor of {piece.shape[-1]}")
        piece.layer = layer
        piece.weights = {"scale": piece.weights["gain"], "bias": piece.weights["offset"]}
        graph.note("replaced", piece, f"BatchNorm by GroupNorm(groups={layer.groups}), with its scale and bias")


def _fold_affine(graph: _Graph, piece: Piece) -> None:
    """Multiply the weights before it; where that cannot be, become a convolution of each channel by itself."""
    if not isinstance(piece.layer, ChannelAffine):
        return
    scale, shift = piece.weights["scale"].astype(np.float64), piece.weights["shift"].astype(np.float64)
    before = graph.pieces[piece.inputs[0]]
    if isinstance(before.layer, _WEIGHTED) and graph.only_taker(before.name) is piece:
        transposed = isinstance(before.layer, ConvTranspose1D | ConvTranspose2D)
        before.weights["kernel"] = before.weights["kernel"] * (scale[:, None] if transposed else scale)
        bias = before.weights.get("bias", 0.0) * scale + shift
        if "bias" in before.weights or bias.any():
            before.weights["bias"] = bias
            before.layer = _changed(before.layer, {"bias": True})
        graph.remove(piece)
        graph.note("folded", piece, f"{_kind(piece)} into {before.name}")
        return
    _write_out(graph, piece, scale, shift)


def _write_out(graph: _Graph, piece: Piece, scale: Any, shift: Any) -> None:
    graph.note("written out", piece, f"{_kind(piece)} as a convolution of kernel 1 for each channel by itself")
    channels, has_bias = piece.shape[-1], bool(shift.any())
    weights = {"bias": shift} if has_bias else {}
    places = max(len(piece.shape) - 1, 1)
    kernel = scale.reshape(*(1,) * (places + 1), channels)
    layer: Any
    if places == 2:
        layer = Conv2D(filters=channels, kernel=(1, 1), bias=has_bias, groups=channels)
    else:
        layer = Conv1D(filters=channels, kernel=1, bias=has_bias, groups=channels)
    piece.layer, piece.weights = layer, {"kernel": kernel, **weights}
    if len(piece.shape) == 1:  # a vector goes through as a sequence of one step
        step = Piece(
            name=f"{piece.name}.step", layer=Reshape(shape=(1, channels)), inputs=piece.inputs, weights={},
            shape=(1, channels),
        )  # fmt: skip
        vector = Piece(
            name=f"{piece.name}.vector", layer=Flatten(), inputs=(piece.name,), weights={}, shape=piece.shape
        )  # fmt: skip
        for one in graph.takers(piece.name):
            one.inputs = tuple(vector.name if name == piece.name else name for name in one.inputs)
        piece.inputs, piece.shape = (step.name,), (1, channels)
        graph.insert(step, piece)
        graph.insert(vector, piece)
        graph.pieces = _swapped(graph.pieces, vector.name, piece.name)
        if graph.output == piece.name:
            graph.output = vector.name


def _fold_padding(graph: _Graph, piece: Piece) -> None:
    """Let the next convolution pad."""
    layer, after = piece.layer, graph.only_taker(piece.name)
    if not isinstance(layer, Conv2D | Conv1D) or after is None or not isinstance(after.layer, Conv2D | Conv1D):
        return
    if layer.bias or piece.weights["kernel"].shape[:-1] != (1,) * (3 if isinstance(layer, Conv2D) else 2):
        return
    if layer.groups != layer.filters or (piece.weights["kernel"] != 1).any() or type(layer) is not type(after.layer):
        return
    ours: Any = layer.padding
    theirs: Any = after.layer.padding
    if isinstance(layer, Conv2D):
        both: Any = tuple((a[0] + b[0], a[1] + b[1]) for a, b in zip(ours, theirs, strict=True))
    else:
        both = (ours[0] + theirs[0], ours[1] + theirs[1])
    after.layer = _changed(after.layer, {"padding": both})
    graph.remove(piece)


def _fold_positions(graph: _Graph, piece: Piece) -> None:
    """Add constants that are added one after the other at once."""
    after = graph.only_taker(piece.name)
    if isinstance(piece.layer, LearnedPositions) and after is not None and isinstance(after.layer, LearnedPositions):
        after.weights["table"] = after.weights["table"] + piece.weights["table"]
        graph.remove(piece)
        graph.note("folded", piece, f"constants into {after.name}")


def _fold_order(graph: _Graph, piece: Piece) -> None:
    """Reorder rows of a Dense's kernel instead of the values that it takes."""
    if not isinstance(piece.layer, Transpose):
        return
    after = graph.only_taker(piece.name)
    if after is None or not isinstance(after.layer, Flatten):
        return
    found = graph.only_taker(after.name)
    while found is not None and isinstance(found.layer, _EACH):
        found = graph.only_taker(found.name)
    if found is None or not isinstance(found.layer, Dense):
        return
    before = graph.pieces[piece.inputs[0]].shape
    numbers = np.arange(math.prod(before)).reshape(before).transpose(piece.layer.axes).reshape(-1)
    kernel = np.empty_like(found.weights["kernel"])
    kernel[numbers] = found.weights["kernel"]
    found.weights["kernel"] = kernel
    graph.remove(piece)
    graph.note("folded", piece, f"the order of axes into {found.name}")


def _changed(layer: Any, fields: dict[str, Any]) -> Any:
    return msgspec.structs.replace(layer, **fields)


def _kind(piece: Piece) -> str:
    assert isinstance(piece.layer, ChannelAffine)
    return "BatchNorm" if piece.layer.norm else "a number for each channel"


def _swapped(pieces: dict[str, Piece], first: str, second: str) -> dict[str, Piece]:
    """Exchange the places of two nodes that lie side by side."""
    other = {first: second, second: first}
    return {other.get(name, name): pieces[other.get(name, name)] for name in pieces}
