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
from trustml.models.layers import Architecture, Node
from trustml.models.native import native_of, randomised
from trustml.models.shapes import Shape, node_of, weight_shapes
from trustml.models.token_types import truncated_normal

Weights: TypeAlias = dict[str, npt.NDArray[np.float32]]


def initial_weights(architecture: Architecture, input_shape: Shape, *, generator: np.random.Generator) -> Weights:
    """Draw starting weights by the law that `architecture` names.

    The code of somebody's own network draws those that training starts from; here it is given some that are random.

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
    if native_of(architecture) is not None:
        return randomised(shapes, generator)
    own = {node.name: node for node in architecture.nodes if LAYER_TYPES[type(node.layer)].start}
    weights: Weights = {}
    for name, shape in shapes.items():
        node, _, part = name.rpartition(".")
        if node in own:
            if name not in weights:
                weights |= _own_start(own[node], shapes, architecture.initialisation, generator)
            continue
        kernel = shapes.get(f"{node}.kernel")
        if kernel is None:
            weights[name] = np.full(shape, 1.0 if part == "scale" else 0.0, np.float32)
            continue
        if architecture.initialisation == "truncated_normal":
            drawn = truncated_normal(shape, generator) if part == "kernel" else np.zeros(shape)
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


def _own_start(node: Node, shapes: dict[str, Shape], law: str, generator: np.random.Generator) -> Weights:
    """Starting weights of a layer that has a law of its own, in canonical order."""
    start = LAYER_TYPES[type(node.layer)].start
    assert start
    of_node = {name.rpartition(".")[2]: shape for name, shape in shapes.items() if node_of(name) == node.name}
    found = start(node.layer, of_node, law, generator)
    return {f"{node.name}.{part}": found[part] for part in of_node}


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
