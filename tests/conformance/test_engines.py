"""Other people's engines: the table of them, their faults' programs, and the page that is made of what was found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from trustml.cli.conformance import command
from trustml.conformance.findings import CheckResult
from trustml.errors import UsageError
from trustml.launch.benchmarks import bench_module
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "benchmarks" / "results" / "conformance.json"
catalogue, faults, page, results = (
    bench_module(f"conforming.{name}") for name in ("catalogue", "faults", "page", "results")
)


def test_at_least_eight_engines_of_six_libraries_were_checked_and_the_page_is_of_them():
    checked = results.read_checked(KEPT)
    assert {one.engine for one in checked} == {engine.name for engine in catalogue.ENGINES}
    assert len(checked) >= 8 and not [one.problem for one in checked if one.problem]
    assert len({next(iter(one.versions)) for one in checked}) >= 6
    assert all(len(one.findings) >= 20 for one in checked)
    assert (ROOT / "docs" / "conformance.md").read_text("utf-8") == page.conformance_page(checked)


def test_a_fault_that_the_suite_finds_is_one_of_an_engine_that_failed():
    failed = {one.engine for one in results.read_checked(KEPT) if any(not finding.passed for finding in one.findings)}
    assert {engine for fault in faults.FAULTS for engine in fault.engines} <= failed
    files = {path.stem for path in faults.REPRODUCTIONS.glob("*.py")}
    assert files == {fault.reproduction for fault in faults.FAULTS}
    for fault in faults.FAULTS:
        title, text = fault.told()
        assert title and text


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [fault.reproduction for fault in faults.FAULTS if fault.environment in ("torch", "jax", "tensorflow")]
)
def test_a_fault_is_still_there(name):
    """One that is mended ends with 0, and then trustml need not go round it any more."""
    fault = next(fault for fault in faults.FAULTS if fault.reproduction == name)
    python = find_environment(fault.environment).require()
    ran = subprocess.run([str(python), str(fault.path)], capture_output=True, text=True)
    assert ran.returncode == faults.STILL_THERE, ran.stdout + ran.stderr


def test_a_page_says_what_failed_and_what_did_not_run():
    checked = [
        results.CheckedEngine(
            engine="opacus",
            versions={"opacus": "1"},
            findings=(
                CheckResult(check="a", passed=True, subject="opacus, mlp"),
                CheckResult(check="a", passed=False, subject="opacus, cnn", measured=2.0, allowed=1.0, diagnosis="why"),
            ),
        ),
        results.CheckedEngine(engine="pfl", problem="no pfl here"),
    ]
    text = page.conformance_page(checked)
    assert "| a | **FAILED** 1 of 2 |" in text and "1 of 2 |" in text
    assert "- opacus, cnn: a (measured 2, allowed 1): why" in text
    assert "Did not run: no pfl here" in text


def test_the_command_shows_what_was_kept(tmp_path):
    kept = tmp_path / "kept.json"
    finding = CheckResult(check="a", passed=False, subject="opacus, cnn", diagnosis="why")
    kept.write_bytes(msgspec.json.encode([results.CheckedEngine(engine="opacus", findings=(finding,))]))
    ran = CliRunner().invoke(command, ["--from", str(kept)], standalone_mode=False)
    assert ran.return_value == 1 and "FAILED opacus, cnn: a: why" in ran.stdout


def test_markup_of_a_stranger_is_text():
    bad = "<img src=x onerror=alert(1)> a|b"
    findings = (CheckResult(check=bad, passed=False, subject=bad, diagnosis=bad),)
    text = page.conformance_page([results.CheckedEngine(engine="opacus", versions={"opacus": bad}, findings=findings)])
    assert "<img" not in text and "a\\|b" in text and "a|b" not in text


def test_an_engine_that_cannot_run_loses_nothing(tmp_path, monkeypatch):
    commands = bench_module("conforming.command")
    kept = tmp_path / "kept.json"
    finding = CheckResult(check="a", passed=True)
    before = [results.CheckedEngine(engine=name, findings=(finding,)) for name in ("pfl", "opacus")]
    kept.write_bytes(msgspec.json.encode(before))
    gone = results.CheckedEngine(engine="pfl", problem="no pfl here")
    monkeypatch.setattr(commands, "check_engine", lambda engine: gone)
    told = []
    found = commands.check_engines(["pfl"], kept=kept, tell=told.append)
    assert [one.engine for one in found] == ["opacus", "pfl"] and found == results.read_checked(kept)[::-1]
    assert not [one.problem for one in found] or "no pfl here" in told[-1]
    assert commands.outdated(found) == ["opacus", "pfl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "opacuss"], "--engine: 'opacuss' is none; there are all, opacus, "),
        (["--from", "/nowhere.json"], "/nowhere.json: no result of `trustml conformance --engine`"),
        (["--engine", "pfl", "--backend", "jax"], "give one"),
        (["--write-docs", "page.md"], "give --engine too"),
        (["--from", "kept.json", "--result", "new.json"], "leave out --engine and --result"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments, message):
    ran = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert message in str(ran.exception)
    assert isinstance(ran.exception, UsageError | click.UsageError)
