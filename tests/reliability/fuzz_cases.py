"""Every reader is given a few changed files; ``python -m tests.reliability.fuzz`` gives it thousands."""

from __future__ import annotations

import random

import pytest

from tests import WHOLE
from tests.reliability import fuzz as fuzzing
from tests.reliability.fuzz import fuzz
from tests.reliability.launched import imported
from tests.reliability.mutate import MARKUP, changed_value, places
from tests.reliability.readers import READERS, BrokenOffError, Reader, command
from trustml.errors import DataError

SLOW = ("checkpoint folder", "model (Keras)", "model (ONNX)", "bundle", "draft of a CSV", "draft of JSON lines")
"""Readers that import for a second, or read for one."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True, scope="module")
def _once():
    imported()  # here once, and not in every fork


def is_slow(name: str) -> bool:
    return name in SLOW or (name.startswith("run: ") and name != "run: manifest")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if is_slow(name) else name for name in READERS]
)
def test_a_changed_file_is_read_or_refused_in_one_line(name):
    count = 40 if WHOLE else 4 if name.startswith(("run: ", "audit")) else 25
    found = fuzz(name, seeds=range(count), seconds=300)
    assert not found.faults, found.faults
    assert found.read + found.refused == count


FAULTS = {
    "an exception of another kind": (lambda path: {}["key"], "KeyError"),
    "an error of two lines": (lambda path: (_ for _ in ()).throw(_two_lines()), "of no one line"),
    "a program is started": (lambda path: __import__("os").system("true"), "did what none may: os.system"),
    "something is unpickled": (
        lambda path: __import__("pickle").loads(b"cos\nsystem\n."), "did what none may: pickle.find_class"),
    "a file outside is written": (lambda path: open("/dev/shm/trustml91", "w").close(), "did what none may: wrote"),
    "memory swells": (lambda path: bytearray(6 << 30), "MemoryError"),
    "it crashes": (lambda path: __import__("os").abort(), "SIGABRT"),
    "it hangs": (lambda path: [None for _ in iter(int, 1)], "SIGPROF"),
}  # fmt: skip


def _two_lines() -> DataError:
    error = DataError("one")
    error.args = ("one\ntwo",)
    return error


@pytest.mark.parametrize("name", FAULTS)
def test_what_none_may_do_is_found(name, monkeypatch, tmp_path):
    does, words = FAULTS[name]

    def read(path):
        if path.read_bytes() != b"good":
            does(path)

    def make(folder):
        (folder / "a").write_bytes(b"good")
        return folder / "a"

    monkeypatch.setitem(READERS, "made", Reader(make=make, change=lambda generator, content: b"bad", read=read))
    monkeypatch.setattr(fuzzing, "SECONDS", 0.2)
    found = fuzz("made", seeds=range(1), seconds=60)
    assert len(found.faults) == 1 and words in found.faults[0], found.faults


def test_what_a_command_prints_is_looked_at(monkeypatch):
    from trustml.cli import main

    for printed, words in (("\x1b]0;title\x07", "printed"), ("Internal error: x", "ended with")):
        monkeypatch.setattr(main, "_main", lambda arguments, printed=printed: print(printed) or 0)
        with pytest.raises(BrokenOffError, match=words):
            command("show")


def test_changes_reach_every_place_of_a_document():
    document = {"a": [1, {"b": "x"}], "c": None}
    assert set(places(document)) == {("a",), ("c",), ("a", 0), ("a", 1), ("a", 1, "b")}
    changed = [changed_value(random.Random(seed), document) for seed in range(300)]
    assert document == {"a": [1, {"b": "x"}], "c": None}
    assert any(MARKUP in str(one) for one in changed) and any("b" not in str(one) for one in changed)
