"""Tables from files that anybody may have written: what is not plain is read rightly, or refused by its name."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from trustml.data.json_records import records_of
from trustml.data.npy import DAMAGED, LARGEST_FILE, in_words, largest_now
from trustml.data.separated import Form, Layout, decoded, delimiter, lay_out
from trustml.data.spelling import decimal_mark
from trustml.errors import DataError
from trustml.scenario.ready import data_hint
from trustml.scenario.sources import Csv, Json, Table

if TYPE_CHECKING:
    import pandas as pd

ABSENT = ("", "?")
"""What stands for a missing value in any column of a CSV file."""
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The rows of a training file and of the test file of its own as one table, so that both are encoded alike.

    Attributes
    ----------
    table : DataFrame
    train_rows : int
        Rows of the training file, which come first.
    source : Table
        With what was found out of how numbers are written.
    forms : tuple of Form
        How the columns are written, where they are text.
    warnings : tuple of str
    """

    table: pd.DataFrame
    train_rows: int
    source: Table
    forms: tuple[Form, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Read:
    """A table with unique column names.

    Attributes
    ----------
    table : DataFrame
    warnings : tuple of str
        What was done to it.
    form : Form, optional
        How its columns are written, where it is text.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...] = ()
    form: Form | None = None


def read_tables(source: Table, *, verbatim: str | None = None) -> Tables:
    """Read the training file and, where there is one, the test file; in a `verbatim` column nothing is missing.

    Raises
    ------
    DataError
        As of :func:`read_table`, or if their columns differ.
    """
    import pandas as pd

    paths = [Path(path) for path in (source.path, source.test_path) if path is not None]
    reads = [read_table(path, source, verbatim=verbatim) for path in paths]
    forms = tuple(read.form for read in reads if read.form is not None)
    marks = {form.decimal for form in forms} - {""}
    if marks and isinstance(source, Csv):
        if len(marks) > 1:
            raise DataError(
                f"{source.test_path}: its numbers are written otherwise than those of {source.path}; write one"
            )
        source = msgspec.structs.replace(source, decimal=marks.pop())
        reads = [read_table(path, source, verbatim=verbatim) for path in paths]
    table, *others = (read.table for read in reads)
    for test in others:
        if set(test.columns) != set(table.columns):
            odd = sorted(map(str, set(test.columns) ^ set(table.columns)))
            raise DataError(f"{source.test_path}: column {odd[0]!r} is not in both files; give both the same columns")
    return Tables(
        table=pd.concat([table, *(test[table.columns] for test in others)], ignore_index=True) if others else table,
        train_rows=len(table),
        source=source,
        forms=forms,
        warnings=tuple(warning for read in reads for warning in read.warnings),
    )


def read_table(path: Path, source: Table, *, verbatim: str | None = None) -> Read:
    """Read a table with unique column names, and say what was done to it.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such table, or a row has other fields than the header.
    """
    require_file(path)
    match source:
        case Csv():
            return _read_csv(path, source, verbatim)
        case Json():
            return _read_json(path)
        case _:
            return _read_parquet(path)


def require_file(path: Path) -> None:
    """Refuse what is no file."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file in it")
    if not path.is_file():
        raise DataError(f"{path}: no such file; {data_hint(path) or 'check the path in the scenario'}")


