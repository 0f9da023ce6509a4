"""Puts backends through the conformance suite, each in its own environment, and compares them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.conformance.findings import CheckResult, bounded
from trustml.launch.environments import find_environment
from trustml.launch.module_process import run_module
from trustml.record.files import read_arrays
from trustml.scenario.spec import BackendName

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
    for environment in environments.values():
        environment.require()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="trustml-conformance-") as folder:
            problem = run_module(
                "trustml.worker.conformance",
                name,
                folder,
                environment=environments[name],
                folder=Path(folder),
                timeout=_TIMEOUT,
            )
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
        cases = [dict.fromkeys(key.split("|")[0] for key in sums[name]) for name in (one, other)]
        for case in [case for case in cases[0] if case in cases[1]]:  # users are not in every backend
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
