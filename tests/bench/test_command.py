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
from trustml.errors import UsageError
from trustml.record import provenance
from trustml.record.provenance import source_revision
from trustml_bench import session
from trustml_bench.command import KINDS
from trustml_bench.process import PACKAGE
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
        pytest.param(("--kind", "magic"), "magic", marks=pytest.mark.long),
        (("--repeats", "0"), "--repeats"),
        (("--from", "nothing.json"), "nothing.json"),
        pytest.param(("--against", "nothing.json"), "nothing.json", marks=pytest.mark.long),
        (("--from", "good.json", "--against", "other.json"), "'something else'"),
        pytest.param(("--from", "good.json", "--full"), "--from", marks=pytest.mark.long),
        pytest.param(("--result", "good.json/x.json"), "good.json/x.json", marks=pytest.mark.long),
        pytest.param(("--resume",), "--result", marks=pytest.mark.long),
        (("--resume", "--result", "good.json"), "cannot be continued"),
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


class Resumed:
    """A benchmark of one group for each engine that goes on with an earlier result, at a clean commit."""

    def __init__(self, path, monkeypatch):
        self.path, self.asked = path, []
        monkeypatch.setattr(session, "measure_group", self.measure)
        monkeypatch.setattr(session, "source_revision", lambda **_: dict(SAME["revision"]))
        monkeypatch.setattr(session, "hardware", lambda: dict(SAME["hardware"]))
        monkeypatch.setattr(session, "switches_in_force", dict)
        monkeypatch.setattr(session, "package_versions", lambda names: {"numpy": "1"})

    def measure(self, group, *, turns, listener):
        self.asked += [one.engine.name for one in group.seats]
        return [measured(one.workload, one.engine.name, 2.0) for one in group.seats], {"jax": {"jax": "0.1"}}

    def run(self, earlier, *names, command="trustml bench", repeats=3):
        groups = [
            Group(
                allocator="tuned",
                seats=tuple(Seat(engine=engine(name), workload=WORKLOAD, judged=True) for name in those.split()),
            )
            for those in names
        ]
        return session.run_benchmark(
            groups,
            path=self.path,
            turns=repeats,
            listener=lambda event: None,
            ceilings=lambda: None,
            earlier=earlier,
            command=command,
        )


SAME = {
    "revision": {"commit": "0123456789abcdef", "changed_files": "0"},
    "hardware": {"processor": "a processor"},
    "versions": {"main": {"numpy": "1"}, "jax": {"jax": "0.1"}},
    "repeats": 3,
}


def medians(found):
    return {one.engine: one.median for one in found.measured}


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    return Resumed(tmp_path / "r.json", monkeypatch)


def test_what_was_interrupted_goes_on(resumed):
    """Groups that are there are kept; those that are missing, or in which an engine failed, are measured."""
    earlier = result(measured(WORKLOAD, "quick", 1.0), absent(WORKLOAD, "breaks"), complete=False, **SAME)
    found = resumed.run(earlier, "quick", "slow", "breaks")
    assert resumed.asked == ["slow", "breaks"] and found.complete
    assert medians(found) == {"quick": 1.0, "slow": 2.0, "breaks": 2.0}
    assert found.created == earlier.created and found.seconds >= earlier.seconds
    again = resumed.run(found, "quick", "slow", "breaks")
    assert again == found and resumed.asked == ["slow", "breaks"]


def test_what_the_file_holds_is_kept_when_something_else_is_chosen(resumed, monkeypatch):
    earlier = result(measured(WORKLOAD, "quick", 1.0), absent(WORKLOAD, "breaks"), complete=False, **SAME)
    found = resumed.run(earlier, "slow", command="trustml bench --engine slow")
    assert medians(read_result(resumed.path)) == medians(found) == {"quick": 1.0, "breaks": None, "slow": 2.0}
    assert not found.complete and found.command == "trustml bench", "the first call is still to be gone on with"
    whole = resumed.run(found, "quick", "slow", "breaks")
    assert whole.complete and resumed.asked == ["slow", "breaks"]
    assert resumed.run(msgspec.structs.replace(whole, complete=False), "quick", "slow").complete
    assert read_result(resumed.path).complete

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "measure_group", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resumed.run(earlier, "breaks quick")
    assert medians(read_result(resumed.path)) == {"quick": 1.0, "breaks": None}, "until it is measured again"


def test_engines_that_took_their_turns_alone_are_measured_together(resumed):
    """A ratio of times of other hours would be one of what the machine did then."""
    alone = resumed.run(resumed.run(None, "quick", command="a"), "slow", command="b")
    assert len({one.begun for one in alone.measured}) <= 2 and resumed.asked == ["quick", "slow"]
    apart = [msgspec.structs.replace(one, begun=one.engine) for one in alone.measured]
    both = resumed.run(msgspec.structs.replace(alone, measured=tuple(apart)), "quick slow")
    assert resumed.asked == ["quick", "slow"] * 2 and len({one.begun for one in both.measured}) == 1


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        ({"revision": {}}, "nothing says which code"),
        ({"revision": {"commit": "f" * 40, "changed_files": "0"}}, "commit ffffffffffff"),
        ({"revision": {"commit": "0123456789abcdef", "changed_files": "2"}}, "files of trustml were changed"),
        ({"revision": {"commit": "0123456789abcdef"}}, "files of trustml were changed"),
        ({"hardware": {"processor": "another"}}, "processor was another, and is a processor"),
        ({"hardware": SAME["hardware"] | {"XLA_FLAGS": "x"}}, "XLA_FLAGS was x, and is not there"),
        ({"repeats": 7}, "--repeats 7, not 3"),
        ({"repeats": 0}, "--repeats unknown"),
        ({"versions": {"main": {"numpy": "2"}}}, "numpy was 2, and is 1"),
        ({"versions": SAME["versions"] | {"jax": {"jax": "0.2"}}}, "jax was 0.2, and is 0.1"),
    ],
)
def test_what_was_measured_in_another_way_is_not_gone_on_with(resumed, earlier, words):
    before = result(measured(WORKLOAD, "quick", 1.0), complete=False, **(SAME | earlier))
    write_result(resumed.path, before)
    with pytest.raises(UsageError, match=words):
        resumed.run(before, "quick", "slow")
    assert read_result(resumed.path) == before
    assert resumed.run(None, "quick").complete


def test_two_results_of_no_commit_are_not_of_the_same_code(resumed, monkeypatch):
    monkeypatch.setattr(session, "source_revision", lambda **_: {})
    with pytest.raises(UsageError, match="nothing says which code"):
        resumed.run(result(**(SAME | {"revision": {}})), "slow")


def test_changed_engines_are_changed_code(monkeypatch):
    told = {"--show-toplevel": str(Path(provenance.__file__).parents[3]), "HEAD": "c"}
    monkeypatch.setattr(provenance, "_git", lambda folder, *words: told.get(words[-1]) or "\n".join(words[3:]))
    assert source_revision() == {"commit": "c", "changed_files": "1"}
    assert source_revision(also=PACKAGE) == {"commit": "c", "changed_files": "2"}


def test_kinds_of_the_command_are_those_of_the_bench():
    assert KINDS == get_args(WorkloadKind)
