"""The index of a folder of runs as tables that can be asked in SQL: runs, their jobs, and the rows of all their tables.

What stands there is what readers of one run are shown: :func:`trustml.compare.table.read_measures` of each, read once
and again when a file that it is made from was written again, ledgers among them. A run that is executed now is
read every time.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustml.data.npy import DAMAGED
from trustml.errors import RecordError, RunNotFoundError, UsageError, refuse_no_text
from trustml.measures.row import COLUMNS, column_kind
from trustml.record.files import plain_bytes
from trustml.record.index import (
    has_table,
    index_file,
    locked,
    opened,
    replace_rows,
    run_name,
    signature,
)
from trustml.record.schema import Manifest, regimes_of, task_of
from trustml.record.store import MANIFEST, MEASURES, PRIVACY, RunDirectory, list_runs

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT = "read"
_BATCH = 250
_WAITING = 600.0  # seconds for another process that is at it
Told = Callable[[int, int], None]
"""Is told how many of the records that are behind were read, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query gave.

    Parameters
    ----------
    columns : tuple of str
    rows : list of tuple
    more : bool
        Whether there are further rows, which were not asked for.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool = False


def query(root: Path, text: str, *, most: int | None = None, told: Told | None = None) -> Answer:
    """Ask the tables ``runs``, ``jobs`` and ``measures`` of a folder of runs in SQL; nothing is changed.

    Raises
    ------
    UsageError
        If it is no single SELECT, or DuckDB refuses it.
    IndexUnavailableError
    """
    refuse_no_text(text, field="the query")
    with tables(root, told=told) as connection:
        import duckdb

        try:
            statements = connection.extract_statements(text)
            if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN"):
                raise UsageError("a query is one SELECT of the tables runs, jobs and measures")
            found = connection.execute(statements[0])
            columns = tuple(one[0] for one in found.description or ())
            rows = found.fetchall() if most is None else found.fetchmany(most + 1)
        except (duckdb.IOException, duckdb.InternalException, duckdb.FatalException):
            raise  # of the index, not of the question
        except duckdb.Error as error:
            raise UsageError(f"this query cannot be answered: {' '.join(str(error).split())}") from None
    return Answer(columns=columns, rows=rows[:most], more=most is not None and len(rows) > most)


def smallest_epsilons(root: Path, *, told: Told | None = None) -> dict[str, float]:
    """Smallest finite epsilon that a statement of a run says, by the run's name in the index.

    Raises
    ------
    IndexUnavailableError
    """
    with tables(root, told=told) as connection:
        asked = f"SELECT run, epsilon FROM kept.{_KEPT} WHERE epsilon IS NOT NULL"
        return dict(connection.execute(asked).fetchall())


@contextmanager
def tables(root: Path, *, told: Told | None = None) -> Iterator[Any]:
    """Bring the index up to date and open it to be read.

    Raises
    ------
    UsageError
        If there are no runs.
    IndexUnavailableError
    """
    runs, file = list_runs(root), index_file(root)
    if not runs:
        raise UsageError(f"{root}: no runs there to be asked about; name their folder with --runs")
    place = str(root.resolve())
    if any(_behind(file, runs, place=place)):
        with locked(file.with_suffix(".reading"), alone=True, patience=_WAITING):
            behind, gone = _behind(file, runs, place=place)
            _bring_up(file, behind, gone=gone, place=place, told=told)
    with opened(file, write=False, patience=_WAITING) as connection:
        if connection is None or not has_table(connection, _KEPT):
            raise UsageError(f"{file}: was deleted just now; ask again")
        yield connection


def _behind(file: Path, runs: Sequence[RunDirectory], *, place: str) -> tuple[list[RunDirectory], list[str]]:
    """Which runs are to be read, and which entries are of none."""
    with opened(file, write=False, patience=_WAITING) as connection:
        known = {}
        if connection is not None and has_table(connection, _KEPT):
            asked = f"SELECT run, signature, ledgers, running FROM kept.{_KEPT}"
            known = {name: rest for name, *rest in connection.execute(asked).fetchall()}
    behind = []
    for run in runs:
        entry = known.pop(run_name(run, place=place), None)
        if entry is None or entry[0] != _signature(run, entry[1]) or (entry[2] and run.is_executed()):
            behind.append(run)
    return behind, list(known)


