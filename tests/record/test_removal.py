"""Removing runs: what was asked for and nothing else, whatever is linked, locked or lies elsewhere."""

from __future__ import annotations

import json
import signal

import pytest

from tests.launch.test_baselines import SCENARIO
from tests.record.test_record import manifest
from trustml.cli.main import _main
from trustml.launch import prepare
from trustml.record.removal import planned_run, unplanned_runs
from trustml.record.store import RunDirectory, create_run, list_runs


def made(root, name="s", **changes) -> RunDirectory:
    run = create_run(root, name=name)
    run.write_manifest(manifest(run.path.name, **changes))
    return run


def listed(root, capsys) -> dict[str, dict]:
    assert _main(["list", "--runs", str(root), "--json"]) == 0
    return {run["run"]: run for run in json.loads(capsys.readouterr().out)["runs"]}


def test_what_broke_off_while_planning_is_listed_and_removed(tmp_path, capsys):
    whole, broken = made(tmp_path), create_run(tmp_path, name="left")
    (broken.path / "private" / "data.npz").write_bytes(b"x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "away-20260101-000000-abcd").symlink_to(broken.path)
    assert [run.path for run in unplanned_runs(tmp_path)] == [broken.path]
    assert not unplanned_runs(tmp_path, planned={broken.path.name})
    found = listed(tmp_path, capsys)
    assert found[broken.path.name]["status"] == "unplanned"
    assert f"trustml rm {broken.path.name}" in found[broken.path.name]["problem"]
    with broken.lock():
        assert listed(tmp_path, capsys)[broken.path.name]["status"] == "planning"
        assert _main(["rm", broken.path.name, "--runs", str(tmp_path), "--yes"]) == 2
        assert "being run or planned" in capsys.readouterr().err
    assert _main(["rm", broken.path.name, "--runs", str(tmp_path), "--yes"]) == 0
    assert not broken.path.exists() and whole.path.is_dir() and (tmp_path / "notes").is_dir()


def test_a_folder_of_somebody_elses_with_a_manifest_is_no_run(tmp_path, capsys):
    app = tmp_path / "webapp"
    app.mkdir()
    (app / "manifest.json").write_text('{"name": "App", "start_url": "/"}')
    assert _main(["rm", "webapp", "--runs", str(tmp_path), "--yes"]) == 2
    assert "is no run" in capsys.readouterr().err and app.is_dir()
    renamed = made(tmp_path).path.rename(tmp_path / "mine")
    damaged = made(tmp_path).path
    (damaged / "manifest.json").write_text("{")
    for path in (renamed, damaged):
        assert _main(["rm", path.name, "--runs", str(tmp_path), "--yes"]) == 0
        assert not path.exists()


def test_rm_asks_and_needs_yes_where_nobody_answers(tmp_path, capsys, monkeypatch):
    run = made(tmp_path)
    arguments = ["rm", run.path.name, "--runs", str(tmp_path)]
    assert _main(arguments) == 2
    assert "--yes" in capsys.readouterr().err
    (run.path / "jobs" / "train.jax.DPSGD.s0").mkdir(parents=True)
    (run.path / "jobs" / "train.jax.DPSGD.s0" / "ledger.jsonl").write_text("{}\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, err: asked.append(text))
    assert _main(arguments) == 0
    assert run.path.is_dir() and "only record of what its private models spent" in asked[0]
    monkeypatch.setattr("click.confirm", lambda text, err: True)
    assert _main(arguments) == 0
    assert not run.path.exists()


def test_nothing_else_is_removed(tmp_path, capsys):
    root, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    run, other = made(root), made(elsewhere, name="other")
    (root / "folder").mkdir()
    (root / "link-20260101-000000-abcd").symlink_to(other.path)
    for name, words in {
        str(other.path): "is not in the folder of runs",
        f"../elsewhere/{other.path.name}": "is not in the folder of runs",
        f"{run.path.name}/private": "is not in the folder of runs",
        "..": "is not in the folder of runs",
        ".": "is not in the folder of runs",
        "link-20260101-000000-abcd": "is a link",
        "folder": "is no run",
        "s": "write it in full",
        "latest": "write it in full",
        "": "write it in full",
    }.items():
        assert _main(["rm", run.path.name, name, "--runs", str(root), "--yes"]) == 2, name
        assert words in capsys.readouterr().err, name
    assert run.path.is_dir() and other.path.is_dir() and (root / "folder").is_dir()


def test_links_inside_a_run_are_removed_and_not_followed(tmp_path):
    run, kept = made(tmp_path / "runs"), tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("theirs")
    (run.path / "jobs").symlink_to(kept)
    assert _main(["rm", str(run.path), "--runs", str(tmp_path / "runs"), "--yes"]) == 0
    assert (kept / "file").read_text() == "theirs" and list_runs(tmp_path / "runs") == []


def test_planning_that_fails_or_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)), planned_run(tmp_path, name="s") as run:
            assert run.is_executed() and unplanned_runs(tmp_path)
            raise error
        assert list(tmp_path.iterdir()) == []
    with planned_run(tmp_path, name="s") as run:
        run.write_manifest(manifest(run.path.name))
    assert not run.is_executed() and len(list_runs(tmp_path)) == 1
    monkeypatch.setattr(prepare, "_write_inputs", lambda *_: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare_run(SCENARIO, root=tmp_path)
    signal.signal(signal.SIGINT, before)
    assert len(list(tmp_path.iterdir())) == 1
