"""The chosen run: it survives what a reader does; it may be running, damaged or a stranger's."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

import trustml
from tests.apps.test_dashboard import assert_whole, opened, pytestmark, shown_cells, text_of  # noqa: F401
from tests.records import copy_of
from trustml.compare import rows
from trustml.compare.table import read_measures

WILD = "![x](http://127.0.0.1:9/x.png) [here](http://evil.example) :red[x] <b>y</b>"


@pytest.fixture
def two(tmp_path) -> list[str]:
    """Names of two runs in a folder, the newest first."""
    return [copy_of(name, tmp_path).path.name for name in ("federated", "evidence")]


def changed(run: trustml.Run, change) -> Path:
    path = run.path / "manifest.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return run.path


def unfinished(folder: Path, *, done: int) -> trustml.Run:
    """A run of which so many jobs are done, and nothing was measured."""
    run = copy_of("evidence", folder)
    jobs = [
        job if place < done else replace(job, status="running" if place == done else "pending", result=None)
        for place, job in enumerate(run.manifest.jobs)
    ]
    run.directory.write_manifest(replace(run.manifest, jobs=tuple(jobs), status="running", artifacts={}))
    for name in ("measures.parquet", "privacy.json", "audit.json", "audit.html"):
        (run.path / name).unlink(missing_ok=True)
    return run


def chosen(app) -> str:
    assert app.query_params["run"] in (app.sidebar.selectbox[0].value, [app.sidebar.selectbox[0].value])
    return app.sidebar.selectbox[0].value


def test_the_first_choice_counts_and_survives_every_change_of_page(entry, two, tmp_path, monkeypatch):
    newest, older = two
    app = opened(entry, tmp_path, monkeypatch)
    assert chosen(app) == newest
    app.sidebar.selectbox[0].set_value(older).run()
    assert chosen(app) == older
    for page in ("record", "overview"):
        app.query_params.clear()  # as a browser does on a change of page
        app.switch_page(f"views/{page}.py").run()
        assert_whole(app)
        assert chosen(app) == older
    app.sidebar.selectbox[0].set_value(newest).run()
    assert chosen(app) == newest


def test_the_address_chooses_and_a_changed_one_chooses_anew(entry, two, tmp_path, monkeypatch):
    newest, older = two
    app = opened(entry, tmp_path, monkeypatch, run=older)
    assert chosen(app) == older
    app.query_params["run"] = newest  # as the browser's way back does
    app.run()
    assert chosen(app) == newest


def test_a_damaged_run_is_one_line_and_the_others_are_there(entry, two, tmp_path, monkeypatch):
    newest, older = two
    manifest = tmp_path / newest / "manifest.json"
    for content in ("[" * 200_000, manifest.read_text()[:3000], "{}"):
        manifest.write_text(content)
        app = opened(entry, tmp_path, monkeypatch)
        assert not app.exception
        (error,) = app.error
        assert "This run cannot be shown" in error.value and "Traceback" not in error.value
    app.sidebar.selectbox[0].set_value(older).run()
    assert_whole(app)
    assert chosen(app) == older


def test_a_record_that_holds_the_unexpected_is_one_line(entry, tmp_path, monkeypatch):
    changed(copy_of("evidence", tmp_path), lambda record: record["scenario"].pop("seeds"))
    app = opened(entry, tmp_path, monkeypatch)
    assert not app.exception
    assert "cannot be read (Object missing required field" in app.error[0].value


def test_results_appear_while_a_run_is_running(entry, tmp_path, monkeypatch):
    run = unfinished(tmp_path, done=1)
    (run.path / ".lock").touch()
    lock = os.open(run.path / ".lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        app = opened(entry, tmp_path, monkeypatch)
        assert_whole(app)
        text = text_of(app)
        assert "So far: measured from 1 of" in text and "More appears here as jobs end" in text
        assert "--resume" not in text and "unfinished" not in text
        assert "none" not in {cell for row in shown_cells(app.dataframe[0]) for cell in row}  # it is private
        assert app.dataframe[0].value.epsilon[0] > 0
        app.switch_page("views/privacy.py").run()
        assert_whole(app)
        assert "Opacus's accountant is asked when the run ends" in str([table.value for table in app.table])
    finally:
        os.close(lock)


def test_advice_names_the_folder_of_the_run_and_of_the_runs(entry, tmp_path, monkeypatch):
    run = unfinished(tmp_path, done=1)
    moved = run.path.rename(tmp_path / "a run-20260101-000000-abcd")
    app = opened(entry, tmp_path, monkeypatch)
    assert_whole(app)
    commands = [code.value for code in app.code]
    assert commands == [f"trustml run --resume '{moved.name}' --runs {tmp_path}"]


def test_another_opinion_is_asked_only_when_the_run_is_measured_for_good(tmp_path, monkeypatch):
    def asked(models):
        raise AssertionError("asked")

    monkeypatch.setattr("trustml.measures.privacy_statements.prv_epsilons", asked)
    run = copy_of("evidence", tmp_path)
    found = rows.measure_run(run.directory, second_opinion=False)
    table = read_measures(run.directory)
    assert {row.job: row.value for row in found.rows if row.measure == "epsilon"} == {
        row.job: row.value for row in table[table.measure == "epsilon"].itertuples()
    }
    with pytest.raises(AssertionError, match="asked"):
        rows.measure_run(run.directory)


def test_a_strangers_words_are_words(entry, tmp_path, monkeypatch):
    def wild(record) -> None:
        record["scenario"] |= {"name": WILD, "description": WILD}
        record["warnings"], record["data"]["notes"], record["hardware"]["processor"] = [WILD], [WILD], WILD
        record["jobs"][0] |= {"reason": WILD, "status": "error"}
        record["skips"] = [{"backend": "torch", "method": WILD, "reason": WILD}]

    changed(copy_of("evidence", tmp_path), wild)
    app = opened(entry, tmp_path, monkeypatch)
    for page in ("overview", "record", "speed"):
        if page != "overview":
            app.switch_page(f"views/{page}.py").run()
        assert_whole(app)
        shown = [
            text_of(app),
            *(one.value for one in (*app.title, *app.subheader)),
            *(one.label for one in app.expander),
        ]
        shown += [cell for table in app.table for cell in table.value.to_numpy().ravel()]
        alive = [text for text in shown if "![x](" in text or "<b>" in text or ":red[" in text or "http://" in text]
        assert not alive
    assert any("evil.example" in text for text in shown)
