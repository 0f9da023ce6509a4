"""Writing files so that a reader sees the old content or the new, and never half of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from trustml.data.npy import DAMAGED, LARGEST_FILE, read_member, read_npz_members
from trustml.errors import RecordError
from trustml.processes import require_wanted

if TYPE_CHECKING:  # numpy is imported where there are arrays: a list of runs reads none
    import numpy.typing as npt

_MARK = ".trustml-half-written."
_HALF_WRITTEN = re.compile(re.escape(_MARK) + r"[a-z0-9_]{8}")
"""Names as `replacing` makes them; nobody else names a file so."""
_OF_OLD = re.compile(r"\.[^/]+\.(?:json|jsonl|npz|safetensors)\.(?=[a-z_]*\d)[a-z0-9_]{8}")
"""Names as it made them once. Users name files of theirs so, too, but none that nobody else may read below these."""
_OURS = ("jobs", "private")
_BEFORE = 0o600  # mode of a file until it takes its place


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write beside `path`, sync, rename over it, sync the folder."""
    with replacing(path, private=private) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Give a stream whose content takes the place of `path` once all was written, and is gone if that failed.

    A worker whose job was given up writes none; see :func:`trustml.processes.require_wanted`.
    """
    require_wanted()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_MARK)
    try:
        with os.fdopen(handle, "wb") as stream:
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.chmod(temporary, 0o600 if private else 0o644)
            require_wanted()
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_half_written(folder: Path) -> None:
    """Remove files below `folder` whose writer was killed: nobody holds them, and they took nothing's place."""
    for place, _, names in os.walk(folder):
        ours = any(part in _OURS for part in Path(place).relative_to(folder).parts[:1])
        for name in names:
            old = ours and _OF_OLD.fullmatch(name) is not None
            if not old and not _HALF_WRITTEN.fullmatch(name):
                continue
            with contextlib.suppress(OSError):
                handle = os.open(os.path.join(place, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with open(handle, "rb") as stream:
                    if old and stat.S_IMODE(os.fstat(handle).st_mode) != _BEFORE:
                        continue
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(os.path.join(place, name))


def encode_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Encode named arrays as ``.npz`` without pickled objects."""
    import numpy as np

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


class MissingArrayError(RecordError, KeyError):
    """A file that lacks an array; whoever knows what to do about it catches it as a KeyError."""

    __str__ = Exception.__str__


class _Arrays(dict[str, "npt.NDArray[Any]"]):
    """Arrays of a file; one that is not there is told like any other damage."""

    def __init__(self, path: Path, arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
        super().__init__(arrays)
        self._path = path

    def __missing__(self, name: str) -> npt.NDArray[Any]:
        raise MissingArrayError(f"{self._path}: holds no array {name!r}; it is damaged, or another version wrote it")


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file without unpickling.

    Raises
    ------
    RecordError
        Also where an array is asked for that is not there.
    """
    try:
        return _Arrays(path, ((name, read_member(archive, member)) for name, archive, member in read_npz_members(path)))
    except DAMAGED as error:
        raise RecordError(f"{path}: not a readable .npz file ({error})") from error


def arrays_digest(arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> str:
    """SHA-256 of named arrays: of a line for each, in the order of names, with its name, type, shape and SHA-256."""
    import numpy as np

    lines = []
    for name, array in arrays:
        values = np.asarray(array, order="C")
        kind = values.dtype.name  # the same on machines of either byte order, unlike the bytes, which are made so
        content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        lines.append(msgspec.json.encode([name, kind, values.shape, hashlib.sha256(content).hexdigest()]))
    return hashlib.sha256(b"".join(line + b"\n" for line in sorted(lines))).hexdigest()


UNREADABLE = (OSError, ValueError, RecursionError, msgspec.MsgspecError)
"""What reading and decoding a JSON file raises where it is missing, damaged, no file, or nested without end."""


def plain_bytes(path: Path) -> bytes:
    """Content of a file of a run: links, pipes and devices, which may have no end, are not read.

    Raises
    ------
    OSError
        FileNotFoundError where there is nothing.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("is no plain file")
        if facts.st_size > LARGEST_FILE:
            raise OSError(f"has more than {LARGEST_FILE >> 30} GiB")
        return stream.read()


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def inside(root: Path, name: str) -> Path:
    """Join `name` to `root`, and refuse to leave it.

    Raises
    ------
    RecordError
        If the path is absolute, or points outside by ``..`` or a link.
    """
    path = (root / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        raise RecordError(f"{name!r} leaves the run directory {root}")
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
