"""One of our modules, run once in a backend's environment and waited for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from trustml.launch.environments import Environment
from trustml.launch.process import clean_environment
from trustml.plan.switches import switch_variables
from trustml.processes import module_command
from trustml.scenario.spec import Execution

_LOG = "log.txt"


def run_module(
    module: str,
    *arguments: str,
    environment: Environment,
    folder: Path,
    timeout: float,
    offline: bool = False,
    variables: Mapping[str, str] | None = None,
    beside: Sequence[Path] = (),
) -> str:
    """Run a module in a process group of its own that ends with it; give what went wrong, or nothing.

    Parameters
    ----------
    module : str
    *arguments : str
    environment : Environment
    folder : Path
        Where what it prints is kept, in ``log.txt``.
    timeout : float
        Seconds.
    offline : bool
        Whether it leaves the network first, as it opens what a stranger wrote.
    variables : mapping, optional
        Added to its environment.
    beside : sequence of Path
        Packages that it finds beside trustml.

    Raises
    ------
    EnvironmentMissingError
        If the environment cannot be used.
    """
    command = module_command(environment.require(), module, *arguments, offline=offline, beside=beside)
    with (folder / _LOG).open("wb") as stream:
        process = subprocess.Popen(
            command.arguments,
            pass_fds=command.inherited,
            env=clean_environment() | switch_variables(Execution()) | environment.variables | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        code = process.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"did not end in {timeout:.0f} s"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return "" if code == 0 else how_it_ended(code, folder / _LOG)


def how_it_ended(code: int, log: Path) -> str:
    """Say how a process ended: by a signal, of which what it printed before tells nothing, or with its last line."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}" + ("; the system kills so when memory runs out" if name == "SIGKILL" else "")
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"ended with code {code}: {lines[-1] if lines else 'no message'}"[:300]
