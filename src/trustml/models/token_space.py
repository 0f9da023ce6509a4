"""The space of vectors in which a model of token ids is explained, as between ids there is nothing.

An Embedding and a Mask take, instead of ids (steps,), tokens that were looked up already: (steps, width + 1). These are
differences from the vector of token 0, which stands for absence, so that zeros are a text of that token alone; and
last, 1 for a token that is there and -1 for padding, so that no point between an input and zeros has another mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.models.layers import INPUT, Architecture
from trustml.models.token_layers import Embedding, Mask
from trustml.models.weights import Weights


def table_of_tokens(architecture: Architecture) -> str:
    """Name of the Embedding that takes the input; empty if inputs are no token ids."""
    nodes = architecture.nodes
    return next((n.name for n in nodes if isinstance(n.layer, Embedding) and INPUT in n.inputs), "")


def relevance_at(architecture: Architecture) -> str:
    """Name of the value whose relevance is the input's: vectors as they were looked up, or the input itself."""
    return table_of_tokens(architecture) or INPUT


def has_mask(architecture: Architecture) -> bool:
    """Whether a Mask takes the input."""
    return any(isinstance(node.layer, Mask) and INPUT in node.inputs for node in architecture.nodes)


def why_no_vectors(architecture: Architecture) -> str:
    """Say why a model of token ids has no such space; empty if it has, or takes no tokens."""
    if not table_of_tokens(architecture):
        return ""
    takers = [node.layer for node in architecture.nodes if INPUT in node.inputs]
    if sum(isinstance(layer, Embedding) for layer in takers) > 1 or len({m for m in takers if isinstance(m, Mask)}) > 1:
        return "needs inputs that are numbers: tokens have none, and the model looks them up in more than one way"
    other = next((layer for layer in takers if not isinstance(layer, Embedding | Mask)), None)
    if other is not None:
        return f"needs inputs that are numbers: tokens have none, and {type(other).__name__} takes their ids"
    return ""


def look_up(
    architecture: Architecture, weights: Weights, ids: npt.NDArray[np.float32], *, masks: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Look tokens up in the model's table.

    Parameters
    ----------
    architecture : Architecture
    weights : dict of str to float32 array
    ids : float32 array of shape (n, steps)
    masks : float32 array of shape (n, steps)
        Ids that say which tokens are padding: of a baseline, those of the input that it stands beside.

    Returns
    -------
    float32 array of shape (n, steps, width + 1)
    """
    table = weights[f"{table_of_tokens(architecture)}.table"]
    rows = np.clip(ids, 0, len(table) - 1).astype(np.int64)
    padding = next((n.layer.padding for n in architecture.nodes if isinstance(n.layer, Mask)), None)
    there = np.ones(masks.shape, np.float32) if padding is None else np.where(masks != padding, 1.0, -1.0)
    return np.concatenate([table[rows] - table[0], there[..., None]], axis=-1).astype(np.float32)


def looked_up_shape(architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one input in that space."""
    layers = {node.name: node.layer for node in architecture.nodes}
    layer = layers[table_of_tokens(architecture)]
    assert isinstance(layer, Embedding)
    return (*input_shape, layer.width + 1)
