"""Reads what a run measured. Making it is another matter (:mod:`trustml.compare.rows`), and takes far more imports."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec

from trustml.data.npy import DAMAGED
from trustml.data.tables import why_not_a_table
from trustml.errors import RecordError
from trustml.measures.measure import Row
from trustml.privacy.statement import PrivacyStatement
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.store import MEASURES, PRIVACY, RunDirectory

if TYPE_CHECKING:
    import pandas as pd


def read_measures(run: RunDirectory) -> pd.DataFrame:
    """Read the table of a run; where its ledgers hold more by now, the epsilons that follow from them.

    Raises
    ------
    RecordError
        If the run has none yet, or it cannot be read.
    """
    from trustml.compare.behind import current_table

    table = recorded_measures(run)
    try:
        statements = recorded_statements(run)
    except RecordError:
        statements = []
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

    Raises
    ------
    RecordError
        If the run has none yet, or it cannot be read.
    """
    import pandas as pd
    import pyarrow as pa

    path = run.path / MEASURES
    try:
        content = io.BytesIO(plain_bytes(path))
        if problem := why_not_a_table(content):
            raise ValueError(problem)
        content.seek(0)
        table = pd.read_parquet(content)
    except FileNotFoundError:
        raise RecordError(f"{path}: not there yet; the run is unfinished, go on with `trustml run --resume`") from None
    except (pa.ArrowException, *DAMAGED) as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it and resume the run") from error
    if "method" not in table.columns:  # written before there were several
        table["method"] = ""
    if problem := _why_not_measures(table):
        raise RecordError(f"{path}: is no table of measures ({problem}); delete it and resume the run")
    return table


def _why_not_measures(table: pd.DataFrame) -> str:
    from pandas.api import types

    for name in Row.__struct_fields__:
        if name not in table.columns:
            return f"it has no column {name}"
        numbers = name in ("value", "low", "high", "seed", "n")
        if numbers != types.is_numeric_dtype(table[name]):
            return f"its column {name} holds {table[name].dtype}"
        if not numbers and not table[name].map(lambda one: isinstance(one, str)).all():
            return f"its column {name} holds what is no text"
    return ""


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
