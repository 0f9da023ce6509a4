"""``benchmarks/gpu.py``: its networks are the same function in both frameworks, its counts are right, and it runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytestmark = [pytest.mark.torch, pytest.mark.jax]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
NETWORKS = ("mlp", "cnn", "resnet18", "transformer")


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_script"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_both_frameworks_compute_the_same_network(gpu, name):
    network = gpu.networks(small=True)[name]
    inputs, _ = gpu.draw(network, 3)
    with torch.no_grad():
        expected = gpu.torch_module(network, "cpu")(torch.from_numpy(inputs)).numpy()
    weights = gpu.plan(network.layers, network.shape, np.random.default_rng(1)).weights
    found = np.asarray(gpu.jax_apply(network.layers, weights, inputs))
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_that_pytorch_counts(gpu, name):
    network = gpu.networks(small=True)[name]
    module, inputs = gpu.torch_module(network, "cpu"), torch.from_numpy(gpu.draw(network, 2)[0])
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        module(inputs)
    made = gpu.plan(network.layers, network.shape, np.random.default_rng(1))
    assert counted.get_total_flops() == 2 * made.operations
    assert made.shape == (10,)


def test_the_full_networks_are_the_usual_ones(gpu):
    """ResNet-18 for ten classes of small images has 11,173,962 weights with either normalisation."""
    sizes = {
        name: sum(array.size for array in gpu.plan(net.layers, net.shape, np.random.default_rng(0)).weights.values())
        for name, net in gpu.networks(small=False).items()
    }
    assert sizes["cnn"] == 26_010
    # Its convolutions have biases here, 4800 of them, which those before a normalisation need not have.
    assert sizes["resnet18"] == 11_173_962 + 4_800


def test_a_gpu_that_is_not_there_ends_with_code_2(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--framework", "torch", "--output", tmp_path / "no.json"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "torch: PyTorch sees no GPU" in done.stdout
    assert "nothing could be measured on cuda" in done.stderr
    assert not (tmp_path / "no.json").exists()


@pytest.mark.long
def test_it_runs_whole_on_a_processor_and_says_that_this_is_no_result(tmp_path):
    output = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--device", "cpu", "--small", "--output", output],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Its figures are no results" in done.stdout
    found = json.loads(output.read_text())
    assert found["results"] is False and found["device"] == "cpu" and not found["absent"]
    measured = [row for row in found["rows"] if "median_s" in row]
    kinds = {(row["framework"], row["kind"]) for row in measured}
    assert len(kinds) == 10, kinds  # five kinds of work in both frameworks
    assert {row["network"] for row in measured} == {*NETWORKS, "shadow_mlp"}
    ours = {row["kind"] for row in measured if row["engine"].startswith("trustml")}
    assert ours == {"plain", "private", "integrated_gradients", "round", "shadows"}
    assert all(row["low_s"] <= row["median_s"] <= row["high_s"] for row in measured)
    assert all(row["peak_bytes"] > 0 and row["of_roofline"] > 0 for row in measured)
    failed = {(row["network"], row["engine"]) for row in found["rows"] if "failed" in row}
    # Opacus 1.6.0 takes a view of gradients that attention lays out otherwise.
    assert failed <= {("transformer", "Opacus ghost")}, failed
