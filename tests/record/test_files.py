"""Files that take each other's place, and what is left of a writer that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from trustml.errors import RecordError
from trustml.record.files import encode_arrays, read_arrays, remove_half_written, replacing, write_atomic


def killed_while_writing(path) -> str:
    """Let a process be killed in the middle of a file; give the name of what it left."""
    before = set(path.parent.iterdir())
    code = (
        "import os, signal, pathlib\n"
        "from trustml.record.files import replacing\n"
        f"with replacing(pathlib.Path({str(path)!r})) as stream:\n"
        "    stream.write(b'half')\n"
        "    stream.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    return left.name


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "jobs" / "a" / "manifest.json"
    write_atomic(path, b"whole")
    left = killed_while_writing(path)
    names = (".lock", ".hidden", "manifest.json.abcdefgh", ".a.ABCDEFGH", ".env.template", ".notes.markdown")
    names += (".x.download", ".a.json.template", ".a.json.draft_v2")
    others = [folder / name for name in names for folder in (path.parent, tmp_path)]
    others += [tmp_path / ".notes.json.a1b2c3d4", tmp_path / ".trustml-half-written.md"]
    for other in others:
        other.write_bytes(b"theirs")
    old = path.with_name(".result.json.a1b2c3d4")  # of a version before
    old.touch(mode=0o600)
    with replacing(path.with_name("events.jsonl")) as stream:  # somebody writes this one now
        stream.write(b"more")
        remove_half_written(tmp_path)
    assert not path.with_name(left).exists() and not old.exists()
    assert path.read_bytes() == b"whole" and path.with_name("events.jsonl").read_bytes() == b"more"
    assert all(other.read_bytes() == b"theirs" for other in others)


def test_a_link_of_such_a_name_is_left_and_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    link = tmp_path / "run" / ".trustml-half-written.abcdefgh"
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    remove_half_written(link.parent)
    assert link.is_symlink() and elsewhere.read_bytes() == b"theirs"


def test_an_array_that_is_not_there_is_told_like_other_damage(tmp_path):
    (tmp_path / "a.npz").write_bytes(encode_arrays({"here": np.arange(3)}))
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == ["here"] and found["here"].tolist() == [0, 1, 2] and found.get("first.moved") is None
    with pytest.raises(RecordError, match=r"a\.npz: holds no array 'first\.moved'"):
        found["first.moved"]
