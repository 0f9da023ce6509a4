"""Finding runs: filters of the list, completion, and what was meant where a name is wrong."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.test_cli import assert_one_clear_line, called
from tests.records import copy_of
from trustml.scenario.fields import fields_below


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("list") / "runs"
    now = datetime.datetime.now(datetime.UTC)
    for name, hours in (("private", 1), ("federated", 50), ("study", 900)):
        run = copy_of(name, folder)
        created = (now - datetime.timedelta(hours=hours)).isoformat(timespec="seconds")
        run.directory.write_manifest(replace(run.manifest, created=created))
    (folder / "damaged-20260101-000000-abcd").mkdir()
    (folder / "damaged-20260101-000000-abcd" / "manifest.json").write_text("{")
    (folder / "broken-20260101-000000-abcd").mkdir()
    return folder


def names(runs: Path, *options: str) -> list[str]:
    done = called("list", "--runs", runs, "--json", *options)
    assert done.returncode == 0, done.stderr
    return sorted(run["run"].split("-")[0] for run in json.loads(done.stdout)["runs"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["broken", "damaged", "federated", "private", "study"]),
        (("--status", "damaged"), ["damaged"]),
        (("--status", "success", "--status", "unplanned"), ["broken", "federated", "private", "study"]),
        (("--regime", "FedAvg"), ["federated"]),
        (("--regime", "dpsgd", "--regime", "dpfedavg"), ["federated"]),
        (("--regime", "Stopped"), ["study"]),
        (("--regime", "Fed"), []),
        (("--since", "2h"), ["private"]),
        (("--since", "3d"), ["federated", "private"]),
        (("--since", "2020-01-01"), ["federated", "private", "study"]),
        (("--since", "2999-01-01"), []),
        (("--data", "BREASTCANCER"), ["study"]),
        (("--data", "nothing of the kind"), []),
    ],
)
def test_all_filters_must_hold(runs, options, expected):
    assert names(runs, *options) == expected


def test_epsilons_are_those_of_the_statements(runs):
    from trustml import load

    epsilons = {
        path.name.split("-")[0]: [one.epsilon for one in load(path).privacy()]
        for path in runs.iterdir()
        if path.name.startswith(("private", "federated", "study"))
    }
    limit = sorted(min(found) for found in epsilons.values())[1]
    assert names(runs, "--epsilon-below", str(limit)) == sorted(n for n, e in epsilons.items() if min(e) < limit)
    assert len(names(runs, "--epsilon-below", str(limit))) == 1
    assert names(runs, "--epsilon-below", "1e9", "--status", "success") == sorted(epsilons)


def test_a_hash_of_data_is_found_by_its_beginning(runs):
    from trustml import load

    (path,) = runs.glob("study-*")
    assert names(runs, "--data", load(path).manifest.data.fingerprint[:12]) == ["study"]


@pytest.mark.parametrize("when", ["yesterday", "7x", "", "99999w", "2026-13-01"])
def test_a_time_that_is_none_is_refused(runs, when):
    done = called("list", "--runs", runs, "--since", when)
    assert done.returncode == 2 and "--since" in done.stderr and "7d" in done.stderr


def test_a_plot_shows_each_model_at_its_place(runs):
    (path,) = runs.glob("federated-*")
    lines = called("show", path, "--plot").stdout.splitlines()
    table = json.loads(called("show", path, "--json").stdout)["measures"]
    scores = {row["regime"]: row for row in table if row["measure"] == "accuracy" and row["value"] is not None}
    points = {line.split()[0]: line.find("●") for line in lines[2:]}
    assert set(points) == set(scores) and min(points.values()) > 0
    by_score = sorted(scores, key=lambda name: scores[name]["value"])
    assert [points[name] for name in by_score] == sorted(points.values())
    for line in lines[2:]:
        start, point, end = line.find("├"), line.find("●"), line.find("┤")
        assert start < point < end
    refused = called("show", path, "--plot", "--json")
    assert refused.returncode == 2 and "--plot" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "privat-20261129"), ("did you mean private-",)),
        (("run", "digit"), ("did you mean digits?",)),
        (("run", "scenarios/digts.py"), ("no such scenario file", "did you mean scenarios/digits.py?")),
        (("run", "scenarios/digits.tom"), ("no such file", "did you mean")),
        (("run", "zzzzz"), ("ready are",)),
        (("run", "digits", "--set", "traning.0.epochs=1"), ("did you mean training?",)),
    ],
)
def test_what_was_meant_is_told(runs, arguments, words):
    done = called(*arguments, "--runs", runs)
    assert_one_clear_line(done, *words, folder=runs / "none")


def test_a_command_that_was_meant_is_told():
    done = called("rnu")
    assert done.returncode == 2 and "did you mean run?" in done.stderr
    assert "--help" in called("zzzzzz").stderr


def completed(runs: Path, *words: str) -> list[str]:
    from click.shell_completion import ShellComplete

    from trustml.cli.main import trustml

    *before, last = words
    return [item.value for item in ShellComplete(trustml, {}, "trustml", "_C").get_completions(before, last)]


def test_a_shell_completes_runs_scenarios_and_fields(runs):
    found = {path.name for path in runs.iterdir() if (path / "manifest.json").exists()}
    (private,) = (name for name in found if name.startswith("private"))
    for command in ("show", "compare", "explain", "ledger", "bundle", "verify", "rm", "attach", "cancel"):
        assert completed(runs, command, "--runs", str(runs), "privat") == [private], command
    assert set(completed(runs, "run", "--runs", str(runs), "--resume", "")) == {"latest", *found}
    assert completed(runs, "run", "dig")[0] == "digits"
    assert "jobs" in completed(runs, "jo")
    assert "show" in completed(runs, "shw", ""), "a mistake at the prompt is no error there"
    assert completed(runs, "run", "digits", "--set", "training.1.eps") == ["training.1.epsilon="]
    assert "execution.timeout=" in completed(runs, "run", "digits", "--set", "execu")
    assert completed(runs, "run", "digits", "--grid", "training.1.epsilon=1") == []


def test_every_field_of_a_scenario_can_be_completed():
    from trustml.scenario.read import every_field, read_scenario
    from trustml.scenario.ready import find_scenario

    data = every_field(read_scenario(find_scenario("digits")))

    def check(value, path: str) -> None:
        for key, below in value.items():
            offered = fields_below(f"{path}{key}")
            assert f"{path}{key}" in [name.rstrip(".") for name in offered], f"{path}{key}"
            if isinstance(below, dict):
                check(below, f"{path}{key}.")
            if isinstance(below, list) and below and isinstance(below[0], dict):
                check(below[0], f"{path}{key}.0.")

    check(data, "")
    assert fields_below("nothing.") == [] and fields_below("training.1.epsilon.") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell):
    done = called("completion", shell)
    assert done.returncode == 0 and "_TRUSTML_COMPLETE" in done.stdout
    assert_one_clear_line(called("completion", SHELL="/bin/csh"), "csh", "bash", folder=Path("none"))
