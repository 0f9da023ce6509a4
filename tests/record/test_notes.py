"""Notes and tags: kept beside what is signed, found by their tags, and never in what is handed on."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cli.test_cli import called
from tests.records import copy_of
from trustml.errors import RecordError, UsageError
from trustml.evidence.bundle import pack
from trustml.record import notes as notes_module
from trustml.record.notes import NOTES, read_notes, tags_of, write_note


def digests(run) -> dict[str, str]:
    return {
        str(path.relative_to(run.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and path.name not in ("notes.json", ".notes.lock")
    }


def test_notes_and_tags_are_kept_beside_the_record_and_lead_to_the_run(tmp_path):
    run, other = copy_of("private", tmp_path), copy_of("federated", tmp_path)
    before = digests(run)
    assert run.notes().tags == () and tags_of(run.directory) == ()
    done = called("note", run.id, "loses [red]much[/red]", "--tag", "baseline", "--tag", "v2.1", "--runs", tmp_path)
    assert done.returncode == 0 and "baseline, v2.1" in done.stdout and "loses [red]much[/red]" in done.stdout
    run.note(tags=["best"], remove_tags=["v2.1"])
    assert run.notes().tags == ("baseline", "best") and [one.text for one in run.notes().notes] == [
        "loses [red]much[/red]"
    ]
    assert digests(run) == before
    listed = json.loads(called("list", "--tag", "best", "--runs", tmp_path, "--json").stdout)["runs"]
    assert [(one["run"], one["tags"]) for one in listed] == [(run.id, ["baseline", "best"])]
    assert json.loads(called("list", "--tag", "v2.1", "--runs", tmp_path, "--json").stdout)["runs"] == []
    everything = called("list", "--runs", tmp_path).stdout
    assert "baseline, best" in everything and other.id in everything
    shown = json.loads(called("note", run.id, "--runs", tmp_path, "--json").stdout)
    assert shown["tags"] == ["baseline", "best"] and shown["notes"][0]["text"] == "loses [red]much[/red]"


def test_what_is_noted_is_in_no_bundle(tmp_path):
    run = copy_of("private", tmp_path)
    run.note("what only private/ shows")
    assert (run.path / NOTES).stat().st_mode & 0o077 == 0
    pack(run.directory, tmp_path / "run.zip")
    names = zipfile.ZipFile(tmp_path / "run.zip").namelist()
    assert names and not [name for name in names if "notes" in name]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"add": ["two words"]}, "tag 'two words'"),
        ({"add": ["x" * 41]}, "letters, digits"),
        ({"remove": ["gone"]}, "tag 'gone': is not on"),
        ({"text": "x" * 2001}, "2001 characters"),
        ({"text": "bytes \udcff"}, r"note: .* no UTF-8"),
        ({"add": ["\udcff"]}, "letters, digits"),
    ],
)
def test_what_may_not_be_written_changes_nothing(tmp_path, asked, said):
    run = copy_of("private", tmp_path)
    with pytest.raises(UsageError, match=said):
        write_note(run.directory, **asked)
    assert not (run.path / NOTES).exists()


def test_notes_that_are_written_at_once_are_all_kept(tmp_path, monkeypatch):
    def slowly(run):
        found = read_notes(run)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(notes_module, "read_notes", slowly)
    run = copy_of("private", tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: write_note(run.directory, text=text), "abcd"))
    assert sorted(one.text for one in run.notes().notes) == ["a", "b", "c", "d"]


def test_damaged_notes_are_told_and_hide_no_run_in_a_list(tmp_path):
    run = copy_of("private", tmp_path)
    (run.path / NOTES).write_text("{")
    with pytest.raises(RecordError, match=r"notes\.json: cannot be read"):
        read_notes(run.directory)
    assert called("note", run.id, "more", "--runs", tmp_path).returncode == 2
    assert json.loads(called("list", "--runs", tmp_path, "--json").stdout)["runs"][0]["tags"] == []
