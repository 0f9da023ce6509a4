"""Asks every backend the same questions, each in a process and environment of its own, once a session."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from trustml.data.datasets import load_dataset
from trustml.launch.environments import find_environment
from trustml.scenario.sources import Digits
from trustml.scenario.spec import BACKEND_NAMES

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """150 real digits and their classes."""
    dataset = load_dataset(Digits())
    return dataset.train.inputs[:150], dataset.train.labels[:150]


@pytest.fixture(scope="session")
def answers(digits, tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What each backend answered, by backend and question."""
    folder = tmp_path_factory.mktemp("conformance")
    np.savez(folder / "given.npz", images=digits[0], labels=digits[1])
    found = {}
    for backend in BACKEND_NAMES:
        environment = find_environment(backend)
        assert environment.python is not None, f"{environment.problem}; run `{environment.fix}`"
        output, log = folder / f"{backend}.npz", folder / f"{backend}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [environment.python, HERE / "cases.py", backend, output, folder / "given.npz"],
                env={**os.environ, "PYTHONPATH": f"{SOURCE}:{HERE.parents[1]}"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            code = process.wait(timeout=400)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # TFF leaves a child behind
            except ProcessLookupError:
                pass
        assert code == 0, f"{backend} failed:\n{log.read_text(errors='replace')[-3000:]}"
        with np.load(output, allow_pickle=False) as arrays:
            found[backend] = {name: arrays[name] for name in arrays.files}
    return found
