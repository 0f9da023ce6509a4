"""Arrays in files that are mapped into memory instead of copied: workers then share one copy, read as far as needed.

The files are ``.npz`` like all others, so anybody's numpy reads them. Their members are stored without compression
and begin at multiples of 64 bytes, which is all that mapping needs. What is compressed is read instead.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from trustml.errors import RecordError
from trustml.record.files import replacing

_ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., lengths of the name and of the extra field
_PADDING = struct.Struct("<HH")  # identifier and length of an extra field
_PADDING_ID = 0xD935  # of Android's zipalign, for the same purpose
_MOST_DEFLATED = 1032  # times that deflate can shrink anything
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, private: bool = False) -> None:
    """Write named arrays as ``.npz`` that can be mapped, atomically and one at a time; no object is pickled."""
    with replacing(path, private=private) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.CRC = 0  # known when all is written; the header has the same length
            unpadded = stream.tell() + len(member.FileHeader(zip64=True)) + _PADDING.size
            padding = -unpadded % _ALIGNMENT
            member.extra = _PADDING.pack(_PADDING_ID, padding) + bytes(padding)
            with archive.open(member, "w", force_zip64=True) as content:
                np.lib.format.write_array(content, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)


def map_arrays(path: Path, *, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Map all arrays of an ``.npz`` file, or those of the names given that are there; what is compressed is read.

    Nothing is unpickled, and nothing is made that the file's size does not warrant, whatever its headers say. What is
    mapped has no check sum: compare fingerprints where it matters. Arrays can be written to; the file never changes.

    Raises
    ------
    RecordError
        If the file is missing, damaged, or holds anything but plain arrays.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            found: dict[str, npt.NDArray[Any]] = {}
            seen: set[str] = set()
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.filename in seen:
                    raise ValueError(f"{member.filename} is there twice")
                seen.add(member.filename)
                if names is None or name in names:
                    found[name] = _read(archive, member) if member.compress_type else _mapped(mapping, member)
            return found
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise RecordError(f"{path}: not a readable .npz file ({error})") from error


def _mapped(mapping: mmap.mmap, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """View the bytes of one member as the array its header announces."""
    fixed = mapping[member.header_offset : member.header_offset + _LOCAL_HEADER.size]
    if len(fixed) < _LOCAL_HEADER.size:
        raise ValueError(f"{member.filename} begins behind the end of the file")
    signature, name, extra = _LOCAL_HEADER.unpack(fixed)
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\3\4" or member.flag_bits & 1 or start + member.file_size > len(mapping):
        raise ValueError(f"{member.filename} does not lie where the directory says")
    header = io.BytesIO(mapping[start : start + min(member.file_size, 2**16)])
    kind, shape, fortran, size = _header(header, member)
    if not size:
        return np.zeros(shape, kind)
    array = np.frombuffer(mapping, kind, count=size // kind.itemsize, offset=start + header.tell())
    array = array.reshape(shape, order="F" if fortran else "C")
    return array if array.flags.aligned else array.copy(order="K")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if member.compress_type != zipfile.ZIP_DEFLATED or member.file_size > _MOST_DEFLATED * member.compress_size:
        raise ValueError(f"{member.filename} is not compressed as numpy does it")
    with archive.open(member) as stream:
        _header(stream, member)
    with archive.open(member) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _header(stream: IO[bytes], member: zipfile.ZipInfo) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Read the type, shape, order and bytes of an array; refuse what does not fit its member."""
    version = np.lib.format.read_magic(stream)
    if version not in _NPY_HEADERS:
        raise ValueError(f"{member.filename} is of .npy format {version}")
    shape, fortran, kind = _NPY_HEADERS[version](stream)
    if kind.hasobject or not kind.itemsize:
        raise ValueError(f"{member.filename} holds Python objects or nothing, not numbers")
    size = kind.itemsize
    for side in shape:
        if side < 0:
            raise ValueError(f"{member.filename} has a negative side")
        size *= int(side)
    if stream.tell() + size != member.file_size:
        raise ValueError(f"{member.filename} announces {size} bytes and does not hold them")
    return kind, shape, fortran, size
