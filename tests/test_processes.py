"""What is started ends with its starter, at whatever moment that is killed; and holds what it was given to hold."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from trustml.processes import module_command

STARTER = """
import os, subprocess, sys, time
from pathlib import Path
from trustml.processes import module_command

lock = open(sys.argv[1] + "/lock", "ab")
import fcntl
fcntl.flock(lock, fcntl.LOCK_EX)
sys.path.insert(0, sys.argv[1])
command = module_command(Path(sys.executable), "theirs", held=(lock.fileno(),))
os.environ["PYTHONPATH"] = sys.argv[1]
process = subprocess.Popen(command.arguments, pass_fds=command.inherited, start_new_session=True)
print(process.pid, flush=True)
time.sleep(300)
"""
SLEEPS = "import time\ntime.sleep(300)\n"
HOLDS_THE_INTERPRETER = "import ctypes\nctypes.PyDLL(None).sleep(300)\n"
HAS_A_CHILD = (
    "import pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
    "pathlib.Path(__file__).with_name('child.pid').write_text(str(child.pid))\n"
    "time.sleep(300)\n"
)


def start(folder: Path, code: str) -> tuple[subprocess.Popen[str], int]:
    """Start a starter, and give it and the process id of what it started."""
    (folder / "theirs.py").write_text(code)
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    return starter, int(starter.stdout.readline())


def end(starter: subprocess.Popen[str]) -> None:
    starter.kill()
    starter.wait()
    assert starter.stdout is not None
    starter.stdout.close()


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while lives(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4])
def test_it_ends_with_its_starter_whenever_that_is_killed(tmp_path, moment):
    starter, pid = start(tmp_path, SLEEPS)
    time.sleep(moment)
    end(starter)
    assert gone(pid, within=2), "what was started outlived its starter"


@pytest.mark.long
def test_it_ends_with_its_starter_at_any_moment(tmp_path):
    for _ in range(200):
        starter, pid = start(tmp_path, SLEEPS)
        time.sleep(random.uniform(0, 1))
        end(starter)
        assert gone(pid, within=2)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETSIG"), reason="only Linux's kernel kills by itself")
def test_it_ends_although_it_never_lets_go_of_the_interpreter(tmp_path):
    starter, pid = start(tmp_path, HOLDS_THE_INTERPRETER)
    time.sleep(0.5)
    end(starter)
    assert gone(pid, within=2)


def test_it_ends_by_its_thread_where_the_kernel_does_not_do_it(tmp_path):
    code = (
        "import sys, threading, time\nfrom trustml import processes\n"
        "threading.Thread(target=processes.wait_for_close, args=(int(sys.argv[1]),), daemon=True).start()\n"
        "print('ready', flush=True)\ntime.sleep(300)\n"
    )
    read, write = os.pipe()
    command = [sys.executable, "-c", code, str(read)]
    with subprocess.Popen(command, pass_fds=(read,), stdout=subprocess.PIPE, start_new_session=True) as process:
        os.close(read)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        assert process.poll() is None
        os.close(write)
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_what_it_started_itself_ends_too(tmp_path):
    starter, pid = start(tmp_path, HAS_A_CHILD)
    note, deadline = tmp_path / "child.pid", time.monotonic() + 20
    while not note.exists() or not note.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int(note.read_text())
    assert lives(child)
    end(starter)
    assert gone(pid, within=2) and gone(child, within=2)


def test_a_lock_is_held_as_long_as_anything_lives_that_was_given_it(tmp_path):
    begun = tmp_path / "begun"
    starter, pid = start(tmp_path, f"import pathlib\npathlib.Path({str(begun)!r}).touch()\n" + SLEEPS)
    wait_for(begun.exists)
    os.kill(pid, signal.SIGSTOP)  # nothing but the kernel can end it now
    with (tmp_path / "lock").open("ab") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        end(starter)
        assert gone(pid, within=2)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_thread_that_started_it_may_end(tmp_path):
    import threading

    (tmp_path / "theirs.py").write_text(SLEEPS)
    found: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        command = module_command(Path(sys.executable), "theirs")
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        found.append(
            subprocess.Popen(command.arguments, pass_fds=command.inherited, start_new_session=True, env=environment)
        )

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    (process,) = found
    time.sleep(0.5)
    try:
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_the_folder_it_is_called_from_is_not_searched_for_modules(tmp_path, monkeypatch):
    sentinel = tmp_path / "ran"
    for name in ("json", "torch", "opacus", "scipy", "dp_accounting", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(sentinel)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    from trustml.privacy.crosscheck import prv_epsilons
    from trustml.privacy.ledger import Charge

    entry = Charge(
        attempt=1, first_step=0, end_step=10, noise_multiplier=1.0, clipping_norm=1.0, sample_rate=0.01, batch_size=1,
        examples=100, secret_sampling=True, participation=10, largest_participation=10, plan="p", data="d",
    )  # fmt: skip
    assert isinstance(prv_epsilons([([entry], 1e-5)]), list)
    assert not sentinel.exists()


ASKS_THE_NETWORK = (
    "import pathlib, socket, sys\n"
    "from trustml.processes import is_offline\n"
    "try:\n"
    "    socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2).close()\n"
    "    found = 'connected'\n"
    "except OSError:\n"
    "    found = 'refused'\n"
    "pathlib.Path(sys.argv[2]).write_text(found + (' offline' if is_offline() else ''))\n"
)


@pytest.mark.parametrize("offline", [True, False])
def test_a_process_that_leaves_the_network_reaches_nobody_and_still_ends_with_its_starter(
    tmp_path, monkeypatch, offline
):
    (tmp_path / "theirs.py").write_text(ASKS_THE_NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, said = server.getsockname()[1], tmp_path / "said.txt"
        command = module_command(Path(sys.executable), "theirs", str(port), str(said), offline=offline)
        subprocess.run(command.arguments, pass_fds=command.inherited, check=True, timeout=60)
    # Where the kernel forbids namespaces the process says that it is not offline, and must not pretend to be.
    assert said.read_text() in (("refused offline", "connected") if offline else ("connected",))
    if offline and sys.platform == "linux" and os.getuid() == 0:
        assert said.read_text() == "refused offline"


LEAVES = """
import atexit, concurrent.futures, sys, threading, time
from trustml.processes import leave

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("printed", file=sys.stderr)
leave(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_leaves_joins_threads_and_writes_what_it_printed_but_takes_nothing_apart(code):
    ended = subprocess.run([sys.executable, "-c", LEAVES, str(code)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert (ended.stdout.split(), ended.stderr) == (["thread", "registered"], "printed\n")


def test_a_process_that_leaves_and_cannot_write_what_it_printed_says_so():
    code = "print('a'); from trustml.processes import leave; leave(0)"
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([sys.executable, "-c", code], stdout=full, env=buffered, timeout=60)
    assert ended.returncode == 120
