"""How many rows explanations take through a network at once, so that large inputs stay within a budget of memory."""

from __future__ import annotations

import math

from trustml.models.layers import Architecture
from trustml.models.shapes import value_shapes
from trustml.models.token_layers import Attention

MOST_ROWS = 512
"""More rows would leave the processor's cache and gain little."""
_BUDGET = 2**28
"""Bytes of values and of their gradients. Of images of 224 x 224 through a ResNet-18 those are 4 rows, which take no
longer for an example than 8 or 16."""


def rows_of_pass(
    architecture: Architecture, input_shape: tuple[int, ...], *, asked: int = 0, most: int = MOST_ROWS
) -> int:
    """Rows of one pass: as many as asked for, else as many as the budget holds, `most` at most and one at the least.

    Parameters
    ----------
    architecture : Architecture
    input_shape : tuple of int
    asked : int
        0 for as many as the budget holds.
    most : int
    """
    if asked:
        return asked
    shapes = value_shapes(architecture, input_shape)
    values = sum(map(math.prod, shapes.values()))
    for node in architecture.nodes:
        if isinstance(node.layer, Attention):  # scores of all pairs of steps, and shares
            values += 2 * node.layer.heads * shapes[node.inputs[0]][0] * shapes[node.inputs[1]][0]
    return max(1, min(most, _BUDGET // (2 * 4 * values)))
