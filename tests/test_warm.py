"""A worker that is forked for a test is given what one that is started is given, and ends as it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import psutil
import pytest

from tests.warm import AVAILABLE, BACKEND_OF, HERE, Starter, forked
from trustml.processes import module_command

pytestmark = [pytest.mark.cold, pytest.mark.skipif(not AVAILABLE, reason="forks are asked for on Linux alone")]


def asked(
    folder: Path, lock: Path, starter: Starter | None, *, code: int, offline: bool = False
) -> tuple[dict, subprocess.CompletedProcess]:
    with lock.open() as held, nullcontext() if starter is None else forked(starter):
        command = module_command(
            Path(sys.executable),
            "warm.told",
            str(code),
            str(lock),
            held=(held.fileno(),),
            beside=(HERE,),
            offline=offline,
        )
        done = subprocess.run(
            command.arguments,
            pass_fds=command.inherited,
            cwd=folder,
            env={**os.environ, "TRUSTML_TOLD": f"code {code}"},
            input="some words",
            capture_output=True,
            text=True,
            start_new_session=True,
        )
    return json.loads(done.stdout), done


def test_what_is_forked_is_given_what_is_started_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKEND_OF, "warm.told", lambda arguments: "none")
    lock = tmp_path / "lock"
    lock.touch()
    started, end = asked(tmp_path, lock, None, code=3)
    started_alone, _ = asked(tmp_path, lock, None, code=3, offline=True)
    with closing(Starter()) as starter:
        first, _ = asked(tmp_path, lock, starter, code=0)
        alone, _ = asked(tmp_path, lock, starter, code=3, offline=True)
        found, same_end = asked(tmp_path, lock, starter, code=3)
        (server,) = (process.pid for process, _ in starter._servers.values())
        assert not [one for one in psutil.Process(server).open_files() if one.path == str(lock)], "it kept the lock"
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # as PyTorch does where it has exported something
        asked(tmp_path, lock, starter, code=0)
        assert [process.pid for process, _ in starter._servers.values()] == [server]
        monkeypatch.setattr("tests.warm._MOST", 2)
        for threads, kept in (("7", True), ("8", False)):
            monkeypatch.setenv("OMP_NUM_THREADS", threads)  # read when a framework is imported
            other, _ = asked(tmp_path, lock, starter, code=0)
            assert other["variables"]["OMP_NUM_THREADS"] == threads
            assert psutil.pid_exists(server) == kept
    assert first["variables"]["TRUSTML_TOLD"] == "code 0"
    assert found == started and alone == started_alone
    assert alone["offline"] > found["offline"] and set(alone["networks"]) <= {"lo"}
    assert found["parent"] == os.getpid() and found["held"] == 1 and found["leads"] == [True, True]
    assert (same_end.returncode, same_end.stderr) == (end.returncode, end.stderr) == (3, "an error\na thread\nan end\n")


def test_what_leads_a_group_does_so_before_its_number_is_known(tmp_path, monkeypatch):
    """Else killing the group kills nothing, and who asked for it waits until the worker ends by itself."""
    monkeypatch.setitem(BACKEND_OF, "warm.told", lambda arguments: "none")
    command = module_command(Path(sys.executable), "warm.told", "0", os.devnull, beside=(HERE,))
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with closing(Starter()) as starter, forked(starter):
        for _ in range(20):
            with subprocess.Popen(command.arguments, cwd=tmp_path, start_new_session=True, **streams) as process:
                group = os.getpgid(process.pid)
                process.kill()
            assert group == process.pid
