"""Every engine of the tensorflow environment does the work of its kind: all of them in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.bench.expected import check
from tests.bench.workloads import cases, label
from trustml.launch.environments import find_environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.jax, pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "benchmarks")))
CASES = cases("tensorflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("tensorflow")
    with (made / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment("tensorflow").require(), "-m", "tests.bench.tensorflow_side", made, "full"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "benchmarks", ROOT))),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # TFF leaves a child behind, which goes with its group
        )
        try:
            code = process.wait(timeout=500)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert code == 0, (made / "log.txt").read_text()[-2000:]
    return made


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: label(CASES[number]))
def test_it_does_the_work_of_its_kind(folder, number):
    engine, workload = CASES[number]
    refused = json.loads((folder / "refused.json").read_text())
    if engine.name == "TF Privacy fast clipping" and workload.network.endswith("cnn"):
        assert "no convolution" in refused[str(number)]
        return
    assert str(number) not in refused, refused[str(number)]
    with np.load(folder / f"{number}.npz") as found:
        check(engine, workload, dict(found))
