"""Every way of the tensorflow backend to clip gives the same sum; what cannot be right is refused by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from trustml.launch.environments import find_environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]
HERE = Path(__file__).resolve().parent
EQUAL = 1e-5
"""Of the length of the sum: float32, in another order."""
MODES = ("dp_model", "book_keeping")


def run_case(folder: Path, *arguments: str, timeout: float = 280) -> dict:
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment("tensorflow").require(), HERE / "clipping_case.py", folder, *arguments],
            env={**os.environ, "PYTHONPATH": f"{HERE.parents[2] / 'src'}:{HERE.parents[2]}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=timeout)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    return json.loads((folder / "told.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[dict[str, np.ndarray], dict]:
    folder = tmp_path_factory.mktemp("clipping")
    told = run_case(folder)
    with np.load(folder / "found.npz") as found:
        return dict(found), told


def clipped(gradients: np.ndarray, norm: float) -> np.ndarray:
    norms = np.linalg.norm(gradients, axis=1)
    return (gradients * np.minimum(1, norm / norms)[:, None]).sum(axis=0)


def close(ours: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.linalg.norm(ours - expected) < EQUAL * np.linalg.norm(expected))


@pytest.mark.parametrize("mode", MODES)
def test_sum_is_that_of_one_example_at_a_time(run, mode):
    found = run[0]
    gradients, norm = found["flat.gradients"].astype(np.float64), float(found["flat.clipping_norm"])
    norms = np.linalg.norm(gradients, axis=1)
    assert norms.min() < norm < norms.max()
    assert close(found[f"flat.{mode}"], clipped(gradients, norm))
    assert found[f"flat.{mode}.unclipped"] == (norms <= norm).sum()


def test_mean_of_copies_is_clipped_weight_by_weight(run):
    found = run[0]
    sizes, gradients = found["sizes"], found["copies_per_layer.gradients"].astype(np.float64)
    norm = float(found["copies_per_layer.clipping_norm"])
    parts = np.split(gradients, np.cumsum(sizes)[:-1], axis=1)
    expected = np.concatenate([clipped(part, norm / np.sqrt(len(sizes))) for part in parts])
    assert close(found["copies_per_layer.book_keeping"], expected)
    unclipped = (np.linalg.norm(gradients, axis=1) <= norm).sum()
    assert 0 < unclipped == found["copies_per_layer.book_keeping.unclipped"]


def test_a_way_whose_sum_is_not_of_what_it_measured_is_refused(run):
    assert list(run[1]["refused"]) == ["fast_clipping"]
    assert "sums other gradients than it measures" in run[1]["refused"]["fast_clipping"]


def test_a_norm_of_an_outer_product_is_never_too_small(run):
    """Squares of what is small underflow, and its product with something large need not."""
    assert run[1]["underflowing"] >= 4 * 1e36 * 3 * 1e-46


def test_under_dropout_tf_privacy_passes_its_clipping_norm(run):
    """Known defect of TF Privacy 0.9; when this fails it was fixed."""
    assert run[0]["dropout.tf_privacy"].max() > 1.1
    ours = run[0]["dropout.book_keeping"]
    assert ours.max() < 1 + 1e-5
    assert ours.min() > 0.99  # every one was clipped, under a mask of its own


def test_batches_of_other_sizes_are_not_traced_again(run):
    assert run[1]["traces"] == 2  # one to clip, one to update


def test_the_fastest_way_is_chosen_among_all(run):
    assert run[1]["measured"] == sorted(MODES)
    assert run[1]["chosen"] in MODES


def test_recurrent_layers_are_the_functions_of_keras(run):
    """Of ``GRU(reset_after=True)`` and ``LSTM``, with the order of their parts."""
    assert set(run[1]["far_from_keras"]) == {"GRU", "LSTM"}
    assert max(run[1]["far_from_keras"].values()) < 1e-5


@pytest.mark.long
def test_every_way_passes_the_conformance_suite(tmp_path):
    assert run_case(tmp_path, "suite", timeout=1500)["failed"] == []


def test_own_code_is_clipped_one_by_one_whatever_the_size_of_the_batch(run):
    told = run[1]["own_code"]
    assert told["mixes"] == {"batch_norm": "batch_normalization (BatchNormalization)", "Crowded": ""}
    assert told["modes"] == ["dp_model"]  # the other takes rules of layers, from one pass over the whole batch
    assert told["apart"] <= 1e-5  # though examples of so large a batch would mix
