"""The index says what the records say: whoever writes, whatever became of its file, and whether there is one or not."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from tests.record.test_summaries import MANIFEST
from trustml.record import index
from trustml.record.index import IndexUnavailableError, index_file, listed_runs, locked, opened
from trustml.record.store import RunDirectory, find_run, list_runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve runs, one of them damaged; an index of the test's own, for however few runs."""
    monkeypatch.setattr(index, "FEWEST", 1)
    monkeypatch.setenv("TRUSTML_INDEX", str(tmp_path / "index"))
    for number in range(12):
        write(tmp_path / "runs", number)
    (tmp_path / "runs" / "s-20260102-000007-0007" / "manifest.json").write_text("{")
    return tmp_path / "runs"


def write(folder, number: int, *, created: str = "") -> RunDirectory:
    name = f"s-20260102-{number:06d}-{number:04x}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    manifest = msgspec.structs.replace(
        MANIFEST, run=name, status="success", created=created or f"2026-01-02T00:{number:02}"
    )
    RunDirectory(folder / name).write_manifest(manifest)
    return RunDirectory(folder / name)


def said(listed) -> list[tuple]:
    return [(one.directory.path, one.head, one.problem) for one in listed]


def as_read(folder) -> list[tuple]:
    return said(index._read(run) for run in list_runs(folder))


def test_the_index_says_what_the_records_say_also_after_they_changed(folder, monkeypatch):
    assert said(listed_runs(folder)) == as_read(folder)
    assert index_file(folder).is_file()
    opened_records = []
    monkeypatch.setattr(index, "_read", lambda run, read=index._read: opened_records.append(run) or read(run))
    assert said(listed_runs(folder)) == as_read(folder)
    assert [run.path.name for run in opened_records[:2]] == ["s-20260102-000007-0007", "s-20260102-000000-0000"]

    write(folder, 3, created="2027-01-01T00:00")  # the same name and length, another file
    write(folder, 99)
    edited = folder / "s-20260102-000002-0002" / "manifest.json"  # in place, and its time put back
    facts = edited.stat()
    with edited.open("r+b") as stream:
        content = stream.read().replace(b"2026-01-02T00:02", b"2026-01-02T00:59")
        stream.seek(0)
        stream.write(content)
    os.utime(edited, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    shutil.rmtree(folder / "s-20260102-000004-0004")
    shutil.rmtree(folder / "s-20260102-000005-0005")
    os.rename(folder / "s-20260102-000006-0006", folder / "s-20260102-000005-0005")
    assert said(listed_runs(folder)) == as_read(folder)
    assert find_run("latest", root=folder).path.name == "s-20260102-000003-0003"
    with opened(index_file(folder), write=False) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT run) FROM kept.heads").fetchall() == [
            (10, 10)
        ]  # the damaged one is read each time


@pytest.mark.parametrize(
    "harm", ["deleted", "rubbish", "cut", "empty", "bytes changed", "another version's", "a folder"]
)
def test_whatever_became_of_its_file(folder, harm, monkeypatch):
    listed_runs(folder)
    file = index_file(folder)
    content = bytearray(file.read_bytes())
    match harm:
        case "deleted" | "a folder":
            file.unlink()
            if harm == "a folder":
                file.mkdir()
        case "rubbish":
            file.write_bytes(b"rubbish" * 1000)
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "empty":
            file.write_bytes(b"")
        case "bytes changed":
            for at in range(4096, len(content), 61):
                content[at] ^= 0x5A
            file.write_bytes(content)
        case "another version's":
            monkeypatch.setattr(index, "_LAYOUT", index._LAYOUT + 1)
    for _ in range(2):
        assert said(listed_runs(folder)) == as_read(folder)
    if harm != "a folder":  # it is whole again
        with opened(file, write=False) as connection:
            assert connection.execute("SELECT count(*) FROM kept.heads").fetchone() == (11,)


