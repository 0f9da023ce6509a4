"""Arrays in files that are mapped into memory instead of copied: workers then share one copy, read as far as needed.

The files are ``.npz`` like all others, so anybody's numpy reads them. Their members are stored without compression
and begin at multiples of 64 bytes, which is all that mapping needs. What is compressed is read instead.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustml.data.npy import DAMAGED, map_member, read_member, require_plain
from trustml.errors import RecordError
from trustml.record.files import replacing

if TYPE_CHECKING:
    import numpy.typing as npt

_ALIGNMENT = 64
_PADDING = struct.Struct("<HH")  # identifier and length of an extra field
_PADDING_ID = 0xD935  # of Android's zipalign, for the same purpose


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, private: bool = False) -> None:
    """Write named arrays as ``.npz`` that can be mapped, atomically and one at a time; no object is pickled."""
    import numpy as np

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
        require_plain(path)
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
                    found[name] = read_member(archive, member) if member.compress_type else map_member(mapping, member)
            return found
    except DAMAGED as error:
        raise RecordError(f"{path}: not a readable .npz file ({error})") from error
