"""Arrays and tables from files on disk, which are never trusted: one clear line for each way to be broken."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

LARGEST_FILE = 8 * 2**30
"""Bytes after decompression beyond which a file is refused (a small .gz can hide a very large one)."""

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file (the format of MNIST), gzipped or plain.

    Raises
    ------
    DataError
        If the file is missing, is no IDX file, or holds more or fewer bytes than its header says.
    """
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES or content[3] == 0:
        raise DataError(f"{path}: no IDX header; name a file in MNIST's IDX format")
    dtype, axes = np.dtype(_IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{path}: truncated inside its header ({len(content)} bytes); fetch the file again")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise DataError(
            f"{path}: the header {shape} promises {expected} bytes but {len(content) - start} follow; "
            "the file is truncated or damaged, fetch it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with a header, gzipped or plain.

    Raises
    ------
    DataError
    """
    import pandas as pd

    _require_file(path)
    try:
        table = pd.read_csv(path, na_values=["?"], skipinitialspace=True)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({_first_line(error)}); mend or replace it") from error
    numbers = [str(name) for name in table.columns if _is_number(str(name))]
    if numbers:
        raise DataError(
            f"{path}: has no header: its first row holds numbers such as {numbers[0]!r}; add a row of column names"
        )
    return table


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file.

    Raises
    ------
    DataError
    """
    import pandas as pd
    import pyarrow as pa

    _require_file(path)
    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({_first_line(error)}); mend or replace it") from error


def read_npz(path: Path, *, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    """Read named arrays of an ``.npz`` file without unpickling anything.

    Raises
    ------
    DataError
        If the file is broken, an array is missing, or one would need unpickling.
    """
    _require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_FILE:
                raise DataError(f"{path}: unpacks to more than {LARGEST_FILE >> 30} GiB; split it")
        with np.load(path, allow_pickle=False) as content:
            found = []
            for name in names:
                if name not in content.files:
                    raise DataError(f"{path}: holds no array {name!r}; choose among {', '.join(content.files)}")
                found.append(_load_member(content, name, path))
            return found
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: is no readable .npz file ({_first_line(error)}); write it with numpy.savez"
        ) from error


def _load_member(content: np.lib.npyio.NpzFile, name: str, path: Path) -> npt.NDArray[Any]:
    try:
        return content[name]
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path}: array {name!r} holds Python objects, which trustml never unpickles; store numbers"
            ) from None
        raise DataError(f"{path}: array {name!r} is damaged ({_first_line(error)}); write it again") from error


def _read_bytes(path: Path) -> bytes:
    _require_file(path)
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({_first_line(error)}); fetch the file again") from error
    if len(content) > LARGEST_FILE:
        raise DataError(f"{path}: holds more than {LARGEST_FILE >> 30} GiB; split it")
    return content


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path in the scenario")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
