"""Arrays from files on disk, which are never trusted: one clear line for each way to be broken."""

from __future__ import annotations

import gzip
import math
import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from trustml.data.npy import (
    DAMAGED,
    MOST_DEFLATED,
    ObjectsError,
    largest_now,
    map_member,
    read_member,
    read_npz_members,
    require_check_sum,
)
from trustml.data.tables import first_line, opened, require_file
from trustml.errors import DataError

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file (the format of MNIST), gzipped or plain; a plain one is mapped.

    Raises
    ------
    DataError
        If the file is missing, is no IDX file, or holds more or fewer bytes than its header says.
    """
    require_file(path)
    try:
        with opened(path) as stream:
            dtype, shape = _idx_header(path, stream)
            expected = math.prod(shape) * dtype.itemsize
            if not isinstance(stream, gzip.GzipFile) and 0 < expected == path.stat().st_size - stream.tell():
                return np.memmap(path, dtype, "r", offset=stream.tell(), shape=shape)
            if expected > min(largest_now(), MOST_DEFLATED * path.stat().st_size):
                raise DataError(f"{path}: the header {shape} promises {expected} bytes, more than the file can hold")
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({first_line(error)}); fetch the file again") from error
    if len(content) != expected:
        more = "more" if len(content) > expected else len(content)
        raise DataError(
            f"{path}: the header {shape} promises {expected} bytes but {more} follow; "
            "the file is truncated or damaged, fetch it again"
        )
    return np.frombuffer(content, dtype).reshape(shape)


def _idx_header(path: Path, stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    begin = stream.read(4)
    if len(begin) < 4 or begin[:2] != b"\0\0" or begin[2] not in _IDX_TYPES or begin[3] == 0:
        raise DataError(f"{path}: no IDX header; name a file in MNIST's IDX format")
    axes = begin[3]
    sides = stream.read(4 * axes)
    if len(sides) < 4 * axes:
        raise DataError(f"{path}: truncated inside its header ({4 + len(sides)} bytes); fetch the file again")
    return np.dtype(_IDX_TYPES[begin[2]]), struct.unpack(f">{axes}I", sides)


def read_npz(path: Path, *, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    """Give named arrays of an ``.npz`` file, or of a folder of ``.npy`` files, without unpickling anything.

    What is not compressed is mapped, and may be larger than memory.

    Raises
    ------
    DataError
        If the file is broken, an array is missing, or one would need unpickling.
    """
    if path.is_dir():
        return [_read_npy(path, name) for name in names]
    require_file(path)
    found: dict[str, npt.NDArray[Any]] = {}
    known: list[str] = []
    try:
        with path.open("rb") as stream:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else None
        for name, archive, member in read_npz_members(path, mapped=True):
            known.append(name)
            if name in names and member.compress_type == zipfile.ZIP_STORED and mapping is not None:
                require_check_sum(archive, member)
                found[name] = map_member(mapping, member)
            elif name in names:
                found[name] = read_member(archive, member)
    except ObjectsError:
        raise DataError(
            f"{path}: array {known[-1]!r} holds Python objects, which trustml never unpickles; store numbers"
        ) from None
    except DAMAGED as error:
        raise DataError(f"{path}: is no readable .npz file ({first_line(error)}); write it with numpy.savez") from error
    for name in names:
        if name not in found:
            raise DataError(f"{path}: holds no array {name!r}; choose among {', '.join(known)}")
    return [found[name] for name in names]


def _read_npy(folder: Path, name: str) -> npt.NDArray[Any]:
    """Map one array of a folder."""
    path = folder / f"{name}.npy"
    if Path(name).name != name or not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.npy"))) or "none"
        raise DataError(f"{folder}: holds no {name}.npy; choose among {known}")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); write numbers with numpy.save") from error
