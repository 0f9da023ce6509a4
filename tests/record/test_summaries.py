"""Many runs are listed without being read: heads of manifests at most."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from trustml.cli.list import command
from trustml.errors import RecordError
from trustml.record.schema import DataRecord, JobRecord, Manifest
from trustml.record.store import RunDirectory, find_run, list_runs, newest_first

MANIFEST = Manifest(
    run="r",
    status="running",
    created="2026-01-02T03:04:05+00:00",
    scenario={"name": "s", "training": [{"kind": "Plain"}], "backends": ["jax"], "seeds": [0]},
    data=DataRecord(fingerprint="f", train_examples=1, test_examples=1, input_shape=(1,), class_names=("a",)),
    jobs=tuple(
        JobRecord(id=f"{n}", backend="jax", kind="train", regime="Plain", seed=n, digest="", status=status)
        for n, status in enumerate(("ok", "ok", "error"))
    ),
)


@pytest.fixture
def folder(tmp_path):
    """Two hundred runs of two scenarios; every hundredth is damaged."""
    for number in range(200):
        name = f"{'zb'[number % 2]}-x-20260102-{number:06d}-{number:04x}"
        content = msgspec.json.encode(msgspec.structs.replace(MANIFEST, run=name)) if number % 100 else b"{"
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_bytes(content)
    (tmp_path / "no-run").mkdir()
    return tmp_path


def test_runs_are_ordered_by_the_time_in_their_names_and_none_is_opened(folder):
    names = [run.path.name for run in newest_first(folder)]
    assert [int(name.split("-")[3]) for name in names] == list(range(199, -1, -1))
    assert sorted(names) == [run.path.name for run in list_runs(folder)]


def test_a_head_says_what_the_manifest_says(folder):
    run = newest_first(folder)[0]
    head, manifest = run.head(), run.manifest()
    assert (head.run, head.status, head.created) == (manifest.run, manifest.status, manifest.created)
    assert head.scenario.name == "s" and head.data.fingerprint == "f"
    assert [job.status for job in head.jobs] == ["ok", "ok", "error"]
    assert run.shown_status(head.status) == "interrupted"  # nobody executes it
    with pytest.raises(RecordError, match="cannot be read"):
        newest_first(folder)[-1].head()


def test_a_head_of_another_format_is_refused_like_its_manifest(tmp_path):
    for number, problem in ((1, "older"), (99, "newer")):
        content = msgspec.json.encode(msgspec.structs.replace(MANIFEST, format=number))
        (tmp_path / "manifest.json").write_bytes(content)
        with pytest.raises(RecordError, match=problem):
            RunDirectory(tmp_path).head()


def test_a_link_to_a_run_is_the_run(folder, tmp_path):
    places = tmp_path / "elsewhere"
    places.mkdir()
    newest = newest_first(folder)[0].path
    (places / newest.name).symlink_to(newest)
    assert [run.path for run in list_runs(places)] == [newest]
    assert find_run("latest", root=places).path == newest


def test_the_command_lists_all_of_them(folder):
    done = CliRunner().invoke(command, ["--runs", str(folder), "--json"])
    runs = msgspec.json.decode(done.output)["runs"]
    assert len(runs) == 200
    assert [run["status"] for run in runs].count("damaged") == 2
    assert {(run["jobs_ok"], run["jobs"], run["status"]) for run in runs if "jobs" in run} == {(2, 3, "interrupted")}
