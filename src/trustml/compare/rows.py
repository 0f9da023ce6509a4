"""All measures of a run as one table, in memory and in ``measures.parquet``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec

from trustml.errors import RecordError
from trustml.measures.accuracy import accuracy_rows
from trustml.measures.attribution import attribution_rows
from trustml.measures.evidence import Evidence
from trustml.measures.measure import Row
from trustml.measures.privacy import privacy_rows
from trustml.measures.speed import speed_rows
from trustml.record.files import sha256, write_atomic
from trustml.record.store import MEASURES, RunDirectory

if TYPE_CHECKING:
    import pandas as pd

FAMILIES = (accuracy_rows, privacy_rows, attribution_rows, speed_rows)
COLUMNS = Row.__struct_fields__


def measure_run(run: RunDirectory) -> list[Row]:
    """Apply every measure to what the run left behind."""
    evidence = Evidence(run)
    return [row for family in FAMILIES for row in family(evidence)]


def write_measures(run: RunDirectory) -> pd.DataFrame:
    """Measure a run and write the table into its directory; the manifest gets its hash."""
    table = _frame(measure_run(run))
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomic(run.path / MEASURES, stream.getvalue())
    manifest = run.manifest()
    artifacts = {**manifest.artifacts, MEASURES: sha256(run.path / MEASURES)}
    run.write_manifest(msgspec.structs.replace(manifest, artifacts=artifacts))
    return table


def read_measures(run: RunDirectory) -> pd.DataFrame:
    """Read the table of a run.

    Raises
    ------
    RecordError
        If the run has none yet, or it cannot be read.
    """
    import pandas as pd
    import pyarrow as pa

    path = run.path / MEASURES
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise RecordError(f"{path}: not there yet; the run is unfinished, go on with `trustml run --resume`") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it and resume the run") from error


def _frame(rows: list[Row]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame([msgspec.structs.asdict(row) for row in rows], columns=list(COLUMNS))
    for column in ("value", "low", "high"):
        table[column] = table[column].astype("float64")
    for column in ("seed", "n"):
        table[column] = table[column].astype("int64")
    return table
