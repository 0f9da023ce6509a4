"""Files of networks: safetensors, with the architecture in its header as JSON.

Reading one runs nothing and unpickles nothing. The header is a dictionary of texts by the format's own definition.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import save

from trustml.errors import RecordError, UsageError
from trustml.models.layers import Architecture
from trustml.models.native import native_of
from trustml.models.shapes import weight_shapes
from trustml.models.weights import Weights, read_weights

FORMAT = "trustml.network.1"
ENDING = ".safetensors"
_LARGEST_HEADER = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """What stands in the header of a file.

    Attributes
    ----------
    architecture : Architecture
    input_shape : tuple of int
    kind : str
        What it was imported from.
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    kind: str


def encode_network(architecture: Architecture, weights: Weights, input_shape: tuple[int, ...], *, kind: str) -> bytes:
    """Content of a file of an architecture and its weights."""
    header = {
        "format": FORMAT,
        "architecture": msgspec.json.encode(architecture).decode(),
        "input_shape": json.dumps(input_shape),
        "kind": kind,
    }
    arrays = {name: np.ascontiguousarray(weights[name]) for name in weight_shapes(architecture, input_shape)}
    return save(arrays, metadata=header)


def read_network_header(path: Path) -> NetworkFile:
    """Read the architecture of a file, without its weights.

    Raises
    ------
    UsageError
        If it is no such file.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError("its header is too large")
            header = json.loads(stream.read(length)).get("__metadata__", {})
        if header.get("format") != FORMAT:
            raise ValueError("it holds no architecture")
        architecture = msgspec.json.decode(header["architecture"].encode(), type=Architecture)
        input_shape = msgspec.json.decode(header["input_shape"].encode(), type=tuple[int, ...])
        kind = str(header.get("kind", ""))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; write one by `trustml import MODEL -o {path}`") from None
    except (OSError, ValueError, KeyError, AttributeError, struct.error, RecursionError, msgspec.MsgspecError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UsageError(f"{path}: is no file of `trustml import` ({first}); write one by it") from None
    return NetworkFile(architecture=architecture, input_shape=input_shape, kind=kind)


def starting_weights(path: Path, architecture: Architecture, input_shape: tuple[int, ...]) -> Weights:
    """Read the weights of a file for an architecture that need not be the file's own, but has all of its weights.

    Raises
    ------
    UsageError
        Naming the first weight that differs, or holds what is no finite number.
    """
    if native_of(architecture) is None:
        read_network_header(path)
    try:
        weights = read_weights(path)
    except RecordError as error:
        raise UsageError(f"start: {error}; name a file of safetensors with the model's weights") from None
    return fitting_weights(path.name, _finite(path, weights), architecture, input_shape)


def fitting_weights(title: str, weights: Weights, architecture: Architecture, input_shape: tuple[int, ...]) -> Weights:
    """Give the weights in the order of an architecture that has all of them and no others.

    Raises
    ------
    UsageError
        Naming the first weight that differs.
    """
    expected = weight_shapes(architecture, input_shape)
    for name in dict.fromkeys([*expected, *weights]):
        ours, theirs = expected.get(name), weights[name].shape if name in weights else None
        if ours != theirs:
            raise UsageError(
                f"start: {title} has {name} of shape {theirs}, and the model of shape {ours} (None: it has none); "
                'use its model, or start = ""'
            )
    return {name: weights[name] for name in expected}


def read_network(path: Path) -> tuple[NetworkFile, Weights]:
    """Read a file, and check its weights against its architecture.

    Raises
    ------
    UsageError
        If it is no such file, or a weight holds what is no finite number.
    RecordError
        If its weights do not fit.
    """
    found = read_network_header(path)
    return found, _finite(path, read_weights(path, expected=weight_shapes(found.architecture, found.input_shape)))


def _finite(path: Path, weights: Weights) -> Weights:
    """Refuse weights from which no training can start: all that follows from them is no number."""
    for name, array in weights.items():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise UsageError(
                f"{path}: {bad} of {array.size} values of {name} are not finite; import a model whose weights are"
            )
    return weights
