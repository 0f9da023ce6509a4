"""Relevance by its definition: each part of a sum is given what it is of the whole, as loops over float64 numbers."""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import Model
from trustml.backends.numpy.network import _layer, _one
from trustml.models.layers import INPUT, GroupNorm, LayerNorm, Multiply, Node, RMSNorm
from trustml.models.relevance import PASSES_ON, SHARES_OUT
from trustml.models.token_layers import Attention, Mask, MaskedMean, Unembedding
from trustml.models.token_space import relevance_at
from trustml.models.weights import node_of

Doubles = np.ndarray


def relevance(model: Model, example: np.ndarray, target: int, *, epsilon: float) -> tuple[Doubles, float]:
    """Relevance of an example, and what stayed with biases, positions, class tokens and the stabilizer."""
    values, nodes = values_of(model, example), model.architecture.nodes
    entry = relevance_at(model.architecture)
    signals = {name: np.zeros_like(value) for name, value in values.items()}
    signals[nodes[-1].name][target] = values[nodes[-1].name][target]
    kept = 0.0
    for node in reversed(nodes):
        if node.name == entry:
            return signals[entry], kept
        given = signals[node.name]
        parts = _parts(model, node, values, given, epsilon)
        kept += given.sum() - sum(part.sum() for part in parts)
        for name, part in zip(node.inputs, parts, strict=True):
            signals[name] += part
    return signals[INPUT], kept


def values_of(model: Model, example: np.ndarray) -> dict[str, Doubles]:
    """Output of every node, float64."""
    values = {INPUT: example.astype(np.float64)}
    for node in model.architecture.nodes:
        values[node.name] = _output(model, node, [values[name] for name in node.inputs])
    assert np.array_equal(values[node.name], _one(model, example.astype(np.float64)))
    return values


def _parts(model: Model, node: Node, values: dict[str, Doubles], given: Doubles, epsilon: float) -> list[Doubles]:
    """What each input of a node is given."""
    inputs, output = [values[name] for name in node.inputs], values[node.name]
    zeros = [np.zeros_like(one) for one in inputs]
    layer = node.layer
    if isinstance(layer, Mask):
        return zeros
    if isinstance(layer, PASSES_ON):
        return [np.where(inputs[0] == 0, 0.0, given)]
    if isinstance(layer, Multiply):
        return [given / len(inputs) for _ in inputs]
    stabilizer = epsilon if isinstance(layer, (*SHARES_OUT, Attention, LayerNorm, RMSNorm, GroupNorm)) else 0.0
    below = output + stabilizer * np.where(output < 0, -1.0, 1.0)
    share = np.divide(given, below, out=np.zeros_like(given), where=below != 0)
    if isinstance(layer, LayerNorm | RMSNorm):
        return [_of_norm(model, node, inputs[0], share, groups=1, over_places=False)]
    if isinstance(layer, GroupNorm):
        return [_of_norm(model, node, inputs[0], share, groups=layer.groups, over_places=True)]
    summed = {Attention: range(2, 3), MaskedMean: range(1)}.get(type(layer), range(len(inputs)))
    for number in summed:  # the sum's parts, one value of one input at a time
        silent = [np.zeros_like(one) if place in summed else one for place, one in enumerate(inputs)]
        without = _output(model, node, silent)
        for place in np.ndindex(inputs[number].shape):
            alone = [one.copy() for one in silent]
            alone[number][place] = inputs[number][place]
            zeros[number][place] = ((_output(model, node, alone) - without) * share).sum()
    return zeros


def _of_norm(model: Model, node: Node, values: Doubles, share: Doubles, *, groups: int, over_places: bool) -> Doubles:
    """Parts of ``(x - mean) / spread * scale`` with the spread held: x counts by its own share, and in the mean."""
    centred = not isinstance(node.layer, RMSNorm)
    scale = model.weights[f"{node.name}.scale"].astype(np.float64)
    found = np.zeros_like(values)
    size = values.shape[-1] // groups
    places = [slice(None)] if over_places else list(np.ndindex(values.shape[:-1]))
    for place in places:
        for group in range(groups):
            channels = slice(group * size, (group + 1) * size)
            own, signal = values[place][..., channels], (share * scale)[place][..., channels]
            mean = own.mean() if centred else 0.0
            spread = np.sqrt(((own - mean) ** 2).mean() + node.layer.epsilon)
            common = signal.sum() / own.size if centred else 0.0
            found[place][..., channels] = own * (signal - common) / spread
    return found


def _output(model: Model, node: Node, inputs: list[Doubles]) -> Doubles:
    owner = node.layer.of if isinstance(node.layer, Unembedding) else node.name
    weights = {
        name.rpartition(".")[2]: array.astype(np.float64)
        for name, array in model.weights.items()
        if node_of(name) == owner
    }
    return _layer(node.layer, inputs, weights)
