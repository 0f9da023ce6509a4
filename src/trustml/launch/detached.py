"""A run that is executed by a process of its own, which outlives the terminal and whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from trustml.errors import UsageError
from trustml.record.running import Runner, runner_of
from trustml.record.store import RunDirectory

OUTPUT = "private/output.txt"
"""What a detached run printed: private, as warnings may follow from the data."""
_LOOK_SECONDS = 0.05
_SUCCESS, _SOME_FAILED = 0, 4


def start_detached(run: RunDirectory, *, arguments: Sequence[str] = ()) -> Runner | None:
    """Go on with a planned run in a process of its own, and wait until that process has the run.

    Parameters
    ----------
    run : RunDirectory
        With a manifest.
    arguments : sequence of str
        More for ``trustml run --resume``.

    Returns
    -------
    Runner or None
        The process; None where it has ended already, as after jobs that cannot start.

    Raises
    ------
    UsageError
        If another process executes the run, or this one refused to.
    """
    if run.is_executed():
        raise UsageError(f"{run.path.name}: is being run already; `trustml attach {run.path.name}` shows it")
    place = str(run.path.resolve())
    # The folder it is called from is not searched for modules: it may be anybody's.
    command = [sys.executable, "-P", "-m", "trustml.cli", "run", "--resume", place, "--runs", str(Path(place).parent)]
    output = run.file(OUTPUT)
    if not output.parent.is_dir():
        raise UsageError(f"{run.path}: private/ is gone, so unfinished jobs cannot run; start a new run")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(output, flags, 0o600), "ab") as stream:
        begins = output.stat().st_size
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # no terminal that could hang up, and no Ctrl-C of ours
        )
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie beside a starter that goes on
    while process.poll() is None:
        runner = runner_of(run)
        if runner is not None and runner.pid == process.pid:
            return runner
        time.sleep(_LOOK_SECONDS)
    if process.returncode in (_SUCCESS, _SOME_FAILED):
        return None
    said = output.read_bytes()[begins:].decode(errors="replace").strip().splitlines() or ["it ended at once"]
    raise UsageError(said[-1].removeprefix("Error: "))
