"""Tables of all runs say what the readers of one run say, and a question reaches nothing else."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading

import msgspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from tests.cli.test_cli import assert_one_clear_line, called
from tests.records import NAMES, copy_of, stored, unasked_second_opinion
from trustml.compare import indexed
from trustml.compare.indexed import measures_table, query, smallest_epsilons
from trustml.compare.table import read_measures, read_statements, recorded_measures, table_of
from trustml.errors import RecordError, UsageError
from trustml.measures.row import COLUMNS, Row
from trustml.record.index import index_file, remove
from trustml.record.store import MEASURES, RunDirectory


@pytest.fixture(autouse=True, scope="module")
def own_index(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTML_INDEX", str(tmp_path_factory.mktemp("index") / "index"))
        yield


@pytest.fixture(scope="module")
def stored_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked") / "runs"
    for name in ("private", "evidence", "twice"):
        copy_of(name, folder)
    return folder


def typed(run, rows: list[Row]) -> None:
    """Write a table of the present format."""
    table_of(rows).to_parquet(run.path / MEASURES, index=False)


def row(**changes) -> Row:
    return replace(
        Row(run="r", job="", backend="-", regime="-", seed=-1, subject="", measure="seconds", value=1.0, unit="s", n=1),
        **changes,
    )


def same(table, frame: pd.DataFrame, name: str) -> None:
    """Every cell, what is absent included."""
    found, wanted = table.to_pylist(), frame[list(COLUMNS)].assign(run=name).to_dict("records")
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == {
            key: None if isinstance(cell, float) and math.isnan(cell) else cell for key, cell in other.items()
        }


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_run_are_those_of_its_reader(name):
    run = RunDirectory(stored(name))
    same(measures_table(run, name="a"), read_measures(run), "a")


def test_a_table_that_is_taken_as_it_lies_is_what_its_reader_gives(tmp_path):
    run = copy_of("twice", tmp_path)
    rows = [
        row(value=None, facts={"reason": 'it\'s "absent"\n'}, verdict="absent"),
        row(value=math.inf, seed=3, subject="'; DROP TABLE runs; --"),
    ]
    for ledger in run.path.glob("jobs/*/ledger.jsonl"):
        ledger.unlink()
    typed(run, rows)
    assert indexed._as_written(run.directory) is not None
    same(measures_table(run.directory, name="b"), read_measures(run.directory), "b")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"value": ["one", "two"]},
        pytest.param({"seed": [0.5, 1.5]}, marks=pytest.mark.long),
        {"facts": ["{}", "[1]"]},
        pytest.param({"note": ["a", None]}, marks=pytest.mark.long),
        {"note": ["a", b"\xff"]},
    ],
)
def test_what_the_reader_of_one_run_refuses_is_not_taken(tmp_path, spoilt):
    run = copy_of("private", tmp_path)
    table = table_of([row(), row()])
    for name, cells in spoilt.items():
        table[name] = cells
    table.to_parquet(run.path / MEASURES, index=False)
    refused_as_one_run(run, tmp_path)


@pytest.mark.parametrize("name", ["job", "value", "more"])
def test_of_two_columns_of_one_name_none_is_taken(tmp_path, name):
    run = copy_of("private", tmp_path)
    table_of([row(), row()]).to_parquet(run.path / MEASURES, index=False)
    table = pq.read_table(run.path / MEASURES)
    found = table["job"] if name == "more" else table[name]
    for _ in range(2 if name == "more" else 1):
        table = table.append_column(name, found)
    pq.write_table(table, run.path / MEASURES)
    with pytest.raises(RecordError, match=rf"cannot be read \(column '{name}' comes 2 times\); delete it and resume"):
        recorded_measures(run.directory)
    refused_as_one_run(run, tmp_path)


def refused_as_one_run(run, tmp_path) -> None:
    """Check that the index says of a run that its table cannot be read, and takes the rest."""
    assert indexed._as_written(run.directory) is None
    (line,) = query(tmp_path, "SELECT status, problem, jobs FROM runs").rows
    assert line[0] == "success" and ("is no table of measures" in line[1] or "cannot be read" in line[1])
    assert query(tmp_path, "SELECT count(*) FROM measures").rows == [(0,)]
    assert query(tmp_path, "SELECT count(*) FROM jobs").rows == [(line[2],)]


def grown(run) -> None:
    """Charge a run again for all that it was charged for."""
    (ledger,) = run.path.glob("jobs/*/ledger.jsonl")
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([*lines, *lines]))


def test_a_run_whose_ledger_grew_is_read_again_and_by_its_reader(tmp_path):
    run = copy_of("evidence", tmp_path)
    typed(run, [row()])
    query(tmp_path, "FROM runs")
    place = str(tmp_path)
    assert indexed._behind(index_file(tmp_path), [run.directory], place=place) == ([], [])
    assert indexed._as_written(run.directory) is not None
    grown(run)
    assert indexed._behind(index_file(tmp_path), [run.directory], place=place) == ([run.directory], [])
    assert indexed._as_written(run.directory) is None


@pytest.mark.long
def test_a_ledger_that_grew_is_in_the_next_answer(tmp_path):
    """The index must never say a smaller epsilon than the readers of the run."""
    run = copy_of("evidence", tmp_path)
    asked = "SELECT max(value) FROM measures WHERE measure = 'epsilon'"
    ((before,),) = query(tmp_path, asked).rows
    small = smallest_epsilons(tmp_path)
    grown(run)
    with unasked_second_opinion():
        ((after,),) = query(tmp_path, asked).rows
        assert after > before
        assert after == read_measures(run.directory).query("measure == 'epsilon'").value.max()
        assert list(small.values()) == [before]
        assert list(smallest_epsilons(tmp_path).values()) == [min(s.epsilon for s in read_statements(run.directory))]


def test_what_is_written_while_a_run_is_read_is_read_again(tmp_path, monkeypatch):
    """A manifest, a table or a ledger that is replaced in between must not be taken for the one that was read."""
    run = copy_of("private", tmp_path)
    manifest = run.manifest
    asked = "SELECT ended FROM runs"

    def later(directory, **facts):
        found = real(directory, **facts)
        directory.write_manifest(replace(manifest, ended="later"))
        return found

    real = indexed._run_and_jobs
    with monkeypatch.context() as patch:
        patch.setattr(
            indexed,
            "_run_and_jobs",
            lambda directory, manifest, *, name: later(directory, manifest=manifest, name=name),
        )
        assert query(tmp_path, asked).rows == [(manifest.ended,)]
    assert query(tmp_path, asked).rows == [("later",)]


def test_a_run_that_is_executed_is_read_each_time_and_one_that_changed_again(tmp_path):
    run = copy_of("private", tmp_path)
    asked = "SELECT status, jobs_ok, ended FROM runs"
    running = replace(run.manifest, status="running", ended="")
    run.directory.write_manifest(running)
    with run.directory.lock():
        assert query(tmp_path, asked).rows == [("running", 2, "")]
        (run.path / "jobs" / "train.torch.DPSGD.s0").mkdir(exist_ok=True)
        assert indexed._behind(index_file(tmp_path), [run.directory], place=str(tmp_path))[0] == [run.directory]
    assert query(tmp_path, asked).rows == [("interrupted", 2, "")]
    run.directory.write_manifest(replace(running, status="success", ended="now"))
    assert query(tmp_path, asked).rows == [("success", 2, "now")]


def test_runs_that_are_gone_or_damaged(stored_runs, tmp_path):
    copy_of("private", tmp_path)
    damaged = copy_of("evidence", tmp_path)
    (damaged.path / "manifest.json").write_text('{"format": 3}')
    strange = copy_of("twice", tmp_path)
    manifest = strange.manifest
    strange.directory.write_manifest(replace(manifest, scenario={**manifest.scenario, "task": {"kind": ["x"]}}))
    asked = "SELECT split_part(run, '-', 1), status, problem <> '' FROM runs ORDER BY run"
    assert query(tmp_path, asked).rows == [
        ("evidence", "damaged", True),
        ("private", "success", False),
        ("twice", "damaged", True),
    ]
    damaged.path.rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    assert [name for name, *_ in query(tmp_path, asked).rows] == ["private", "twice"]
    remove(index_file(tmp_path))
    assert [name for name, *_ in query(tmp_path, asked).rows] == ["private", "twice"]


REFUSED = [
    "",
    "SELECT 1; SELECT 2",
    "DROP TABLE runs",
    "INSERT INTO runs (run) VALUES ('a')",
    "COPY (SELECT 1) TO 'x.csv'",
    "ATTACH 'x.db'",
    "SET enable_external_access = true",
    "LOAD httpfs",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/hostname'",
    "SELECT * FROM read_csv('http://127.0.0.1/x')",
    "SELECT * FROM statements",
    "SELECT getenv('HOME')",
    "FROM query('COPY runs TO ''x.csv''')",
    "EXPLAIN ANALYZE COPY runs TO 'x.csv'",
    "WITH x AS (DELETE FROM runs RETURNING *) FROM x",
    "SELECT nonsense FROM runs",
]


def test_a_question_reaches_nothing_but_the_tables(stored_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in REFUSED:
        with pytest.raises(UsageError, match=r"one SELECT|cannot be answered"):
            query(stored_runs, text)
    with pytest.raises(UsageError, match=r"the query: .* no UTF-8"):
        query(stored_runs, "SELECT '\udcff'")
    assert list(tmp_path.iterdir()) == []
    assert query(stored_runs, "SELECT count(*) FROM runs").rows == [(3,)]


def test_the_command_prints_what_it_found(stored_runs, tmp_path):
    asked = "SELECT run, seeds, NULL AS nothing, 1e300 * 10 AS large FROM runs ORDER BY run"
    done = called("query", asked, "--runs", stored_runs, "--json", "--most", "2")
    found = json.loads(done.stdout)
    assert [one["seeds"] for one in found["rows"]] == [[0], [0]] and found["more"]
    assert found["rows"][0]["nothing"] is None
    shown = called("query", asked, "--runs", stored_runs).stdout.splitlines()
    assert shown[0].split() == ["run", "seeds", "nothing", "large"] and len(shown) == 4
    assert_one_clear_line(called("query", "SELECT", "--runs", stored_runs), "cannot be answered", folder=tmp_path)
    assert_one_clear_line(called("query", "SELECT 1", "--runs", tmp_path), "no runs there", folder=tmp_path)


def test_columns_of_one_name_are_no_row_of_json(stored_runs, tmp_path):
    asked = "SELECT run, status, run, run AS status FROM runs"
    done = called("query", asked, "--runs", stored_runs, "--json")
    assert_one_clear_line(done, "--json", "run, status", "AS", folder=tmp_path)
    assert called("query", asked, "--runs", stored_runs).returncode == 0


@pytest.mark.long
def test_ctrl_c_in_a_query_is_no_error(stored_runs):
    query(stored_runs, "FROM runs")  # so that what follows is the question alone
    told = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    told.start()
    try:
        done = called("query", "SELECT count(*) FROM range(30000000) a, range(1000) b", "--runs", stored_runs)
    finally:
        told.join()
    assert (done.returncode, done.stderr.split()) == (130, ["interrupted"])


def test_without_duckdb_the_command_says_what_is_missing(stored_runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    asked = called("query", "SELECT 1", "--runs", stored_runs)
    assert_one_clear_line(asked, "pip install 'trustml[index]'", folder=tmp_path)


def test_a_name_of_a_run_is_text_and_nothing_else(tmp_path):
    run = copy_of("private", tmp_path)
    name = "x'); DROP TABLE runs; --\n\x1b[31m"
    renamed = run.path.rename(tmp_path / name)
    manifest = RunDirectory(renamed).manifest()
    RunDirectory(renamed).write_manifest(
        replace(manifest, scenario={**manifest.scenario, "name": "'; DROP TABLE jobs"})
    )
    assert query(tmp_path, "SELECT run, scenario FROM runs").rows == [(name, "'; DROP TABLE jobs")]
    shown = called("query", "SELECT run FROM runs", "--runs", tmp_path).stdout
    assert "\x1b" not in shown and len(shown.splitlines()) == 2
    assert msgspec.json.decode(called("query", "SELECT run FROM runs", "--runs", tmp_path, "--json").stdout)[
        "rows"
    ] == [{"run": name}]
