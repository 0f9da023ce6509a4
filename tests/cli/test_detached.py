"""A detached run: real processes that outlive who started them, are watched, ended and gone on with."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

import psutil
import pytest

import trustml as api
from tests.cli.test_cli import assert_one_clear_line, called, toml
from tests.records import copy_of
from trustml.privacy.ledger import read_ledger

PLAIN = '[[training]]\nkind = "Plain"\nepochs = 3000\n'
PRIVATE = '[[training]]\nkind = "DPSGD"\nepochs = 400\nnoise_multiplier = 2.0\n'


@pytest.mark.jax
@pytest.mark.timeout(120)
@pytest.mark.parametrize("regime", [PLAIN, pytest.param(PRIVATE, marks=pytest.mark.long)], ids=["plain", "private"])
def test_a_detached_run_is_watched_and_cancelled_with_its_ledger_whole(regime, tmp_path):
    scenario = toml(tmp_path / "s.toml", training=regime + "[explanations]\nmethods = []\n")
    done = called("run", scenario, "--detach", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    pid, run = told["pid"], api.load(told["path"])
    assert os.getsid(pid) == os.getpgid(pid) == pid != os.getsid(0), "it would end with the terminal"
    try:
        for option in ([], ["--detach"]):
            refused = called("run", "--resume", run.id, *option, cwd=tmp_path)
            assert_one_clear_line(refused, "is being run", folder=tmp_path / "elsewhere")
        step = None
        deadline = time.monotonic() + 60
        while not step:
            assert time.monotonic() < deadline
            (job,) = json.loads(called("jobs", "--json", cwd=tmp_path).stdout)["jobs"]
            step = next((one["step"] for one in job["running"] if one["step"]), None)
            time.sleep(0.6)  # each question is a process
        assert (job["run"], job["pid"], job["jobs"]) == (run.id, pid, 1)
        assert called("cancel", run.id, cwd=tmp_path).returncode == 0
        assert not run.directory.is_executed()
    finally:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    (record,) = run.manifest.jobs
    assert (run.status, record.status, record.reason) == ("interrupted", "interrupted", "stopped by the user")
    if regime == PRIVATE:
        spent = read_ledger(run.path / "jobs" / record.id / "ledger.jsonl")
        assert sum(entry.steps for entry in spent) >= step
        assert [one.steps for one in run.privacy()] == [sum(entry.steps for entry in spent)]
    attached = called("attach", "latest", cwd=tmp_path)
    assert attached.returncode == 130 and "interrupted" in attached.stderr and "not run" in attached.stdout


def test_what_a_detached_run_cannot_do_is_said_where_it_was_started(tmp_path):
    wrong = toml(tmp_path / "s.toml", training='[[training]]\nkind = "Plain"\nepochs = -1\n')
    assert_one_clear_line(called("run", wrong, "--detach", cwd=tmp_path), "training.0.epochs", folder=tmp_path)
    assert not (tmp_path / "runs").exists()
    both = called("run", wrong, "--detach", "--dry-run", cwd=tmp_path)
    assert both.returncode == 2 and "leave one of them out" in both.stderr
    run = copy_of("private", tmp_path / "runs")
    refused = called("run", "--resume", run.id, "--detach", "--set", "seeds=[1]", cwd=tmp_path)
    assert_one_clear_line(refused, "seeds", "cannot change when a run goes on", folder=tmp_path / "elsewhere")