def _signature(run: RunDirectory, ledgers: str) -> str:
    """Which files the entry of a run was made from; `ledgers` are names of jobs, one a line."""
    files = signature(*(f"{run.folder}/{name}" for name in (MANIFEST, MEASURES, PRIVACY)))
    return f"{files} {_of_ledgers(run, ledgers)}"


def _of_ledgers(run: RunDirectory, ledgers: str) -> str:
    return signature(*(f"{run.folder}/jobs/{job}/ledger.jsonl" for job in ledgers.split("\n") if job))


def _bring_up(
    file: Path, behind: Sequence[RunDirectory], *, gone: Sequence[str], place: str, told: Told | None
) -> None:
    """Read records in batches, so that whoever waits to read is let in between, and little is lost by an end."""
    import pyarrow as pa

    for at in range(0, max(1, len(behind)), _BATCH):
        batch = behind[at : at + _BATCH]
        found = [one for run in batch if (one := _read_run(run, name=run_name(run, place=place))) is not None]
        dead = [*(gone if at == 0 else ()), *(run_name(run, place=place) for run in batch)]
        with opened(file, write=True, patience=_WAITING) as connection:
            for name, schema in (("runs", "main"), ("jobs", "main"), ("measures", "main"), (_KEPT, "kept")):
                columns = _schema(name)
                pieces = [one[name] for one in found]
                rows = pa.concat_tables(pieces) if pieces else columns.empty_table()
                replace_rows(connection, name, rows, gone=dead, schema=schema)
        if told is not None:
            told(min(at + _BATCH, len(behind)), len(behind))


@functools.cache
def _schema(name: str) -> pa.Schema:
    import pyarrow as pa

    text, whole, number, names = pa.string(), pa.int64(), pa.float64(), pa.list_(pa.string())
    kinds = {"text": text, "whole number": whole, "number": number, "facts": text}
    fields: dict[str, dict[str, Any]] = {
        "runs": {
            **{"run": text, "status": text, "created": text, "ended": text, "scenario": text, "task": text},
            **{"data": text, "regimes": names, "backends": names, "seeds": pa.list_(whole)},
            **{"jobs": whole, "jobs_ok": whole, "train_examples": whole, "machine": text, "problem": text},
        },
        "jobs": {
            **{"run": text, "job": text, "kind": text, "backend": text, "regime": text, "seed": whole},
            **{"status": text, "reason": text, "attempt": whole, "seconds": number, "peak_memory": whole},
            **{"concurrent": pa.bool_()},
        },
        "measures": {column: kinds[column_kind(column)] for column in COLUMNS},
        _KEPT: {"run": text, "signature": text, "ledgers": text, "running": pa.bool_(), "epsilon": number},
    }
    return pa.schema(list(fields[name].items()))


def _read_run(run: RunDirectory, *, name: str) -> dict[str, pa.Table] | None:
    """Read a run as rows of each table; what of it cannot be read is told in its row of ``runs``."""
    from trustml.compare.table import read_statements  # whoever asks an index that is current reads no run

    before = _signature(run, "")  # before what it is of is read: what is written meanwhile is read again
    try:
        manifest = run.manifest()
        line, jobs = _run_and_jobs(run, manifest, name=name)
    except RunNotFoundError:  # removed since it was seen
        return None
    except (RecordError, LookupError, TypeError, ValueError) as error:  # a stranger's scenario may hold anything
        kept = {"run": name, "signature": before, "ledgers": "", "running": False, "epsilon": None}
        damaged = {"run": name, "status": "damaged", "problem": str(error)}
        return {"runs": _table("runs", [damaged]), "jobs": _table("jobs", []), "measures": _table("measures", []),
                _KEPT: _table(_KEPT, [kept])}  # fmt: skip
    ledgers = "\n".join(job["job"] for job in jobs if (run.path / "jobs" / job["job"] / "ledger.jsonl").exists())
    signed = before + _of_ledgers(run, ledgers)
    try:
        epsilon = min((one.epsilon for one in read_statements(run) if one.epsilon is not None), default=None)
    except RecordError:
        epsilon = None
    try:
        rows = measures_table(run, name=name)
    except RecordError as error:
        rows, line["problem"] = _table("measures", []), str(error)
    running = manifest.status == "running"
    if running and line["status"] == "running":
        signed = ""  # of no files: it is read again next time
    kept = {"run": name, "signature": signed, "ledgers": ledgers, "epsilon": epsilon, "running": running}
    return {
        "runs": _table("runs", [line]),
        "jobs": _table("jobs", jobs),
        "measures": rows,
        _KEPT: _table(_KEPT, [kept]),
    }


