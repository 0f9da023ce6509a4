"""Arrays in ``.npz`` files that anybody may have made: nothing is unpickled, and nothing made that the file has not."""

from __future__ import annotations

import io
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LARGEST_FILE = 8 * 2**30
"""Bytes after decompression beyond which a file is refused (a small file can hide a very large one)."""
_ALWAYS = 2**28
MOST_DEFLATED = 1032
"""Times that deflate can shrink anything."""
DAMAGED = (
    *(OSError, ValueError, EOFError, RuntimeError, NotImplementedError, MemoryError, SyntaxError, TypeError, KeyError),
    *(OverflowError, struct.error, zipfile.BadZipFile, zlib.error, tokenize.TokenError, IndexError, RecursionError),
)
"""What readers of archives and arrays raise on damaged files."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., lengths of the name and of the extra field
_PIECE = 2**24


def largest_now() -> int:
    """Bytes after decompression beyond which a file that is read whole is refused here: a quarter of the free memory.

    What is read is held three times and more while it is made a table or numbers.
    """
    import psutil

    return min(LARGEST_FILE, max(_ALWAYS, psutil.virtual_memory().available // 4))


def in_words(size: int) -> str:
    """Size in GiB, to be read."""
    return f"{size / 2**30:.2g} GiB"


class ObjectsError(ValueError):
    """An array of Python objects, which would have to be unpickled."""


def read_npz_members(path: Path, *, mapped: bool = False) -> Iterator[tuple[str, zipfile.ZipFile, zipfile.ZipInfo]]:
    """Give the arrays of an archive by name, none read yet; refuse an archive that says two things.

    Where those that are not compressed will be `mapped`, they may be larger than memory.

    Raises
    ------
    DAMAGED
    """
    require_plain(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        read = [member.file_size for member in members if member.compress_type or not mapped]
        if sum(read) > (most := largest_now()):
            raise ValueError(f"unpacks to more than {in_words(most)}, a quarter of the memory that is free")
        if len({member.filename for member in members}) < len(members):
            raise ValueError("holds an array twice")
        for member in members:
            yield member.filename.removesuffix(".npy"), archive, member


def require_plain(path: Path) -> None:
    """Refuse a pipe or a device, which may have no end.

    Raises
    ------
    OSError
    """
    if path.exists() and not path.is_file():
        raise OSError("is no plain file")


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Read one array, once its header fits what the archive holds.

    Raises
    ------
    DAMAGED
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is not compressed as numpy does it")
    if member.file_size > MOST_DEFLATED * member.compress_size:
        raise ValueError(f"{member.filename} announces more than it can hold")
    with archive.open(member) as stream:
        read_header(stream, member)
    import numpy as np

    with archive.open(member) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def read_header(stream: IO[bytes], member: zipfile.ZipInfo) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Read the type, shape, order and bytes of an array; refuse what does not fit its member.

    Raises
    ------
    DAMAGED
    """
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in readers:
        raise ValueError(f"{member.filename} is of .npy format {version}")
    shape, fortran, kind = readers[version](stream)
    if kind.hasobject:
        raise ObjectsError(f"{member.filename} holds Python objects, which are never unpickled")
    if not kind.itemsize:
        raise ValueError(f"{member.filename} holds nothing, not numbers")
    size = kind.itemsize
    for side in shape:
        if side < 0:
            raise ValueError(f"{member.filename} has a negative side")
        size *= int(side)
    if stream.tell() + size != member.file_size:
        raise ValueError(f"{member.filename} announces {size} bytes and does not hold them")
    return kind, shape, fortran, size


def map_member(mapping: mmap.mmap, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """View the bytes of one member that is not compressed as the array its header announces.

    Raises
    ------
    DAMAGED
    """
    fixed = mapping[member.header_offset : member.header_offset + _LOCAL_HEADER.size]
    if len(fixed) < _LOCAL_HEADER.size:
        raise ValueError(f"{member.filename} begins behind the end of the file")
    signature, name, extra = _LOCAL_HEADER.unpack(fixed)
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\3\4" or member.flag_bits & 1 or start + member.file_size > len(mapping):
        raise ValueError(f"{member.filename} does not lie where the directory says")
    header = io.BytesIO(mapping[start : start + min(member.file_size, 2**16)])
    kind, shape, fortran, size = read_header(header, member)
    import numpy as np

    if not size:
        return np.zeros(shape, kind)
    array = np.frombuffer(mapping, kind, count=size // kind.itemsize, offset=start + header.tell())
    array = array.reshape(shape, order="F" if fortran else "C")
    return array if array.flags.aligned else array.copy(order="K")


def require_check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member once, some at a time, and refuse it where it is not what was written.

    Raises
    ------
    DAMAGED
    """
    with archive.open(member) as stream:
        while stream.read(_PIECE):
            pass
