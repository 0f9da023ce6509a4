"""What the tests of the two libraries share: a run in the tensorflow environment, and Captum's side of a case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import torch

from tests.backends.tensorflow.explained_cases import CASES, features_of, model_of, read_arrays
from trustml.backends.torch.network import TorchNetwork, build_module, to_input, to_labels
from trustml.launch.environments import find_environment

HERE = Path(__file__).resolve().parent
FLOAT32 = 2e-5
"""Of the largest attribution: two frameworks add the same float32 numbers in another order."""


class Explained:
    """One case as Captum takes it."""

    def __init__(self, name: str, given: dict[str, np.ndarray]) -> None:
        self.module = build_module(model_of(name, given)).eval()
        self.network = TorchNetwork(model_of(name, given))
        self.inputs, self.targets = given[f"{name}.inputs"], given[f"{name}.targets"]
        self.baseline = given[f"{name}.baseline"]
        self.tensor, self.labels = to_input(self.inputs).requires_grad_(), to_labels(self.targets)
        self.baselines = to_input(self.baseline)

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Logit of each example's target."""
        return self.network.logits(inputs)[np.arange(len(inputs)), self.targets]

    def features(self, name: str, patch: int = 1) -> torch.Tensor:
        """Feature of each value, in the layout of the module."""
        features = features_of(CASES[name], patch=patch)
        return to_input(features[None]) if features.ndim == 3 else torch.from_numpy(features)[None]


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest attribution."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def explain_in_tensorflow(given: dict[str, np.ndarray], folder: Path, *, repetitions: int) -> None:
    """Run ``explaining.py`` in its environment; it leaves arrays and what else it saw."""
    np.savez(folder / "given.npz", **given)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment("tensorflow").require(), HERE / "explaining.py", folder, str(repetitions)],
            env={**os.environ, "PYTHONPATH": f"{HERE.parents[2] / 'src'}:{HERE.parents[2]}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=280)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert code == 0, (folder / "log.txt").read_text()[-2000:]


def explained_in(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays that it left in a folder, and what else it saw."""
    return read_arrays(folder / "found.npz"), json.loads((folder / "told.json").read_text())