def _run_and_jobs(run: RunDirectory, manifest: Manifest, *, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    scenario = manifest.scenario
    line = {
        "run": name,
        "status": run.shown_status(manifest.status),
        "created": manifest.created,
        "ended": manifest.ended,
        "scenario": scenario["name"],
        "task": type(task_of(manifest)).__struct_config__.tag,
        "data": manifest.data.fingerprint,
        "regimes": list(regimes_of(manifest)),
        "backends": list(scenario["backends"]),
        "seeds": list(scenario["seeds"]),
        "jobs": len(manifest.jobs),
        "jobs_ok": sum(job.status == "ok" for job in manifest.jobs),
        "train_examples": manifest.data.train_examples,
        "machine": ", ".join(manifest.hardware.values()),
        "problem": "",
    }
    same = ("kind", "backend", "regime", "seed", "status", "reason", "attempt", "seconds", "peak_memory", "concurrent")
    jobs = [{"run": name, "job": job.id, **{field: getattr(job, field) for field in same}} for job in manifest.jobs]
    return line, jobs


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.Table.from_pylist(rows, schema=_schema(name))
    except pa.ArrowException as error:
        raise RecordError(f"its {name} hold what a table cannot ({error})") from None


def measures_table(run: RunDirectory, *, name: str) -> pa.Table:
    """Give the table of a run as :func:`trustml.compare.table.read_measures` does, with the run's name in the index.

    Nearly all tables can be taken as they lie in the file, twenty times as fast: those of the present format, of which
    no ledger says more.

    Raises
    ------
    RecordError
    """
    import pyarrow as pa

    table = _as_written(run)
    if table is None:
        from trustml.compare.table import read_measures

        read = read_measures(run)[list(COLUMNS)]
        try:
            table = pa.Table.from_pandas(read, schema=_schema("measures"), preserve_index=False)
        except pa.ArrowException as error:
            raise RecordError(f"{run.path / MEASURES}: is no table of measures ({error})") from None
    runs = pa.array([name] * len(table), pa.string())
    return table.set_column(0, "run", runs)


def _as_written(run: RunDirectory) -> pa.Table | None:
    """Give the table from its file, if the reader of one run would give the same; else None."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from trustml.compare.behind import changed_ledgers
    from trustml.compare.table import holds_facts, recorded_statements
    from trustml.data.parquet import why_not_a_table

    schema = _schema("measures")
    try:
        content = io.BytesIO(plain_bytes(run.path / MEASURES))
        if why_not_a_table(content):
            return None
        content.seek(0)
        written = pq.read_table(content, use_threads=False)
        if set(COLUMNS) - set(written.column_names):
            return None
        written = written.select(list(COLUMNS))
        if any(not _is_kind(one.type, schema.field(one.name).type) for one in written.schema):
            return None
        table = written.cast(schema)
        table.validate(full=True)
        if any(table[column].null_count for column in COLUMNS if column_kind(column) != "number"):
            return None
        if not all(map(holds_facts, set(table["facts"].to_pylist()))):
            return None
    except (pa.ArrowException, *DAMAGED):
        return None
    try:
        statements = recorded_statements(run)
    except RecordError:
        statements = []
    if changed_ledgers(run, statements):
        return None
    for at, column in enumerate(COLUMNS):
        if column_kind(column) == "number":
            absent = pc.is_nan(table[column])
            table = table.set_column(at, column, pc.if_else(absent, pa.scalar(None, pa.float64()), table[column]))
    return table.combine_chunks()


def _is_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    return found == wanted or (str(found) == "large_string" and str(wanted) == "string")
