"""The process of an audit of uploads: what becomes of tables, and how the audit ends at the operator's limits."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trustml.auditing import upload_process
from trustml.auditing.upload_process import CANCEL, MODULE, AuditLimits, audit_uploads, examples_of_csv
from trustml.errors import UsageError
from trustml.processes import Command

LIMITS = AuditLimits(seconds=60.0, memory=8 << 30)


def table(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    return path


def test_a_table_of_numbers_becomes_examples(tmp_path):
    content = examples_of_csv(table(tmp_path, b"\xef\xbb\xbfx,y,label\n1,2.5,0\n\n3,4,1\n"))
    with np.load(io.BytesIO(content)) as arrays:
        assert arrays["inputs"].tolist() == [[1, 2.5], [3, 4]] and arrays["labels"].tolist() == [0, 1]
        assert arrays["inputs"].dtype == np.float32 and arrays["labels"].dtype == np.int64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x,label\n1,yes\n", "no table of numbers"),
        (b"x,label\n1,0.5\n", r"the label is 0\.5 in row 1; .*whole numbers"),
        (b"x,label\n1,-1\n", "whole numbers"),
        (b"x,label\n1,nan\n", "whole numbers"),
        (b"x,label\n1,0\n1,1e300\n", r"the label is 1e\+300 in row 2; .*whole numbers"),
        (b"x,label\nnan,1\n", "'x' is nan in row 1, no finite number of float32"),
        (b"x,y,label\n1,2,0\n1,-1e300,0\n", r"'y' is -1e\+300 in row 2, no finite number of float32"),
        (b"x,label\n", "need a line of names"),
        (b"label\n1\n", "need a line of names"),
        (b"", "need a line of names"),
        (b"x,y,label\n1,2,0\n1,0\n", "no table of numbers"),
        (b"\xff\xfe", "no table of numbers"),
    ],
)
def test_what_is_no_such_table_is_refused_in_a_line(tmp_path, content, said):
    with pytest.raises(UsageError, match=said):
        examples_of_csv(table(tmp_path, content))


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
    table(tmp_path, b"x,label\n1,0\n")
    asked = instead("raise SystemExit(3)")
    assert audit_uploads(tmp_path, ["model.onnx"], limits=LIMITS) == 3
    assert asked == [(MODULE, "table", str(tmp_path / "train.csv"), str(tmp_path / "train.npz"))]
    asked = instead("")
    assert audit_uploads(tmp_path, ["model.onnx"], limits=LIMITS) == 0
    assert asked[-1] == ("trustml.cli", "audit", "model.onnx") and len(asked) == 2


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
    table(tmp_path, b"x,label\n1e300,0\n")
    command = [sys.executable, "-P", "-m", MODULE, "60", str(8 << 30), "model.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and not (tmp_path / "train.npz").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: examples: 'x' is 1e+300 in row 1")
