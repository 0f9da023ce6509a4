"""The server of the dashboard ends with the command, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SERVER = """
import os, time
print("serving, GiB of an audit:", os.environ["TRUSTML_AUDITS_MEMORY"], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_no_server_outlives_the_command(tmp_path, number):
    (tmp_path / "streamlit.py").write_text(SERVER)  # what starts it, and what ends it, are the command's own
    command = subprocess.Popen(
        [sys.executable, "-m", "trustml.cli", "dashboard", "--runs", str(tmp_path), "--audits-memory", "3"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    servers: list[psutil.Process] = []
    try:
        assert command.stdout is not None and command.stdout.readline() == b"serving, GiB of an audit: 3\n"
        servers = psutil.Process(command.pid).children(recursive=True)
        assert servers
        os.kill(command.pid, number)  # the command alone, as `kill` does
        assert command.wait(60) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in servers):
            assert time.monotonic() < deadline, "it goes on serving"
            time.sleep(0.05)
    finally:
        for one in servers:
            if one.is_running():
                one.kill()
        if command.poll() is None:
            command.kill()
        command.stdout.close()
        command.wait()
