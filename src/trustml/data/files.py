"""Arrays and tables from files on disk, which are never trusted: one clear line for each way to be broken."""

from __future__ import annotations

import csv
import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from trustml.data.npy import DAMAGED, LARGEST_FILE, MOST_DEFLATED, ObjectsError, read_member, read_npz_members
from trustml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file (the format of MNIST), gzipped or plain.

    Raises
    ------
    DataError
        If the file is missing, is no IDX file, or holds more or fewer bytes than its header says.
    """
    _require_file(path)
    try:
        with _opened(path) as stream:
            dtype, shape = _idx_header(path, stream)
            expected = math.prod(shape) * dtype.itemsize
            if expected > min(LARGEST_FILE, MOST_DEFLATED * path.stat().st_size):
                raise DataError(f"{path}: the header {shape} promises {expected} bytes, more than the file can hold")
            content = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({_first_line(error)}); fetch the file again") from error
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


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with a header, gzipped or plain.

    Raises
    ------
    DataError
    """
    import pandas as pd

    _require_file(path)
    try:
        with _opened(path) as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"holds more than {LARGEST_FILE >> 30} GiB")
        table = pd.read_csv(io.BytesIO(content), na_values=["?"], skipinitialspace=True)
    except (*DAMAGED, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({_first_line(error)}); fix or replace it") from error
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
        with path.open("rb") as stream:
            if problem := why_not_a_table(stream):
                raise ValueError(problem)
            stream.seek(0)
            return pd.read_parquet(stream)
    except (pa.ArrowException, *DAMAGED) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({_first_line(error)}); fix or replace it") from error


def why_not_a_table(stream: IO[bytes], *, most_rows: int = LARGEST_FILE, most_bytes: int = LARGEST_FILE) -> str:
    """Tell by its footer why a Parquet file would take more memory than it may; empty where it would not.

    A column that repeats one value takes next to nothing in the file, so rows and columns are counted too.
    """
    import pyarrow.parquet as pq

    facts = pq.ParquetFile(stream).metadata
    size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    size = max(size, 8 * facts.num_rows * facts.num_columns)
    if not 0 <= facts.num_rows <= most_rows or size > most_bytes:
        return f"{facts.num_rows} rows of {size} bytes are more than {most_rows} rows or {most_bytes} bytes"
    return ""


def read_npz(path: Path, *, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    """Read named arrays of an ``.npz`` file without unpickling anything.

    Raises
    ------
    DataError
        If the file is broken, an array is missing, or one would need unpickling.
    """
    _require_file(path)
    found: dict[str, npt.NDArray[Any]] = {}
    known: list[str] = []
    try:
        for name, archive, member in read_npz_members(path):
            known.append(name)
            if name in names:
                found[name] = read_member(archive, member)
    except ObjectsError:
        raise DataError(
            f"{path}: array {known[-1]!r} holds Python objects, which trustml never unpickles; store numbers"
        ) from None
    except DAMAGED as error:
        raise DataError(
            f"{path}: is no readable .npz file ({_first_line(error)}); write it with numpy.savez"
        ) from error
    for name in names:
        if name not in found:
            raise DataError(f"{path}: holds no array {name!r}; choose among {', '.join(known)}")
    return [found[name] for name in names]


def _opened(path: Path) -> IO[bytes]:
    """Open a file, gzipped or plain, whatever its name says."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


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
