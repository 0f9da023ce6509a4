"""Tables from files that anybody may have written: what is not plain is read rightly, or refused by its name."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from trustml.data.npy import DAMAGED, LARGEST_FILE
from trustml.errors import DataError
from trustml.scenario.sources import Csv, Parquet

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
ABSENT = ("", "?")
"""What stands for a missing value in any column of a CSV file."""
_MOST_TOLD = 3
_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an Excel sheet",
}


def read_table(path: Path, source: Csv | Parquet) -> tuple[pd.DataFrame, list[str]]:
    """Read a table with unique column names, and say what was done to it.

    Returns
    -------
    table : DataFrame
    warnings : list of str

    Raises
    ------
    DataError
        If the file is missing, damaged or no such table, or a row has other fields than the header.
    """
    require_file(path)
    if isinstance(source, Csv):
        return _read_csv(path, source)
    return _read_parquet(path)


def require_file(path: Path) -> None:
    """Refuse what is no file."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file in it")
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path in the scenario")


def opened(path: Path) -> IO[bytes]:
    """Open a file, gzipped or plain, whatever its name says."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_csv(path: Path, source: Csv) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    try:
        with opened(path) as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"holds more than {LARGEST_FILE >> 30} GiB")
        text = _decoded(path, content)
        del content
        text, separator = _separated(text, source)
        header, coded = _header(path, text, separator, source)
        table = pd.read_csv(
            io.StringIO(text), sep=separator, header=0, names=list(range(len(header))), index_col=False,
            dtype=_text_columns(header, coded, source),
            na_values=list(ABSENT), keep_default_na=False, skipinitialspace=True, low_memory=False,
        )  # fmt: skip
    except (*DAMAGED, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({first_line(error)}); fix or replace it") from error
    return _without_row_numbers(path, table.set_axis(pd.Index(header, dtype=object), axis=1))


def _text_columns(header: list[str], coded: set[int], source: Csv) -> type[str] | dict[int, type[str]]:
    """Columns that pandas must not take for numbers: it makes 1 of 01, 1.0 of 1 beside a gap, and 1.234 of 1.234,5."""
    if source.decimal:
        return str
    named = {*source.label_columns, *source.categories, *source.keys}
    return {number: str for number, name in enumerate(header) if name in named or number in coded}


def _decoded(path: Path, content: bytes) -> str:
    """Text of a file: UTF-8, UTF-16 with its mark, else Windows-1252, which holds Latin-1's letters."""
    kind = next((kind for begin, kind in _PACKED.items() if content.startswith(begin)), "")
    if content[257:262] == b"ustar":
        kind = "a tar archive"
    if kind:
        raise DataError(f"{path}: is {kind}; unpack it, and name the table (a .gz is read as it is)")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise ValueError("holds zero bytes: it is no text") from None
        return content.decode("cp1252")


def _separated(text: str, source: Csv) -> tuple[str, str]:
    """Text of the table, and its separator: what Excel writes into the first line, or what the header has most of."""
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        return rest, source.separator or first.strip()[-1]
    return text, source.separator or _separator(text)


def _separator(text: str) -> str:
    """Choose the separator of the header, outside of quotes; a comma where there is none."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = "".join(part for index, part in enumerate(line.split('"')) if index % 2 == 0)
    return max(SEPARATORS, key=unquoted.count)


def _header(path: Path, text: str, separator: str, source: Csv) -> tuple[list[str], set[int]]:
    """Column names, once it is known that every row has as many fields, and which columns hold codes such as 01.

    pandas takes a row that is one longer for one with an index, and shifts all columns.
    """
    coded: set[int] = set()
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    header: list[str] = []
    odd: list[tuple[int, int]] = []
    for row in rows:
        if not row or (len(row) == 1 and len(header) > 1 and not row[0].strip()):
            continue
        if not header:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            odd.append((rows.line_num, len(row)))
        coded.update(number for number, cell in enumerate(row) if cell[:1] == "0" and len(cell) > 1 and cell.isdigit())
    if not header:
        raise DataError(f"{path}: is empty; give a header and rows")
    if odd and header[0].startswith("#"):
        raise DataError(f"{path}: begins with a comment ({header[0][:20]!r}); remove what stands before the header")
    if odd:
        told = ", ".join(f"line {line} has {count}" for line, count in odd[:_MOST_TOLD])
        more = f" and {len(odd) - _MOST_TOLD} more rows" if len(odd) > _MOST_TOLD else ""
        raise DataError(
            f"{path}: the header has {len(header)} fields, but {told}{more}; quote values that hold {separator!r}, or "
            "fix those rows"
        )
    if source.label_columns[0] not in header and (numbers := [name for name in header if _is_number(name)]):
        raise DataError(
            f"{path}: has no header: its first row holds numbers such as {numbers[0]!r}; add a row of column names"
        )
    _refuse_twins(path, header)
    return header, coded


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        raise DataError(f"{path}: column {twins[0]!r} comes {names.count(twins[0])} times; rename or remove the others")


def _without_row_numbers(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out a nameless column that counts the rows, which pandas writes; refuse any other without a name."""
    import numpy as np

    warnings, kept = [], []
    for number, name in enumerate(map(str, table.columns)):
        if name and not name.startswith("Unnamed: "):
            kept.append(number)
            continue
        values = table.iloc[:, number]
        numbers = values.dtype.kind in "iu" and len(values) > 0
        if numbers and np.array_equal(values.to_numpy() - values.iloc[0], np.arange(len(values))):
            warnings.append(f"column {number + 1} has no name and counts the rows: it was left out")
        elif name:
            kept.append(number)
        elif values.isna().all():
            warnings.append(f"column {number + 1} has no name and holds nothing: it was left out")
        else:
            raise DataError(f"{path}: column {number + 1} has no name; name it, and drop it if it is no feature")
    return table.iloc[:, kept], warnings


def _read_parquet(path: Path) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd
    import pyarrow as pa

    try:
        with path.open("rb") as stream:
            if problem := why_not_a_table(stream):
                raise ValueError(problem)
            stream.seek(0)
            table = pd.read_parquet(stream)
    except (pa.ArrowException, *DAMAGED) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}); fix or replace it") from error
    warnings = []
    if any(name is not None for name in table.index.names):
        table = table.reset_index()  # an index with a name is a column like any other
    elif not isinstance(table.index, pd.RangeIndex):
        warnings.append("the nameless index of the table was left out")
    _refuse_twins(path, [str(name) for name in table.columns])
    found, more = _without_row_numbers(path, table.set_axis(pd.Index(map(str, table.columns), dtype=object), axis=1))
    return found, warnings + more


def why_not_a_table(stream: IO[bytes], *, most_rows: int = LARGEST_FILE, most_bytes: int = LARGEST_FILE) -> str:
    """Tell by its footer why a Parquet file would take more memory than it may; empty where it would not.

    A column that repeats one value takes next to nothing in the file, so rows and columns are counted too.
    """
    import pyarrow.parquet as pq

    facts: Any = pq.ParquetFile(stream).metadata
    size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    size = max(size, 8 * facts.num_rows * facts.num_columns)
    if not 0 <= facts.num_rows <= most_rows or size > most_bytes:
        return f"{facts.num_rows} rows of {size} bytes are more than {most_rows} rows or {most_bytes} bytes"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