def opened(path: Path) -> IO[bytes]:
    """Open a file, gzipped or plain, whatever its name says."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_csv(path: Path, source: Csv, verbatim: str | None) -> Read:
    try:
        content = _content(path)
        text, encoding = decoded(path, content, source.encoding)
        del content
        layout = lay_out(path, text, encoding, source)
        _refuse_twins(path, layout.names)
        table = _parsed(layout, source, verbatim)
        form = layout.form
    except (*DAMAGED, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({first_line(error)}); fix or replace it") from error
    table = table.set_axis(pd_index(layout.names), axis=1)
    if source.decimal is None:
        form = replace(form, decimal=decimal_mark(table, source, separator=form.separator))
    found = Read(table=table.iloc[:, 1:]) if source.row_names else _without_row_numbers(path, table)
    return replace(found, form=form)


def _content(path: Path) -> bytes:
    """Read to the end, piece by piece: what unpacks to more than it may is given up before it is held."""
    parts, most, size = [], largest_now(), 0
    with opened(path) as stream:
        while part := stream.read(_PIECE):
            size += len(part)
            if size > most:
                raise ValueError(f"holds more than {in_words(most)}, a quarter of the memory that is free")
            parts.append(part)
    return b"".join(parts)


def _read_json(path: Path) -> Read:
    try:
        table = records_of(_content(path))
    except (*DAMAGED, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({first_line(error)}); fix or replace it") from error
    return _named_columns(path, table)


def _parsed(layout: Layout, source: Csv, verbatim: str | None) -> pd.DataFrame:
    import pandas as pd

    absent: Any = {number: list(ABSENT) for number, name in enumerate(layout.names) if name != verbatim}

    return pd.read_csv(
        io.StringIO(layout.text), sep=delimiter(layout.form), quotechar=layout.form.quote or '"',
        quoting=csv.QUOTE_MINIMAL if layout.form.quote else csv.QUOTE_NONE,
        header=0 if layout.form.header else None, names=list(range(len(layout.names))), index_col=False,
        dtype=_text_columns(layout, source),
        na_values=absent, keep_default_na=False, skipinitialspace=True, low_memory=False,
    )  # fmt: skip


def _text_columns(layout: Layout, source: Csv) -> type[str] | dict[int, type[str]]:
    """Columns that pandas must not take for numbers: it makes 1 of 01, 1.0 of 1 beside a gap, and 1.234 of 1.234,5."""
    if source.decimal:
        return str
    named = {*source.label_columns, *source.categories, *source.keys}
    if source.split_by is not None:
        named.add(source.split_by)
    return {number: str for number, name in enumerate(layout.names) if name in named or number in layout.coded}


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        raise DataError(f"{path}: column {twins[0]!r} comes {names.count(twins[0])} times; rename or remove the others")


def _without_row_numbers(path: Path, table: pd.DataFrame) -> Read:
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
    return Read(table=table.iloc[:, kept], warnings=tuple(warnings))


def _read_parquet(path: Path) -> Read:
    import pandas as pd
    import pyarrow as pa

    try:
        with path.open("rb") as stream:
            if problem := why_not_a_table(stream, most_bytes=largest_now()):
                raise ValueError(problem)
            stream.seek(0)
            table = pd.read_parquet(stream)
        require_text(table)
    except (pa.ArrowException, *DAMAGED) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({first_line(error)}); fix or replace it") from error
    warnings = []
    if any(name is not None for name in table.index.names):
        table = table.reset_index()  # an index with a name is a column like any other
    elif not isinstance(table.index, pd.RangeIndex):
        warnings.append("the nameless index of the table was left out")
    found = _named_columns(path, table)
    return replace(found, warnings=(*warnings, *found.warnings))


def _named_columns(path: Path, table: pd.DataFrame) -> Read:
    _refuse_twins(path, [str(name) for name in table.columns])
    return _without_row_numbers(path, table.set_axis(pd_index(map(str, table.columns)), axis=1))


def pd_index(names: Iterable[str]) -> pd.Index:
    """Column names of a table."""
    import pandas as pd

    return pd.Index(list(names), dtype=object)


def require_text(table: pd.DataFrame) -> None:
    """Refuse text that is no UTF-8: Parquet's readers take any bytes for text until they are looked at.

    Raises
    ------
    pyarrow.ArrowException
    """
    import pandas as pd
    import pyarrow as pa

    for number, kind in enumerate(table.dtypes):
        if isinstance(kind, pd.StringDtype | pd.CategoricalDtype):
            pa.array(table.iloc[:, number]).validate(full=True)


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