def test_many_read_and_write_it_at_once(folder):
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                write(folder, 40 + number, created=f"2026-02-02T00:0{turn}")
                mine = [one for one in listed_runs(folder) if one.directory.path.name.endswith(f"{40 + number:04x}")]
                assert [one.head.created for one in mine] == [f"2026-02-02T00:0{turn}"]
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and said(listed_runs(folder)) == as_read(folder)


def test_who_cannot_have_it_reads_the_records(folder, monkeypatch):
    monkeypatch.setattr(index, "_PATIENCE", 0.01)
    with locked(index_file(folder).with_suffix(".lock"), alone=True, patience=1):
        assert said(listed_runs(folder)) == as_read(folder)
    assert not index_file(folder).exists()

    monkeypatch.setattr(index, "is_installed", lambda: False)
    assert said(listed_runs(folder)) == as_read(folder)
    assert not index_file(folder).exists()


def test_a_folder_that_others_can_write_to_holds_no_index(folder):
    place = index_file(folder).parent
    place.mkdir()
    place.chmod(0o777)
    assert said(listed_runs(folder)) == as_read(folder)
    assert not index_file(folder).exists()
    with pytest.raises(IndexUnavailableError, match="TRUSTML_INDEX"), opened(index_file(folder), write=True):
        pass


def test_a_run_that_is_gone_meanwhile_is_not_listed(folder, monkeypatch):
    gone = RunDirectory(folder / "s-20260102-000099-0063")
    monkeypatch.setattr(index, "list_runs", lambda root: [*list_runs(root), gone])
    assert said(listed_runs(folder)) == as_read(folder)


def test_a_link_is_told_from_a_run_of_the_same_name(folder, tmp_path):
    other = write(tmp_path / "elsewhere", 3, created="2030-01-01T00:00")
    (folder / "link").symlink_to(other.path)
    for _ in range(2):
        assert said(listed_runs(folder)) == as_read(folder)
    assert find_run("latest", root=folder).path == other.path


def test_what_a_query_has_no_memory_for_is_of_one_process_and_gone_with_it(folder):
    listed_runs(folder)
    file = index_file(folder)
    killed, others = (file.with_name(f"{file.stem}.spilt.{name}") for name in ("killed", "other"))
    for left in (killed, others, file.with_name(f"{file.name}.tmp")):
        left.mkdir()
        (left / "duckdb_temp_block-0.block").write_bytes(b"x")
    handle = os.open(others, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    asked = (
        "SELECT value FROM duckdb_settings() WHERE name IN ('max_temp_directory_size', 'temp_directory') ORDER BY name"
    )
    with opened(file, write=False) as one:
        with opened(file, write=False) as other:  # of the same process
            assert one.execute(asked).fetchall() == other.execute(asked).fetchall()
        most, place = (value for (value,) in one.execute(asked).fetchall())
        assert most == "8.0 GiB" and os.path.isdir(place) and os.path.dirname(place) == str(file.parent)
        assert others.exists() and str(others) != place
        assert not killed.exists() and not file.with_name(f"{file.name}.tmp").exists()
    os.close(handle)
    with opened(file, write=True):
        pass
    assert {path.suffix for path in file.parent.iterdir()} == {".duckdb", ".lock"}


@pytest.mark.long
def test_writers_that_are_killed_leave_an_index_that_is_right(folder):
    code = (
        "import sys, pathlib\n"
        "from trustml.record import index\n"
        "index.FEWEST = 1\n"
        "while True:\n"
        "    index.remove(index.index_file(pathlib.Path(sys.argv[1])))\n"
        "    index.listed_runs(pathlib.Path(sys.argv[1]))\n"
    )
    for turn in range(20):
        worker = subprocess.Popen([sys.executable, "-c", code, str(folder)])
        time.sleep(0.6 + 0.01 * turn)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert said(listed_runs(folder)) == as_read(folder)
        with open(index_file(folder).with_suffix(".lock"), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
