"""``trustml bench`` with engines of no library: exit codes, files, Ctrl-C, the gate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import msgspec
import psutil
import pytest

from tests.bench.fakes import WORKLOAD, absent, engine, measured, result
from trustml.record.provenance import source_revision
from trustml_bench import session
from trustml_bench.command import KINDS
from trustml_bench.results import read_result, write_result
from trustml_bench.selection import Group, Seat
from trustml_bench.workloads import Workload, WorkloadKind

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "benchmarks")))
# The command with a table of fakes, and without measuring the machine.
FAKES = """
import sys
from tests.bench import fakes
from trustml_bench import machine, places, selection, session
given = {given}
engines = tuple(fakes.engine(name, role="floor") for name in given)
selection.choose_groups.__defaults__ = (engines, ())
session.run_benchmark.__kwdefaults__["ceilings"] = lambda: None
selection.DEFAULT = {groups}
real = places.switch_variables
places.switch_variables = lambda execution: real(execution) | {{"PYTHONPATH": {root!r}}}
from trustml.cli.main import _main
sys.exit(_main(["bench", *sys.argv[1:]]))
"""
GROUP = "((fakes.WORKLOAD,),)"
PRIVATE = Workload(kind="private_step", network="mlp", size=256)
PLAIN = Workload(kind="plain_step", network="mlp", size=256)


def command(*names: str, groups: str = GROUP) -> list[str]:
    return [sys.executable, "-c", FAKES.format(given=names, groups=groups, root=str(ROOT))]


def bench(cwd: Path, *arguments, names=("quick",), groups: str = GROUP) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*command(*names, groups=groups), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PATHS},
        stdin=subprocess.DEVNULL,
    )


def some(private: float):
    """Two engines that a bar compares."""
    return result(
        measured(PLAIN, "jax plain", 0.002, role="floor"), measured(PRIVATE, "trustml jax", private, role="ours")
    )


def test_it_measures_writes_and_shows(tmp_path):
    done = bench(tmp_path, "--allocator", "both", "--repeats", 2, "--write-docs", "page.md", names=("quick", "breaks"))
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs" / "benchmarks").glob("*.json")
    found = read_result(path)
    assert found.complete and found.command == "trustml bench --allocator both --repeats 2"
    assert [(one.engine, one.allocator, one.status) for one in found.measured] == [
        ("quick", "tuned", "ok"),
        ("breaks", "tuned", "failed"),
        ("quick", "default", "ok"),
        ("breaks", "default", "failed"),
    ]
    assert "KeyError" in done.stdout and "not measured" in done.stdout
    assert "failed: breaks" in done.stderr and str(path.name) in done.stderr
    assert "| quick (floor) |" in (tmp_path / "page.md").read_text()
    listed = bench(tmp_path, "--list")
    assert listed.returncode == 0 and "plain_step/small_mlp/4" in listed.stdout


def test_ctrl_c_keeps_what_was_measured_and_ends_all(tmp_path):
    groups = "tuple((fakes.WORKLOAD.__class__(kind='plain_step', network='small_mlp', size=n),) for n in range(1, 50))"
    process = subprocess.Popen(
        [*command("quick", groups=groups), "--result", "r.json", "--repeats", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
        start_new_session=True,
    )
    path = tmp_path / "r.json"
    deadline = time.monotonic() + 60
    engines: list[psutil.Process] = []
    while not engines or not json.loads(path.read_text())["measured"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        engines = psutil.Process(process.pid).children() if path.exists() else []
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    found = read_result(path)
    assert not found.complete and found.measured[0].status == "ok"
    assert "interrupted" in err and "Traceback" not in err
    assert "not complete" in out
    assert not [engine for engine in engines if engine.is_running()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "nobody"), "nothing to measure is left"),
        (("--kind", "magic"), "magic"),
        (("--repeats", "0"), "--repeats"),
        (("--from", "nothing.json"), "nothing.json"),
        (("--against", "nothing.json"), "nothing.json"),
        (("--from", "good.json", "--against", "other.json"), "'something else'"),
        (("--from", "good.json", "--full"), "--from"),
        (("--result", "good.json/x.json"), "good.json/x.json"),
        (("--resume",), "--result"),
        (("--resume", "--result", "good.json"), "commit 0123456789ab"),
    ],
)
def test_usage_errors_are_a_message(tmp_path, arguments, words):
    write_result(tmp_path / "good.json", some(0.002))
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_gate_names_what_is_worse(tmp_path):
    write_result(tmp_path / "old.json", some(0.002))
    write_result(tmp_path / "new.json", some(0.003))
    same = bench(tmp_path, "--from", "old.json", "--against", "old.json")
    assert same.returncode == 0 and "0 worse" in same.stderr
    worse = bench(tmp_path, "--from", "new.json", "--against", "old.json")
    assert worse.returncode == 1
    assert "trustml jax / floor of its framework" in worse.stderr
    allowed = bench(tmp_path, "--from", "new.json", "--against", "old.json", "--allowance", "0.6")
    assert allowed.returncode == 0


def test_json_is_the_result(tmp_path):
    write_result(tmp_path / "r.json", some(0.002))
    done = bench(tmp_path, "--from", "r.json", "--json")
    assert msgspec.json.decode(done.stdout.encode()) == json.loads((tmp_path / "r.json").read_text())


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    """Groups that are there are kept; those that are missing, or in which an engine failed, are measured."""
    names = ["quick", "slow", "breaks"]
    seats = [Seat(engine=engine(name), workload=WORKLOAD, judged=True) for name in names]
    groups = [Group(allocator="tuned", seats=(one,)) for one in seats]
    asked: list[str] = []

    def measure(group, *, turns, listener):
        (one,) = group.seats
        asked.append(one.engine.name)
        return [measured(one.workload, one.engine.name, 2.0)], {}

    monkeypatch.setattr(session, "measure_group", measure)
    commit = source_revision()
    earlier = result(measured(WORKLOAD, "quick", 1.0), absent(WORKLOAD, "breaks"), revision=commit, complete=False)
    given = {"turns": 3, "listener": lambda event: None, "ceilings": lambda: None}
    found = session.run_benchmark(groups, path=tmp_path / "r.json", earlier=earlier, **given)
    assert asked == ["slow", "breaks"] and found.complete
    assert {one.engine: one.median for one in found.measured} == {"quick": 1.0, "slow": 2.0, "breaks": 2.0}
    assert found.created == earlier.created and found.seconds >= earlier.seconds
    again = session.run_benchmark(groups, path=tmp_path / "r.json", earlier=found, **given)
    assert again == found and asked == ["slow", "breaks"]


def test_kinds_of_the_command_are_those_of_the_bench():
    assert KINDS == get_args(WorkloadKind)
