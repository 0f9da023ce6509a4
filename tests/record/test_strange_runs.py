"""Run directories of strangers: any file of one may be anything, and no command runs it, follows it or breaks off."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

import trustml
from tests import WHOLE
from tests.auditing.disguises import PLAIN
from tests.records import copy_of, unasked_second_opinion
from trustml.cli.main import _main
from trustml.compare.rows import write_measures
from trustml.measures import privacy_statements
from trustml.privacy.crosscheck import SecondOpinion

pytestmark = [pytest.mark.jax, pytest.mark.timeout(600)]
MODEL, EXPLAINED = "train.jax.DPSGD.s0", "explain.jax.of.jax.DPSGD.s0"
READERS = (
    ("show",), ("show", "--json"), ("show", "--privacy"), ("compare",), ("ledger", "--verify"), ("audit",), ("list",),
    ("explain", "--model", MODEL), ("verify",), ("bundle", "-o", "packed.zip"),
)  # fmt: skip
WRITERS = (("run", "--resume"),)
FILES = (
    "manifest.json", "measures.parquet", "privacy.json", "curves.json", "audit.json", "heldout.npz", "events.jsonl",
    f"jobs/{MODEL}/job.json", f"jobs/{MODEL}/result.json", f"jobs/{MODEL}/ledger.jsonl",
    f"jobs/{MODEL}/weights.safetensors", f"jobs/{MODEL}/predictions.npz", "explained/attributions.npz",
    "explained/probes.npz", "explained/job.json", "private/data.npz", ".lock",
)  # fmt: skip
SHORT = ("manifest.json", "measures.parquet", f"jobs/{MODEL}/ledger.jsonl")
"""Files that are looked at in the short form; the others take minutes."""
SOME_FILES = [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in FILES]
FEW = (
    "nothing", "a pickle", "arrays of objects", "arrays of 2**40", "a deep JSON", "a list", "no text",
    "a table of objects", "weights of 2**40", "a JSON of another kind",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> trustml.Run:
    """One private model, explained: every command computes its epsilon anew."""
    run = copy_of("twice", tmp_path_factory.mktemp("runs"))
    kept = tuple(job for job in run.manifest.jobs if job.seed == 0)
    scenario = {**run.manifest.scenario, "seeds": [0]}
    run.directory.write_manifest(replace(run.manifest, jobs=kept, scenario=scenario))
    for folder in run.path.glob("jobs/*.s1"):
        shutil.rmtree(folder)
    with unasked_second_opinion():
        write_measures(run.directory)
    return run


@pytest.fixture
def strange(finished, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(
        privacy_statements, "prv_epsilons", lambda models: [SecondOpinion(why="not asked in this test") for _ in models]
    )
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished.path, tmp_path / "runs" / "strange"))


def place_of(run: Path, name: str) -> Path:
    if name.startswith("explained/"):
        return run / "jobs" / EXPLAINED / name.removeprefix("explained/")
    return run / name


def called(capsys, command: tuple[str, ...], run: Path) -> None:
    target = ["--root", str(run.parent)] if command[0] == "list" else [str(run)]
    code = _main([command[0], *command[1:], *target])
    shown = capsys.readouterr()
    assert code in (0, 1, 2, 4), (command, code, shown.err)
    assert "Traceback" not in shown.err and "Internal error" not in shown.err, (command, shown.err)
    if code == 2:
        assert shown.err.strip(), command


def some_readers(first: int) -> list[tuple[str, ...]]:
    """Three commands, the next each time: between them ten contents meet every command three times."""
    return [READERS[(first + number) % len(READERS)] for number in range(3)]


@pytest.mark.parametrize("name", SOME_FILES)
def test_any_file_may_be_anything(strange, capsys, name):
    contents = PLAIN if WHOLE else FEW
    path, sentinel = place_of(strange, name), strange.parents[1] / "sentinel"
    for place, content in enumerate(contents):
        path.unlink(missing_ok=True)
        path.write_bytes(PLAIN[content](sentinel))
        for command in READERS if WHOLE else some_readers(3 * place):
            called(capsys, command, strange)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", SOME_FILES)
@pytest.mark.parametrize("kind", ["a pipe", "an endless link", "a link elsewhere"])
def test_links_and_pipes_are_not_followed(strange, capsys, name, kind):
    path, elsewhere = place_of(strange, name), strange.parents[1] / "elsewhere"
    path.unlink(missing_ok=True)
    elsewhere.write_bytes(b"theirs")
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "an endless link" else elsewhere)
    first = ("a pipe", "an endless link", "a link elsewhere").index(kind) * 3
    for command in (*(READERS if WHOLE else (*some_readers(first), READERS[-1])), *WRITERS):
        called(capsys, command, strange)
    assert elsewhere.read_bytes() == b"theirs"


def test_a_folder_that_is_a_link_elsewhere_is_not_written_to(strange, capsys):
    elsewhere = strange.parents[1] / "elsewhere"
    shutil.move(strange / "jobs", elsewhere)
    (strange / "jobs").symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    assert _main(["run", "--resume", str(strange)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
