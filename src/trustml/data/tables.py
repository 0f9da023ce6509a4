"""Tables from files that anybody may have written: what is not plain is read rightly, or refused by its name."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import msgspec

from trustml.data.arrow_folders import read_arrow_folder
from trustml.data.encoding import refuse_all
from trustml.data.json_records import records_of
from trustml.data.npy import DAMAGED, in_words, largest_now
from trustml.data.parquet import require_text, why_not_a_table
from trustml.data.separated import Form, Layout, decoded, delimiter, lay_out
from trustml.data.spelling import FaultError, decimal_mark
from trustml.errors import DataError
from trustml.scenario.ready import data_hint
from trustml.scenario.sources import Csv, Files, Json, Parquet, Series, Table, Text

if TYPE_CHECKING:
    import pandas as pd

ABSENT = ("", "?")
"""What stands for a missing value in any column of a CSV file."""
_PIECE = 1 << 20
_NONE: frozenset[str] = frozenset()
_WHOLE = re.compile(r"\s*(0|[1-9]\d{0,17})\s*")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The rows of a training file and of the test file of its own as one table, so that both are encoded alike.

    Attributes
    ----------
    table : DataFrame
    train_rows : int
        Rows of the training file, which come first.
    source : Table
    forms : tuple of Form
        How the columns are written, where they are text.
    marks : dict of str to str
        Decimal marks of the columns that show one.
    warnings : tuple of str
    """

    table: pd.DataFrame
    train_rows: int
    source: Table
    forms: tuple[Form, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
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
    coded : frozenset of str
        Columns that hold codes such as 01.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...] = ()
    form: Form | None = None
    coded: frozenset[str] = frozenset()


def read_tables(source: Table, *, verbatim: str | None = None) -> Tables:
    """Read the training file and, where there is one, the test file; in a `verbatim` column nothing is missing.

    Raises
    ------
    DataError
        As of :func:`read_table`, or if their columns differ.
    """
    import pandas as pd

    refuse_same_path(source)
    paths = [Path(path) for path in (source.path, source.test_path) if path is not None]
    reads = [read_table(path, source, verbatim=verbatim) for path in paths]
    _require_same_columns(reads, source)
    marks: dict[str, str] = {}
    if isinstance(source, Csv):
        if odd := _text_somewhere(reads):
            reads = [read_table(path, source, verbatim=verbatim, text=odd) for path in paths]
        if source.decimal is None and "," in (marks := decimal_marks(reads, source)).values():
            every = frozenset(map(str, reads[0].table))
            reads = [read_table(path, source, verbatim=verbatim, text=every) for path in paths]
            marks = decimal_marks(reads, source, comma_elsewhere=True)
    elif odd := _text_somewhere(reads) - set(source.drop):
        raise DataError(f"{source.test_path}: column {min(odd)!r} is text in one file and no text in the other")
    table, *others = (read.table for read in reads)
    return Tables(
        table=pd.concat([table, *(test[table.columns] for test in others)], ignore_index=True) if others else table,
        train_rows=len(table),
        source=source,
        forms=tuple(read.form for read in reads if read.form is not None),
        marks=marks,
        warnings=tuple(warning for read in reads for warning in read.warnings),
    )


def _require_same_columns(reads: Sequence[Read], source: Table) -> None:
    table, *others = (read.table for read in reads)
    for test in others:
        if set(test.columns) != set(table.columns):
            odd = sorted(map(str, set(test.columns) ^ set(table.columns)))
            raise DataError(f"{source.test_path}: column {odd[0]!r} is not in both files; give both the same columns")


def _text_somewhere(reads: Sequence[Read]) -> frozenset[str]:
    """Columns that are text in one of several files and numbers in another: 1.10 would be 1.1 in one of them."""
    found = set()
    for name in map(str, reads[0].table) if len(reads) > 1 else ():
        columns = [read.table[name] for read in reads]
        known = {column.dtype.kind in "biuf" for column in columns if not column.isna().all()}
        texts = [any(isinstance(value, str) for value in column) for column in columns if column.dtype.kind == "O"]
        if (len(known) > 1 and any(texts)) or any(name in read.coded for read in reads):
            found.add(name)
    return frozenset(found)


def decimal_marks(reads: Sequence[Read], source: Csv, *, comma_elsewhere: bool = False) -> dict[str, str]:
    """Give the decimal mark of each feature that shows one.

    Raises
    ------
    DataError
        If one may be read in two ways; all such columns at once.
    """
    named = {*source.label_columns, *source.categories, *source.keys, *source.drop, *source.hashing}
    marks, faults = {}, []
    for name in map(str, reads[0].table):
        columns = [read.table[name] for read in reads]
        if name in named or all(column.dtype.kind in "biuf" for column in columns):
            continue
        try:
            mark = mark_of(columns, [read.form for read in reads], comma_elsewhere=comma_elsewhere)
        except FaultError as fault:
            faults.append(f"column {name!r} {fault}")
            continue
        if mark:
            marks[name] = mark
    refuse_all(source.path, faults)
    return marks


def mark_of(columns: Sequence[pd.Series], forms: Sequence[Form | None], *, comma_elsewhere: bool = False) -> str:
    """Give the decimal mark of a column in one or two files."""
    parts = [[value.strip() for value in column.dropna().astype(str)] for column in columns]
    return decimal_mark(parts, {form.separator for form in forms if form}, comma_elsewhere=comma_elsewhere)


