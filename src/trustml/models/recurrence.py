"""Layers that go through a sequence step by step: their shapes, weights and starting weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError
from trustml.models.layers import GRU, LSTM

GATES = {GRU: 3, LSTM: 4}
"""Parts of what a step computes, side by side in the kernels."""
PARTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
"""Weights, in canonical order."""


def gated_states(layer: GRU | LSTM, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of the states of all steps."""
    kind = type(layer).__name__
    if layer.units < 1:
        raise ScenarioError(f"{field}.units", f"{layer.units} is not positive", fix="use 1 or more")
    if len(shapes[0]) != 2:
        raise ScenarioError(
            field,
            f"{kind} takes sequences (steps, channels) but gets shape {shapes[0]}",
            fix="put it before a Flatten or GlobalAvgPool, or use Dense",
        )
    return shapes[0][0], layer.units


def gated_weights(layer: GRU | LSTM, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of both kernels and both biases."""
    wide = GATES[type(layer)] * layer.units
    return dict(zip(PARTS, ((shape[-1], wide), (layer.units, wide), (wide,), (wide,)), strict=True))


def gated_start(
    layer: GRU | LSTM, shapes: Mapping[str, tuple[int, ...]], law: str, generator: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    """Draw starting weights: PyTorch's, or Keras's, whose recurrent kernel is orthogonal and whose LSTM remembers.

    He et al.'s law is for what comes before a ReLU, and none is here: that, too, starts as in Keras.
    """
    if law == "torch":
        bound = 1.0 / math.sqrt(layer.units)
        return {part: generator.uniform(-bound, bound, shape).astype(np.float32) for part, shape in shapes.items()}
    found = {part: np.zeros(shape, np.float32) for part, shape in shapes.items()}
    bound = math.sqrt(6.0 / sum(shapes["kernel"]))
    found["kernel"] = generator.uniform(-bound, bound, shapes["kernel"]).astype(np.float32)
    found["recurrent_kernel"] = _orthogonal(shapes["recurrent_kernel"], generator)
    if isinstance(layer, LSTM):
        found["bias"][layer.units : 2 * layer.units] = 1.0  # the forget gate's
    return found


def _orthogonal(shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Fewer rows than columns, of length one and orthogonal to each other (Saxe et al., arXiv 1312.6120)."""
    square, triangle = np.linalg.qr(generator.normal(size=shape[::-1]))
    return (square * np.sign(np.diag(triangle))).T.astype(np.float32)
