"""Every reader is given a few changed files, in a process without JAX, whose threads do not survive a fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = "tests/reliability/fuzz_cases.py"


@pytest.mark.long  # in short tests/record/test_strange_runs.py gives changed files to readers
@pytest.mark.timeout(1200)
def test_readers_hold_and_what_none_may_do_is_found(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pytest",
        CASES,
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'cases'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1])
    assert passed >= 33  # readers that are quick, faults that are planted, and changes themselves
