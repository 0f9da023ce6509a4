"""Opening an archive that anybody may have made: refuse what a bundle cannot be, before anything is written.

Only what :mod:`trustml.evidence.bundle` writes is taken: stored entries, one behind the other, with nothing before,
between or after them. So nothing can grow, hide or overlap, and a reader of the archive sees what this one sees.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from trustml.errors import UsageError
from trustml.evidence.bundle import INDEX, LIMITS, BundleLimits, entry_of
from trustml.evidence.names import LONGEST_NAME, clashes, why_not_a_name

_END = struct.Struct("<4sHHHHIIH")
_HEADER = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = 46
_UTF8 = 0x800
_FIXED = (
    "date_time", "create_system", "create_version", "extract_version", "reserved", "external_attr", "volume",
    "internal_attr",
)  # fmt: skip
_FIRST_DAY = 1 << 5 | 1  # of 1980, as an archive writes it
_CHUNK = 1 << 20


class NoBundleError(UsageError):
    """A file that is no evidence bundle, or one that must not be unpacked."""


def unpack(path: Path, folder: Path, *, limits: BundleLimits = LIMITS) -> list[str]:
    """Write the files of a bundle into an empty folder, and nowhere else.

    Parameters
    ----------
    path : Path
    folder : Path
        Exists and is empty.
    limits : BundleLimits

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    NoBundleError
        If the archive is none, or holds links, devices, folders, encrypted or compressed entries, names that leave
        the folder or clash, or more or larger files than `limits`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            _check_end(path, stream.read(4), _tail(stream, size), size, limits)
            with zipfile.ZipFile(stream) as archive:
                entries = archive.infolist()
                _check_entries(path, entries, archive.start_dir, limits)
                for entry in entries:
                    _write(stream, entry, folder)
    except (OSError, zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise NoBundleError(f"{path}: cannot be read as a bundle ({error})") from None
    except (ValueError, UnicodeError) as error:
        raise NoBundleError(f"{path}: is a damaged archive ({error})") from None
    return [entry.filename for entry in entries]


def wrong_checksums(path: Path, folder: Path) -> list[str]:
    """Name the unpacked files whose CRC in the archive is not that of their content."""
    with zipfile.ZipFile(path) as archive:
        return [one.filename for one in archive.infolist() if _crc(folder / one.filename) != one.CRC]


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            found = zlib.crc32(piece, found)
    return found


def _tail(stream: BinaryIO, size: int) -> bytes:
    stream.seek(max(0, size - _END.size - 20))
    return stream.read(_END.size + 20)


def _check_end(path: Path, begin: bytes, tail: bytes, size: int, limits: BundleLimits) -> None:
    """Look at the end record before anything of the size it states is read."""
    if begin != b"PK\x03\x04" or len(tail) < _END.size:
        raise NoBundleError(f"{path}: not an evidence bundle (no ZIP archive); `trustml bundle RUN` makes one")
    mark, disk, other, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\x05\x06" or comment or disk or other or here != count:
        raise NoBundleError(f"{path}: does not end as a bundle does; it was cut off, or something was added")
    if tail[: -_END.size].startswith(b"PK\x06\x07"):
        raise NoBundleError(f"{path}: is a ZIP64 archive, which bundles are not")
    if count > limits.files + 2:
        raise NoBundleError(f"{path}: holds {count} files, more than {limits.files}")
    if length > count * (_CENTRAL + LONGEST_NAME) or start + length + _END.size != size:
        raise NoBundleError(f"{path}: its directory does not fit the archive")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], directory: int, limits: BundleLimits) -> None:
    offset = 0
    for entry in entries:
        name = entry.orig_filename
        if reason := _why_not(entry, limits):
            raise NoBundleError(f"{path}: {name[:80]!r} {reason}; nothing was unpacked")
        if entry.header_offset != offset:
            raise NoBundleError(f"{path}: something lies before {name[:80]!r}, or overlaps it; nothing was unpacked")
        offset += _HEADER.size + len(name.encode()) + entry.file_size
    if offset != directory:
        raise NoBundleError(f"{path}: something lies behind the last file; nothing was unpacked")
    total = sum(entry.file_size for entry in entries)
    if total > limits.total_bytes:
        raise NoBundleError(f"{path}: {total} bytes in all are more than {limits.total_bytes}; nothing was unpacked")
    if clash := clashes(entry.orig_filename for entry in entries):
        raise NoBundleError(f"{path}: {clash}; nothing was unpacked")
    if INDEX not in {entry.filename for entry in entries}:
        raise NoBundleError(f"{path}: not an evidence bundle (no {INDEX}); `trustml bundle RUN` makes one")


def _why_not(entry: zipfile.ZipInfo, limits: BundleLimits) -> str:
    """Tell why an entry must not be unpacked; empty where it may."""
    # zipfile cuts names at NUL and turns a system's own separators; look at what is really written there.
    if entry.filename != entry.orig_filename:
        return "has a name that systems read differently"
    if reason := why_not_a_name(entry.filename):
        return reason
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or entry.external_attr & 0x10:
        return "is a link" if stat.S_ISLNK(mode) else "is a folder, device or pipe"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.flag_bits & ~_UTF8 or not (entry.flag_bits & _UTF8 or entry.filename.isascii()):
        return "has flags that no bundle has"
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "is compressed, which no file of a bundle is"
    if entry.extra or entry.comment:
        return "carries something beside its content"
    plain = entry_of(entry.filename)
    if any(getattr(entry, field) != getattr(plain, field) for field in _FIXED):
        return "is described otherwise than in a bundle"
    if entry.file_size > limits.file_bytes:
        return f"has {entry.file_size} bytes, more than {limits.file_bytes}"
    return ""


def _write(stream: BinaryIO, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Copy one file. Whether its CRC is right is told with its SHA-256, which names the file."""
    name, size = entry.filename.encode(), entry.file_size
    stream.seek(entry.header_offset)
    stated = (*_HEADER.unpack(stream.read(_HEADER.size)), stream.read(len(name)))
    version, flags, crc = entry.extract_version, entry.flag_bits, entry.CRC
    if stated != (b"PK\x03\x04", version, flags, 0, 0, _FIRST_DAY, crc, size, size, len(name), 0, name):
        raise NoBundleError(f"{entry.filename}: is described in two ways by the archive")
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(handle, "wb") as out:
        left = entry.file_size
        while left:
            piece = stream.read(min(_CHUNK, left))
            if not piece:
                raise NoBundleError(f"{entry.filename}: holds less than it states")
            out.write(piece)
            left -= len(piece)
