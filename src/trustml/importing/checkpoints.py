"""Folders of Hugging Face and state dicts of torchvision, in safetensors: networks as published, with these weights.

Nothing of the folder is run, nothing is unpickled, and no file is read but the configuration and the weights. Every
tensor of the file is used, or the import is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from trustml.errors import UsageError
from trustml.importing.calls import Writer
from trustml.importing.program import Array, Source
from trustml.importing.published import NETWORKS, residual
from trustml.record.files import UNREADABLE, inside, plain_bytes

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_UNUSED = ("position_ids", "num_batches_tracked", "attn.bias", "attn.masked_bias")
"""Ends of the names of tensors that nothing is computed with."""
STEPS = 128
"""Tokens of a text where nothing else is asked for; fewer where the model has fewer positions."""
Config: TypeAlias = Mapping[str, Any]


def checkpoint_source(
    path: Path, *, input_shape: tuple[int, ...] | None, original: Callable[[Path, Config], Any] | None = None
) -> Source:
    """Read a folder or file of weights as a program.

    Parameters
    ----------
    path : Path
        A folder of Hugging Face's with ``config.json`` and ``model.safetensors``, or a file of torchvision's ResNet.
    input_shape : tuple of int, optional
        Of one input: (steps,) of texts, (channels, rows, columns) of images. By default as the configuration says.
    original : callable, optional
        From the folder and its configuration to a function of inputs, where the library that wrote it is here.

    Raises
    ------
    UsageError
        If it holds none of the networks that are known, or tensors that none of them has.
    """
    if not path.is_dir():
        tensors = _tensors(path)
        shape = input_shape or (3, 224, 224)
        writer = Writer(tensors, input_shape=shape)
        output = residual(writer, {})
        return _source(path, writer, output, f"torchvision state dict ({path.name})", None)
    config = _config(path)
    kind = str(config.get("model_type"))
    if kind not in NETWORKS:
        raise UsageError(f"{path}: is a {kind[:40]!r} of Hugging Face; known are {', '.join(NETWORKS)}")
    network = NETWORKS[kind]
    writer = Writer(_sharded(path), input_shape=input_shape or network.input_shape(config, STEPS))
    try:
        output = network.calls(writer, config)
    except (KeyError, TypeError, ValueError) as error:
        missing = f"{type(error).__name__}: {error}"[:160]
        raise UsageError(f"{path}: {CONFIG} or weights are not those of a {kind} ({missing}); name another") from None
    asked = None if original is None else original(path, config)
    return _source(path, writer, output, f"Hugging Face {kind} ({path.name})", asked)


def _source(path: Path, writer: Writer, output: str, kind: str, original: Any) -> Source:
    left = [name for name in writer.left() if not name.endswith(_UNUSED)]
    if left:
        told = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        raise UsageError(f"{path}: holds {told}, which the network that it is taken for does not have; name another")
    return Source(
        program=writer.program(output),
        kind=kind,
        original=original,
        why_not="" if original else "every tensor of the file has its place, but what wrote it is not installed here",
        example=writer.example(),
    )


def _config(path: Path) -> Config:
    try:
        found = msgspec.json.decode(plain_bytes(path / CONFIG))
    except UNREADABLE as error:
        raise UsageError(f"{path}: has no readable {CONFIG} ({type(error).__name__}); name a model's folder") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: its {CONFIG} describes no model; name a model's folder")
    return found


def _sharded(path: Path) -> dict[str, Array]:
    if (path / WEIGHTS).is_file():
        return _tensors(path / WEIGHTS)
    if (path / INDEX).is_file():
        try:
            names = set(msgspec.json.decode(plain_bytes(path / INDEX))["weight_map"].values())
        except (*UNREADABLE, KeyError, TypeError, AttributeError):
            raise UsageError(f"{path / INDEX}: is no index of weights; name another folder") from None
        return {name: one for part in sorted(names) for name, one in _tensors(inside(path, str(part))).items()}
    pickled = next((name for name in _PICKLES if (path / name).exists()), "")
    if pickled:
        raise UsageError(
            f"{path}: holds {pickled}, a Python pickle, which is never loaded; save it with safe_serialization=True"
        )
    raise UsageError(f"{path}: holds no {WEIGHTS}; save the model with safe_serialization=True")


def _tensors(path: Path) -> dict[str, Array]:
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: is no .safetensors file; save weights by safetensors.torch.save_file")
    try:
        found = load_file(path)
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(f"{path}: is no readable safetensors file of float32 ({first}); save it anew") from None
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in found.items()}
