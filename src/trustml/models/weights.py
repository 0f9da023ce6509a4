"""Weights in one canonical layout: seeded start, safetensors on disk.

A :data:`Weights` maps the names of :func:`trustml.models.shapes.weight_shapes` to float32 arrays. Backends
convert at their door; nothing outside a backend ever sees another layout.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from trustml.errors import RecordError
from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layers import Architecture, Initialisation
from trustml.models.shapes import Shape, weight_shapes

Weights: TypeAlias = dict[str, npt.NDArray[np.float32]]
_TRUNCATED_DEVIATION = 0.02


def initial_weights(architecture: Architecture, input_shape: Shape, *, generator: np.random.Generator) -> Weights:
    """Draw starting weights by the law that `architecture` names.

    Parameters
    ----------
    architecture : Architecture
    input_shape : tuple of int
        Shape of one example.
    generator : numpy.random.Generator
        The stream for initialisation, and for nothing else.

    Returns
    -------
    dict of str to float32 array
    """
    shapes = weight_shapes(architecture, input_shape)
    own = {node.name for node in architecture.nodes if LAYER_TYPES[type(node.layer)].own_start}
    weights: Weights = {}
    for name, shape in shapes.items():
        node, _, part = name.rpartition(".")
        if node in own:
            weights[name] = _own_start(part, shape, initialisation=architecture.initialisation, generator=generator)
            continue
        kernel = shapes.get(f"{node}.kernel")
        if kernel is None:
            weights[name] = np.full(shape, 1.0 if part == "scale" else 0.0, np.float32)
            continue
        if architecture.initialisation == "truncated_normal":
            drawn = _truncated_normal(shape, generator) if part == "kernel" else np.zeros(shape)
            weights[name] = drawn.astype(np.float32)
            continue
        fan_in = math.prod(kernel[:-1])
        if architecture.initialisation == "kaiming":
            deviation = math.sqrt(2.0 / fan_in) if part == "kernel" else 0.0
            weights[name] = generator.normal(0.0, deviation, shape).astype(np.float32)
            continue
        if architecture.initialisation == "torch":
            bound = 1.0 / math.sqrt(fan_in)
        else:
            fan_out = math.prod(kernel[:-2]) * kernel[-1]
            bound = math.sqrt(6.0 / (fan_in + fan_out)) if part == "kernel" else 0.0
        weights[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _own_start(
    part: str, shape: Shape, *, initialisation: Initialisation, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw weights that no kernel goes with, by the law of their part.

    As PyTorch starts an embedding, from standard normal numbers, and FT-Transformer its tokens, uniform within
    1/sqrt(width); as Keras starts an embedding, uniform within 0.05; otherwise normal with deviation 0.02.
    """
    if initialisation == "glorot_uniform":
        drawn = np.zeros(shape) if part == "bias" else generator.uniform(-0.05, 0.05, shape)
    elif initialisation == "torch":
        bound = 1 / math.sqrt(shape[-1])
        drawn = generator.normal(size=shape) if part == "table" else generator.uniform(-bound, bound, shape)
    else:
        drawn = np.zeros(shape) if part == "bias" else _truncated_normal(shape, generator)
    return drawn.astype(np.float32)


def _truncated_normal(shape: Shape, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw normal numbers of deviation 0.02, those beyond twice as much anew."""
    drawn = generator.normal(size=shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = generator.normal(size=int(beyond.sum()))
    return drawn * _TRUNCATED_DEVIATION


def encode_weights(weights: Weights) -> bytes:
    """Safetensors bytes of `weights`."""
    return save({name: np.ascontiguousarray(array) for name, array in weights.items()})


def read_weights(path: Path, *, expected: dict[str, Shape] | None = None) -> Weights:
    """Read weights and check their names and shapes.

    Raises
    ------
    RecordError
        If the file is no safetensors file, or holds other names or shapes than `expected`.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("is no plain file")
        weights: Weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecordError(f"{path}: not a readable safetensors file ({error})") from error
    if expected is not None:
        found = {name: tuple(array.shape) for name, array in weights.items()}
        if found != expected:
            raise RecordError(f"{path}: weights {found} do not fit the architecture, which has {expected}")
        weights = {name: weights[name] for name in expected}
    return weights
