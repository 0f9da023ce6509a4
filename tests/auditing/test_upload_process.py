"""The process of an audit of uploads: what becomes of tables, and how the audit ends at the operator's limits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from trustml.auditing import upload_process
from trustml.auditing.upload_process import CANCEL, MODULE, AuditLimits, audit_uploads
from trustml.errors import UsageError
from trustml.processes import Command

LIMITS = AuditLimits(seconds=60.0, memory=8 << 30)


@pytest.fixture
def instead(monkeypatch):
    """Run other code instead of the modules that are asked for; gives what was asked."""

    def use(code: str) -> list[tuple[str, ...]]:
        asked: list[tuple[str, ...]] = []

        def command(_python: Path, *words: str) -> Command:
            asked.append(words)
            return Command(arguments=[sys.executable, "-S", "-c", code], inherited=())

        monkeypatch.setattr(upload_process, "module_command", command)
        return asked

    return use


def test_tables_are_read_in_a_process_before_the_audit(tmp_path, instead):
    (tmp_path / "train.csv").write_bytes(b"x,label\n1,0\n")
    asked = instead("raise SystemExit(3)")
    assert audit_uploads(tmp_path, ["model.onnx"], limits=LIMITS) == 3
    assert asked == [(MODULE, "table", str(tmp_path / "train.csv"), str(tmp_path / "train.npz"))]
    asked = instead("")
    assert audit_uploads(tmp_path, ["model.onnx"], limits=LIMITS) == 0
    assert asked[-1] == ("trustml.cli", "audit", "model.onnx") and len(asked) == 2


def test_two_tables_are_held_against_each_other(tmp_path, instead, capsys):
    (tmp_path / "train.csv").write_bytes(b"x,y,label\n1,2,0\n")
    (tmp_path / "holdout.csv").write_bytes(b"y,x,label\n2,1,0\n")
    asked = instead("")
    assert audit_uploads(tmp_path, ["model.onnx"], limits=LIMITS) == 0
    assert [len(words) for words in asked[:2]] == [4, 5] and asked[1][4] == str(tmp_path / "train.csv")
    assert upload_process.main(asked[0][1:]) == 0 and upload_process.main(asked[1][1:]) == 2
    assert "holdout.csv: its columns (y, x, label) are in another order" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limits", "cancelled", "said"),
    [
        (AuditLimits(seconds=0.2, memory=8 << 30), False, r"took longer than 0\.2 s"),
        (AuditLimits(seconds=60.0, memory=1 << 20), False, "held more than 0.000976562 GiB"),
        (LIMITS, True, "was cancelled"),
    ],
)
def test_an_audit_ends_at_its_limits_and_when_it_is_cancelled(tmp_path, instead, limits, cancelled, said):
    instead("import time; time.sleep(60)")
    if cancelled:
        (tmp_path / CANCEL).touch()
    began = time.monotonic()
    with pytest.raises(UsageError, match=said):
        audit_uploads(tmp_path, [], limits=limits)
    assert time.monotonic() - began < 30  # not the minute that it would have slept


def test_an_audit_that_the_system_ended_says_so(tmp_path, instead):
    instead("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UsageError, match="ended by SIGKILL"):
        audit_uploads(tmp_path, [], limits=LIMITS)


def test_its_last_line_says_what_is_wrong_with_a_table(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"x,label\n1e300,0\n")
    command = [sys.executable, "-P", "-m", MODULE, "60", str(8 << 30), "model.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and not (tmp_path / "train.npz").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: train.csv: 'x' is 1e+300 in row 1")
