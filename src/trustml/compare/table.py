"""Reads what a run measured. Making it is another matter (:mod:`trustml.compare.rows`), and takes far more imports."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from trustml.data.npy import DAMAGED
from trustml.data.parquet import require_text, why_not_a_table
from trustml.errors import RecordError
from trustml.measures.row import BUSY, COLUMNS, FIRST_COLUMNS, Fact, Row, column_kind
from trustml.privacy.statement import PrivacyStatement
from trustml.record.explained import model_of
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.store import MEASURES, PRIVACY, RunDirectory

if TYPE_CHECKING:
    import pandas as pd
_EMPTY: dict[str, str | int | float] = {"text": "", "whole number": 0, "number": float("nan"), "facts": "{}"}


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Give rows as the tidy table: a column a field, what is absent NaN, and the facts as one JSON object."""
    import pandas as pd

    table = pd.DataFrame(index=range(len(rows)))
    for name in COLUMNS:
        values: list[Any] = [getattr(row, name) for row in rows]
        kind = column_kind(name)
        if kind == "facts":
            values = [msgspec.json.encode(one, order="deterministic").decode() for one in values]
        dtype = {"number": "float64", "whole number": "int64"}.get(kind, "object")
        table[name] = pd.Series(values, dtype=dtype, index=table.index)
    return table


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Give the tidy table as rows: the only way back.

    Raises
    ------
    RecordError
        If a cell holds what its column cannot.
    """
    numbers = [name for name in COLUMNS if column_kind(name) == "number"]
    found = []
    for line in table[list(COLUMNS)].to_dict("records"):
        cells: dict[str, Any] = {str(name): value for name, value in line.items()}
        cells |= {name: None for name in numbers if cells[name] is None or math.isnan(cells[name])}
        try:
            cells["facts"] = msgspec.json.decode(cells["facts"])
            found.append(msgspec.convert(cells, Row, strict=True))
        except UNREADABLE as error:
            raise RecordError(f"holds what is no row of measures ({error})") from None
    return found


def fact_of(table: pd.DataFrame, name: str, *, default: Fact) -> pd.Series:
    """One fact of every row as a column; the default where a row has no such fact."""
    return table.facts.map(lambda text: msgspec.json.decode(text, type=dict[str, Fact]).get(name, default))


def busy_rows(table: pd.DataFrame) -> pd.Series:
    """Which times are not to be compared: others used the machine meanwhile, or a quota of processors held it back."""
    shares = [fact_of(table, name, default=0.0).astype(float) for name in ("others_share", "throttled_share")]
    return (shares[0] > BUSY) | (shares[1] > BUSY)


def read_measures(run: RunDirectory) -> pd.DataFrame:
    """Read the table of a run; where its ledgers hold more by now, the epsilons that follow from them.

    In a table of before format 3 the columns of facts are filled from its notes.

    Raises
    ------
    RecordError
        If the run has none yet, or it cannot be read.
    """
    from trustml.compare.behind import current_table
    from trustml.compare.format_2 import with_columns_of_notes

    table, typed = _recorded(run)
    try:
        statements = recorded_statements(run)
    except RecordError:
        statements = []
    if not typed:
        table = with_columns_of_notes(run, table, statements=statements)
    return current_table(run, table, statements)


def read_statements(run: RunDirectory) -> list[PrivacyStatement]:
    """Read the privacy statements of a run; where a ledger holds more by now, the one that follows from it.

    Raises
    ------
    RecordError
        If the run has none yet, or they cannot be read.
    """
    from trustml.compare.behind import current_statements

    return current_statements(run, recorded_statements(run))


def recorded_measures(run: RunDirectory) -> pd.DataFrame:
    """Read the table of a run as it was written, to be compared with something: never to be shown.

    The columns of facts are empty in one of before format 3.

    Raises
    ------
    RecordError
        If the run has none yet, or it cannot be read.
    """
    return _recorded(run)[0]


def _recorded(run: RunDirectory) -> tuple[pd.DataFrame, bool]:
    """Read the table as it was written, and whether it was with columns of facts."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.path / MEASURES
    try:
        content = io.BytesIO(plain_bytes(path))
        if problem := why_not_a_table(content):
            raise ValueError(problem)
        content.seek(0)
        table = pq.ParquetFile(content).read(use_threads=False).to_pandas()
        require_text(table)
    except FileNotFoundError:
        raise RecordError(f"{path}: not there yet; the run is unfinished, go on with `trustml run --resume`") from None
    except (pa.ArrowException, *DAMAGED) as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it and resume the run") from error
    # As table_of has them; of tables as short as this, rows of Arrow's texts take several times as long to be chosen.
    texts = [name for name, kind in table.dtypes.items() if isinstance(kind, pd.StringDtype)]
    table = table.astype(dict.fromkeys(texts, object))
    if "method" not in table.columns:  # written before there were several
        table["method"] = ""
    typed = set(COLUMNS) & set(table.columns) != set(FIRST_COLUMNS)
    if not typed:
        for name in COLUMNS[len(FIRST_COLUMNS) :]:  # written before rows had them
            table[name] = _EMPTY[column_kind(name)]
        jobs = {record.id: record for record in run.manifest().jobs}
        table["kind"] = [jobs[job].kind if job in jobs else "" for job in table.job]
        table["model"] = [model_of(run, jobs[job]) if job in jobs else "" for job in table.job]
    if problem := _why_not_measures(table):
        raise RecordError(f"{path}: is no table of measures ({problem}); delete it and resume the run")
    return table, typed


def _why_not_measures(table: pd.DataFrame) -> str:
    from pandas.api import types

    for name in COLUMNS:
        if name not in table.columns:
            return f"it has no column {name}"
        numbers = column_kind(name) in ("number", "whole number")
        if numbers != types.is_numeric_dtype(table[name]):
            return f"its column {name} holds {table[name].dtype}"
        if not numbers and not table[name].map(lambda one: isinstance(one, str)).all():
            return f"its column {name} holds what is no text"
        if column_kind(name) == "facts" and not table[name].map(holds_facts).all():
            return f"its column {name} holds what are no facts"
    return ""


def holds_facts(text: str) -> bool:
    """Whether a cell of the table's facts holds such."""
    try:
        msgspec.json.decode(text, type=dict[str, Fact])
    except UNREADABLE:
        return False
    return True


def recorded_statements(run: RunDirectory) -> list[PrivacyStatement]:
    """Read the privacy statements of a run as they were written, to be compared with something: never to be shown.

    Raises
    ------
    RecordError
        If the run has none yet, or they cannot be read.
    """
    path = run.path / PRIVACY
    try:
        return msgspec.json.decode(plain_bytes(path), type=list[PrivacyStatement])
    except FileNotFoundError:
        raise RecordError(f"{path}: not there yet; the run is unfinished, go on with `trustml run --resume`") from None
    except UNREADABLE as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it and resume the run") from error
