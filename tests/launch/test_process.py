"""Workers that end in every way there is: real processes, real signals."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from trustml.launch.process import Ended, JobLimits, Worker

NO_LIMITS = JobLimits(timeout=60, memory=0)


def run_until_end(worker: Worker, *, seconds: float = 60) -> Ended:
    """Poll like the scheduler does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = worker.poll()
        if ended is not None:
            return ended
        time.sleep(0.02)
    worker.stop("timeout", "the test gave up")
    raise AssertionError("the worker did not end")


def start(folder: Path, code: str, *, limits: JobLimits = NO_LIMITS) -> Worker:
    """Start a worker whose interpreter runs `code` instead of trustml."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {folder / 'code.py'}\n")
    python.chmod(0o755)
    (folder / "code.py").write_text(code)
    return Worker(python=python, folder=folder, variables={}, limits=limits)


def test_a_worker_without_a_result_is_an_error_with_its_last_line(tmp_path):
    ended = run_until_end(start(tmp_path, "import sys; print('it broke here', file=sys.stderr); sys.exit(7)"))
    assert (ended.status, ended.exit_code) == ("error", 7)
    assert "it broke here" in ended.reason
    assert ended.stderr_tail == ("it broke here",)


def test_a_timeout_kills_the_worker(tmp_path):
    ended = run_until_end(start(tmp_path, "import time; time.sleep(60)", limits=JobLimits(timeout=0.5, memory=0)))
    assert ended.status == "timeout"
    assert "execution.timeout" in ended.reason
    assert ended.seconds < 10


def test_too_much_memory_kills_the_worker(tmp_path):
    code = "import time; block = bytearray(300 * 2**20); time.sleep(60)"
    ended = run_until_end(start(tmp_path, code, limits=JobLimits(timeout=60, memory=200 * 2**20)))
    assert ended.status == "out-of-memory"
    assert "execution.memory_limit" in ended.reason
    assert ended.peak_memory > 200 * 2**20
    assert max(memory for _, memory, _ in ended.samples) > 200 * 2**20


def test_processor_and_memory_are_sampled_over_time_with_those_of_children(tmp_path):
    burn = "import time; until = time.thread_time() + 0.25\nwhile time.thread_time() < until: pass"
    code = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {burn!r}])\ntime.sleep(0.3)"
    seconds, memory, used = zip(*run_until_end(start(tmp_path, code)).samples, strict=True)
    assert list(seconds) == sorted(seconds) and list(used) == sorted(used)
    assert used[-1] > 0.2 and min(memory) > 0  # also when the child that used it has ended


def test_looking_for_children_takes_no_more_than_a_small_share_of_a_core(tmp_path, monkeypatch):
    looks = []

    def slow(self: Worker) -> tuple[int, float]:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        looks.append(self.pid)
        return 0, 0.0

    monkeypatch.setattr(Worker, "_held", slow)
    worker = start(tmp_path, "import time; time.sleep(60)")
    deadline = time.monotonic() + 0.45
    while time.monotonic() < deadline:
        worker.poll()
        time.sleep(0.01)
    worker.stop("interrupted", "the test")
    assert len(looks) == 1  # 0.01 of 0.5 seconds


def test_a_killed_worker_is_a_signal(tmp_path):
    worker = start(tmp_path, "import time; time.sleep(60)")
    os.kill(worker.pid, 9)
    ended = run_until_end(worker)
    assert (ended.status, ended.exit_code) == ("signal", -9)
    assert "SIGKILL" in ended.reason


@pytest.mark.parametrize("how", ["by itself", "stopped"])
def test_children_end_with_the_worker(tmp_path, how):
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "pathlib.Path('child.pid').write_text(str(child.pid))\n"
        f"time.sleep({0 if how == 'by itself' else 300})\n"
    )
    worker = start(tmp_path, code)
    deadline = time.monotonic() + 20
    while not (tmp_path / "child.pid").exists() or not (tmp_path / "child.pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((tmp_path / "child.pid").read_text())
    if how == "stopped":
        assert worker.stop("interrupted", "the user").status == "interrupted"
    else:
        run_until_end(worker)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its worker"
        time.sleep(0.05)


def test_the_real_worker_reports_a_broken_job_in_one_line(tmp_path):
    (tmp_path / "job.json").write_text('{"kind": "train", "id": 3}')
    worker = Worker(python=Path(sys.executable), folder=tmp_path, variables={}, limits=NO_LIMITS)
    ended = run_until_end(worker)
    assert ended.status == "error"
    assert "ValidationError" in ended.reason
    assert "\n" not in ended.reason
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "error"


def test_what_a_private_job_prints_stays_out_of_its_record(tmp_path):
    """A library's message may hold values of the data, such as the row that it choked on."""
    from trustml.launch.schedule import _as_released
    from trustml.models.zoo import mlp
    from trustml.plan.job import Mechanism, TrainJob
    from trustml.scenario.regimes import DPSGD, Plain
    from trustml.scenario.spec import Execution
    from trustml.worker.__main__ import released_line

    ended = run_until_end(start(tmp_path, "import sys; print('row 3.14159', file=sys.stderr); sys.exit(7)"))
    common = {
        "id": "train.jax.x.s0", "backend": "jax", "model": mlp([2], classes=2), "input_shape": (2,), "seed": 0,
        "execution": Execution(), "initial_weights": "w", "data": "d", "plan": "p", "data_fingerprint": "f",
    }  # fmt: skip
    mechanism = Mechanism(
        noise_multiplier=1.0, clipping_norm=1.0, sample_rate=0.1, expected_batch_size=1, examples=10,
        sampling="poisson", secret_sampling=True, largest_participation=1, total_steps=1, steps=1,
    )  # fmt: skip
    private = TrainJob(regime=DPSGD(noise_multiplier=1.0), mechanism=mechanism, **common)
    plain = TrainJob(regime=Plain(), **common)
    assert "3.14159" in str(_as_released(ended, plain))
    assert "3.14159" not in str(_as_released(ended, private))
    error = ValueError("cannot clip 3.14159")
    assert "3.14159" in released_line(error, plain) and "3.14159" not in released_line(error, private)
    assert "stderr.txt" in released_line(error, private)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of children without a look at all processes")
def test_what_a_worker_started_is_counted_without_a_look_at_all_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "process_iter", lambda *_: pytest.fail("looked at all"))
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: pytest.fail("looked at all"))
    inner = "import time; block = bytearray(150 * 2**20); time.sleep(60)"
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    run = f"subprocess.run([sys.executable, '-c', {middle!r}])"
    code = f"import subprocess, sys, threading; threading.Thread(target=lambda: {run}).start()"
    ended = run_until_end(start(tmp_path, code, limits=JobLimits(timeout=60, memory=140 * 2**20)))
    assert ended.status == "out-of-memory", "a grandchild that a thread started is of its family"