def read_table(path: Path, source: Table, *, verbatim: str | None = None, text: frozenset[str] = _NONE) -> Read:
    """Read a table with unique column names, `text` ones as they are written, and say what was done to it.

    Raises
    ------
    DataError
        If the file is missing, damaged or no such table, or a row has other fields than the header.
    """
    if not (isinstance(source, Parquet) and path.is_dir()):
        require_file(path)
    match source:
        case Csv():
            return _read_csv(path, source, verbatim, text)
        case Json():
            return _read_json(path)
        case _:
            return _read_parquet(path)


def refuse_same_path(source: Table | Files | Text | Series) -> None:
    """Refuse a test set that is the training set.

    Raises
    ------
    DataError
    """
    if source.test_path is not None and Path(source.test_path).resolve() == Path(source.path).resolve():
        raise DataError(
            f"data.test_path: {source.test_path} is the training data itself; name other data, or leave it out, and "
            "some are held out"
        )


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


def _read_csv(path: Path, source: Csv, verbatim: str | None, as_text: frozenset[str]) -> Read:
    try:
        content = content_of(path)
        text, encoding = decoded(path, content, source.encoding)
        del content
        layout = lay_out(path, text, encoding, source)
        _refuse_twins(path, layout.names)
        table = _parsed(layout, source, verbatim, as_text)
    except (*DAMAGED, csv.Error) as error:
        fix = (
            "set data.quote to '' if quotes are text, or fix it"
            if isinstance(error, csv.Error)
            else "fix or replace it"
        )
        raise DataError(f"{path}: cannot be read as CSV ({first_line(error)}); {fix}") from error
    table = table.set_axis(pd_index(layout.names), axis=1)
    found = Read(table=table.iloc[:, 1:]) if source.row_names else _without_row_numbers(path, table)
    return replace(found, form=layout.form, coded=frozenset(layout.names[number] for number in layout.coded))


def content_of(path: Path) -> bytes:
    """Read to the end, gzipped or plain: what unpacks to more than it may is given up before it is held.

    Raises
    ------
    DAMAGED
    """
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
        table = records_of(content_of(path))
    except (*DAMAGED, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({first_line(error)}); fix or replace it") from error
    return _named_columns(path, table)


def _parsed(layout: Layout, source: Csv, verbatim: str | None, as_text: frozenset[str]) -> pd.DataFrame:
    import pandas as pd

    absent: Any = {number: list(ABSENT) for number, name in enumerate(layout.names) if name != verbatim}

    return pd.read_csv(
        io.StringIO(layout.text), sep=delimiter(layout.form), quotechar=layout.form.quote or '"',
        quoting=csv.QUOTE_MINIMAL if layout.form.quote else csv.QUOTE_NONE,
        header=0 if layout.form.header else None, names=list(range(len(layout.names))), index_col=False,
        dtype=_text_columns(layout, source, as_text),
        na_values=absent, keep_default_na=False, skipinitialspace=True, low_memory=False,
    )  # fmt: skip


def _text_columns(layout: Layout, source: Csv, as_text: frozenset[str]) -> type[str] | dict[int, type[str]]:
    """Columns that pandas must not take for numbers: it makes 1 of 01, 1.0 of 1 beside a gap, and 1.234 of 1.234,5."""
    if source.decimal:
        return str
    named = {*source.label_columns, *source.categories, *source.keys, *as_text}
    if source.split_by is not None:
        named.add(source.split_by)
    return {number: str for number, name in enumerate(layout.names) if name in named or number in layout.coded}


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        raise DataError(f"{path}: column {twins[0]!r} comes {names.count(twins[0])} times; rename or remove the others")


def _without_row_numbers(path: Path, table: pd.DataFrame) -> Read:
    """Leave out a nameless column that numbers the rows, which pandas writes; refuse any other without a name."""
    warnings, kept = [], []
    for number, name in enumerate(map(str, table.columns)):
        if name and not name.startswith("Unnamed: "):
            kept.append(number)
            continue
        values = table.iloc[:, number]
        if how := _numbers_rows(values):
            warnings.append(f"column {number + 1} has no name and {how} the rows: it was left out")
        elif name:
            kept.append(number)
        elif values.isna().all():
            warnings.append(f"column {number + 1} has no name and holds nothing: it was left out")
        else:
            raise DataError(f"{path}: column {number + 1} has no name; name it, and drop it if it is no feature")
    return Read(table=table.iloc[:, kept], warnings=tuple(warnings))


def _numbers_rows(values: pd.Series) -> Literal["", "counts", "numbers"]:
    """Say how a column, which may have been read as text, tells rows apart.

    It counts them where it goes up by one from row to row, and numbers them where it holds a whole number of its own
    for each, as the index does of rows that were chosen or shuffled; empty where it does neither.
    """
    import numpy as np

    if values.dtype.kind not in "iu":
        if not len(values) or not all(isinstance(value, str) and _WHOLE.fullmatch(value) for value in values):
            return ""
        values = values.astype(object).map(int)
    if not len(values) or not values.is_unique:
        return ""
    return "counts" if np.array_equal(values.to_numpy() - values.iloc[0], np.arange(len(values))) else "numbers"


def _read_parquet(path: Path) -> Read:
    import pandas as pd
    import pyarrow as pa

    kind = "data of datasets" if path.is_dir() else "Parquet"
    try:
        if path.is_dir():
            table = read_arrow_folder(path).to_pandas()
        else:
            with path.open("rb") as stream:
                if problem := why_not_a_table(stream, most_bytes=largest_now()):
                    raise ValueError(problem)
                stream.seek(0)
                table = pd.read_parquet(stream)
        require_text(table)
    except (pa.ArrowException, msgspec.MsgspecError, *DAMAGED) as error:
        raise DataError(f"{path}: cannot be read as {kind} ({first_line(error)}); fix or replace it") from error
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
