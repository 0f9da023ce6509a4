"""Methods for attention: rollout, and relevance that is kept on its way through attention and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trustml.attribution.rollout import rollout
from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import Piece, piecewise
from trustml.backends.torch.network import from_input, to_input
from trustml.backends.torch.own_layers import Rearranged
from trustml.data.dataset import Floats
from trustml.models.graph import downstream
from trustml.models.layers import INPUT, GroupNorm, LayerNorm, Multiply, Node, RMSNorm
from trustml.models.relevance import PASSES_ON, SHARES_OUT
from trustml.models.token_layers import Attention
from trustml.models.token_space import relevance_at
from trustml.scenario import methods as m


def attention_rollout(module: nn.Module, request: ExplainRequest, method: m.AttentionRollout) -> Attributions:
    """Shares of tokens by the model's attention; shape (n, *x)."""
    nodes, layers = request.model.architecture.nodes, list(module.children())

    def outputs(inputs: Floats, names: Sequence[str]) -> dict[str, Floats]:
        with torch.no_grad():
            values = _walk(nodes, layers, to_input(inputs))
        return {name: from_input(values[name]) for name in names}

    return {"native": rollout(request.model.architecture, request.inputs, outputs, rows=request.rows)}


def transformer_lrp(module: nn.Module, request: ExplainRequest, method: m.TransformerLRP) -> Attributions:
    """Relevance of each value; shape (n, *x)."""
    architecture = request.model.architecture
    layers = dict(zip((node.name for node in architecture.nodes), module.children(), strict=True))
    entry = relevance_at(architecture)

    def relevance(piece: Piece) -> Tensor:
        with torch.no_grad():
            values = _walk(architecture.nodes, list(layers.values()), piece.inputs)
        start = values[entry].detach().clone().requires_grad_()
        with torch.enable_grad():
            values[entry] = start
            for node in downstream(architecture, entry):
                given = [values[name] for name in node.inputs]
                values[node.name] = _with_rule(node, layers[node.name], given, method.epsilon)
            chosen = values[architecture.nodes[-1].name].gather(1, piece.targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, start)
        return start.detach() * gradient

    found = piecewise(request, relevance)
    missing = request.inputs.shape[-1] - found.shape[-1]  # of tokens that were looked up: what says which are padding
    return {"native": np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, missing)])}


def _walk(nodes: Sequence[Node], layers: Sequence[nn.Module], inputs: Tensor) -> dict[str, Tensor]:
    values = {INPUT: inputs}
    for node, layer in zip(nodes, layers, strict=True):
        values[node.name] = layer(*(values[name] for name in node.inputs))
    return values


def _with_rule(node: Node, module: nn.Module, inputs: Sequence[Tensor], epsilon: float) -> Tensor:
    """Output of a node, through which a gradient goes back as its rule says."""
    layer = node.layer
    if isinstance(layer, Attention):
        queries, keys, *others = inputs
        return _shared_out(module(queries.detach(), keys.detach(), *others), epsilon)
    if isinstance(layer, LayerNorm | GroupNorm | RMSNorm):
        return _shared_out(_norm(layer, module, inputs[0]), epsilon)
    if isinstance(layer, Multiply):
        return _product(inputs)
    output: Tensor = module(*inputs)
    if isinstance(layer, PASSES_ON):
        own = inputs[0].detach()
        ratio = torch.where(own != 0, output.detach() / torch.where(own != 0, own, 1.0), 0.0)
        return inputs[0] * ratio
    return _shared_out(output, epsilon) if isinstance(layer, SHARES_OUT) else output


def _shared_out(output: Tensor, epsilon: float) -> Tensor:
    """The epsilon rule: of a sum near zero, the stabilizer keeps a part. The value stays as it is."""
    own = output.detach()
    return own + (own / (own + epsilon * torch.where(own < 0, -1.0, 1.0))) * (output - own)


def _norm(layer: LayerNorm | GroupNorm | RMSNorm, module: nn.Module, inputs: Tensor) -> Tensor:
    """A norm whose spread is held as it is."""
    inner = module.inner if isinstance(module, Rearranged) else module
    values = inputs.movedim(1, -1) if inputs.ndim == 4 else inputs
    groups = layer.groups if isinstance(layer, GroupNorm) else 1
    apart = values.unflatten(-1, (groups, -1))
    axes = (*range(1, values.ndim - 1), values.ndim) if isinstance(layer, GroupNorm) else (values.ndim,)
    spread = apart if isinstance(layer, RMSNorm) else apart - apart.mean(dim=axes, keepdim=True)
    size = (spread.square().mean(dim=axes, keepdim=True) + layer.epsilon).rsqrt().detach()
    normal = (spread * size).flatten(-2) * inner.weight
    if not isinstance(layer, RMSNorm):
        normal = normal + inner.bias
    return normal.movedim(-1, 1) if inputs.ndim == 4 else normal


def _product(inputs: Sequence[Tensor]) -> Tensor:
    """A product each of whose factors gets an equal part."""
    parts = []
    for number, own in enumerate(inputs):
        others = [one.detach() for place, one in enumerate(inputs) if place != number]
        parts.append(own * math.prod(others[1:], start=others[0]))
    return sum(parts[1:], start=parts[0]) / len(parts)
