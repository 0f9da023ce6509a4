"""Puts backends through the conformance suite, each in its own environment, and compares them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.conformance.findings import CheckResult, bounded
from trustml.launch.environments import find_environment
from trustml.launch.process import clean_environment
from trustml.plan.switches import switch_variables
from trustml.processes import module_command
from trustml.record.files import read_arrays
from trustml.scenario.spec import BackendName, Execution

CLIPPED_SUM = 1e-5  # relative: float32 sums in another order, and the 1e-6 that Opacus adds to every norm
TRAINED = 1e-4  # absolute, after 20 such steps
_TIMEOUT = 900.0


def check_backends(names: Sequence[BackendName]) -> list[CheckResult]:
    """Check each backend, and that they agree with one another.

    Raises
    ------
    EnvironmentMissingError
        If a backend is not installed.
    """
    findings: list[CheckResult] = []
    sums: dict[BackendName, dict[str, npt.NDArray[Any]]] = {}
    environments = {name: find_environment(name) for name in names}
    pythons = {name: environment.require() for name, environment in environments.items()}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="trustml-conformance-") as folder:
            problem = _run(name, pythons[name], Path(folder), variables=environments[name].variables)
            if problem:
                findings.append(CheckResult(check="the suite runs", passed=False, diagnosis=problem, subject=name))
                continue
            content = (Path(folder) / "findings.json").read_bytes()
            findings += msgspec.json.decode(content, type=list[CheckResult])
            sums[name] = read_arrays(Path(folder) / "sums.npz")
    return findings + _agreement(sums)


def _agreement(sums: dict[BackendName, dict[str, npt.NDArray[Any]]]) -> list[CheckResult]:
    findings = []
    for one, other in itertools.combinations(sums, 2):
        for case in dict.fromkeys(key.split("|")[0] for key in sums[one]):
            a, b = (
                np.concatenate([sums[name][key].ravel() for key in sums[one] if key.startswith(f"{case}|")])
                for name in (one, other)
            )
            trained = case.startswith("weights")
            gap = np.abs(a - b).max() if trained else np.linalg.norm(a - b) / np.linalg.norm(a)
            found = bounded(
                f"the same {case}",
                float(gap),
                TRAINED if trained else CLIPPED_SUM,
                diagnosis="the two libraries compute different gradients",
            )
            findings.append(msgspec.structs.replace(found, subject=f"{one} ~ {other}"))
    return findings


def _run(name: BackendName, python: Path, folder: Path, *, variables: dict[str, str]) -> str:
    """Run the suite in a process group of its own; give what went wrong, or nothing."""
    log = folder / "log.txt"
    command = module_command(python, "trustml.worker.conformance", name, str(folder))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command.arguments,
            pass_fds=command.inherited,
            env=clean_environment() | switch_variables(Execution()) | variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        code = process.wait(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"no end after {_TIMEOUT:.0f} s"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if code == 0:
        return ""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"ended with code {code}: {lines[-1] if lines else 'no message'}"[:300]
