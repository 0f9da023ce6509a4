"""What processes of the tests compiled is shared once it is whole, and found again."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from tests.compiled import CompiledPrograms


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return tmp_path / "compiled"


def folder_in_force() -> Path:
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


def test_what_is_whole_is_shared_and_found_again(root):
    one, of_one = CompiledPrograms(root), folder_in_force()
    other, of_other = CompiledPrograms(root), folder_in_force()
    assert of_one != of_other
    program = zlib.compress(os.urandom(1000))
    (of_one / "whole-cache").write_bytes(program)
    (of_one / "torn-cache").write_bytes(program[:-3])
    one.exchange()
    other.exchange()
    assert [path.name for path in of_other.iterdir()] == ["whole-cache"]
    for programs in (one, other):
        programs.close()
    CompiledPrograms(root)
    assert (folder_in_force() / "whole-cache").read_bytes() == program


def test_what_a_killed_process_left_is_deleted(root):
    CompiledPrograms(root).close()
    left = root / f"process-{2**22 + 1}-x"  # no process has such a number
    left.mkdir()
    CompiledPrograms(root)
    assert not left.exists() and folder_in_force().exists()


def test_where_others_can_write_nothing_is_kept(root):
    root.mkdir(mode=0o755)
    programs = CompiledPrograms(root)
    assert root not in folder_in_force().parents
    programs.close()
    assert not folder_in_force().exists()
