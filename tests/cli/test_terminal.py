"""What a stranger's record says is shown as text; output that cannot be written or is not read ends as it should."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import box
from rich.box import Box
from rich.table import Table

from tests.cli.test_cli import called
from trustml.cli import main
from trustml.cli.output import console


def shown(text: str) -> str:
    stream = io.StringIO()
    out = console(stream)
    out.print(text, soft_wrap=True)
    table = Table(text, title=text)
    table.add_row(text)
    out.print(table)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text",
    ["[/x]", "[red]", "got list[int]", "[link=http://a]b[/link]", ":smile:", "\x1b[31m", "\x1b]0;t\x07", "\x9b2J"],
)
def test_brackets_stay_and_control_characters_are_written_out(text):
    out = shown(text)
    assert out.count(text.encode("unicode_escape").decode() if "\x1b" in text or "\x9b" in text else text) == 4
    assert not any((ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160 for one in out)


@given(st.text())
def test_any_text_can_be_shown(text):
    out = shown(text)
    assert not any((ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160 for one in out)


@given(st.text())
def test_a_line_stays_one_line(text):
    stream = io.StringIO()
    console(stream).print(f"note: {text}", soft_wrap=True)
    assert stream.getvalue().count("\n") == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_prose_is_broken_between_words_on_a_terminal_and_commands_are_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    prose, command = "a note of many words " * 15, "trustml run --resume " + "x" * 80
    stream = _Terminal()
    console(stream).print(prose.strip(), soft_wrap=True)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 60 and " ".join(line.strip() for line in lines) == prose.strip()
    stream = _Terminal()
    console(stream).verbatim(command)
    assert stream.getvalue().splitlines() == [command]
    stream = io.StringIO()
    console(stream).print(prose.strip(), soft_wrap=True)
    assert stream.getvalue() == prose.strip() + "\n", "whole where a program reads it"


def _table(*columns: str, rows: int = 3, box: Box | None = None) -> Table:
    table = Table(title="a table of " + "many words " * 3, box=box, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name.startswith("number") else "left")
    for row in range(rows):
        cells = {"kind": "same for all", "prose": f"words of row {row} that go on " * 3}
        table.add_row(*(cells.get(name, f"{name}/{row} [0.{row}00, 0.900]") for name in columns))
    return table


@pytest.mark.parametrize("box", [None, box.HEAVY_HEAD])
@pytest.mark.parametrize("width", [70, 80, 100])
def test_a_table_that_is_too_wide_comes_in_parts_that_name_their_rows(monkeypatch, width, box):
    monkeypatch.setenv("COLUMNS", str(width))
    names = ["kind", "name", *(f"number{at}" for at in range(6)), "prose"]
    stream = io.StringIO()
    console(stream).print(_table(*names, box=box))
    lines = stream.getvalue().splitlines()
    parts = sum("(" in line and " of " in line and line.startswith("a table of") for line in lines)
    assert max(map(len, lines)) <= width and parts > 1
    for row in range(3):
        for at in range(6):
            assert sum(f"number{at}/{row} [0.{row}00, 0.900]" in line for line in lines) == 1, "never folded"
        assert sum(f"name/{row} [" in line for line in lines) == parts, "in each part it is said whose row it is"
    assert stream.getvalue().count("words") >= 3 * 3, "prose is folded, not cut"


def test_a_table_that_fits_stays_as_it_is_and_prose_is_folded_before_a_table_is_parted(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    console(stream).print(_table("name", "number"))
    assert len(stream.getvalue().splitlines()) == 6 - 1 and "(1 of" not in stream.getvalue()
    stream = io.StringIO()
    console(stream).print(_table("name", "prose"))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80 and "(1 of" not in stream.getvalue() and len(lines) > 5
    monkeypatch.delenv("COLUMNS")
    stream = io.StringIO()
    console(stream).print(_table("name", "prose"))
    assert max(map(len, stream.getvalue().splitlines())) > 80, "a file of unknown reader is broader"


def test_a_table_as_wide_as_its_place_stays_whole_and_a_later_part_leaves_out_rows_without_a_cell(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("name", "other", box=None, pad_edge=False)
    table.add_row("n" * 19, "o" * 19)
    stream = io.StringIO()
    console(stream).print(table)
    assert stream.getvalue().splitlines()[1:] == ["n" * 19 + "  " + "o" * 19]
    table = Table("name", "number", "reason", box=None, pad_edge=False)
    for row in range(3):
        table.add_row(f"row {row} of them", "1" * 20, "r" * 20 if row == 1 else "")
    stream = io.StringIO()
    console(stream).print(table)
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert [line[1] for line in lines if line[0] == "row"] == ["0", "1", "2", "1"]


def test_a_damaged_or_evil_run_does_not_hide_the_others(tmp_path):
    for name, content in {
        "deep-20260101-000000-aaaa": "[" * 200_000,
        "[red]x-20260101-000000-bbbb": '{"run": "\\u001b[31m[/x]", "jobs": 3}',
    }.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text(content)
    done = called("list", cwd=tmp_path)
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "deep-20260101-000000-aaaa" in done.stdout and "[red]x-20260101-000000-bbbb" in done.stdout
    done = called("show", "latest", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    done = called("run", "digits", "--json", "-o", tmp_path / "nowhere" / "out.json", cwd=tmp_path)
    assert done.returncode == 2 and "cannot be written" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG])
def test_what_the_system_refuses_is_one_line_and_exit_2(monkeypatch, capsys, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), "/some\x1b/file")

    monkeypatch.setattr(main.trustml, "main", refuse)
    assert main._main(["list"]) == main.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"Error: /some\x1b/file: ") and "; " in line


def test_nobody_reading_is_no_failed_check(tmp_path):
    command = f'{sys.executable} -m trustml.cli schema | head -c 1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
    for _ in range(3):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
