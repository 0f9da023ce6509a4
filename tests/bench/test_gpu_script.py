"""``benchmarks/gpu.py``: its networks are the same function in both frameworks, its counts are right, and it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trustml_bench.arithmetic import count
from trustml_bench.engines import (
    fastest,
    jax_network,
    jax_plain,
    jax_privacy_steps,
    opacus_steps,
    own,
    torch_network,
    torch_plain,
)
from trustml_bench.workloads import Workload

pytestmark = [
    pytest.mark.torch,
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated"),  # of jax-privacy 2.0
]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
NETWORKS = ("small_mlp", "small_cnn", "small_resnet", "small_transformer")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in ("small_cnn", "small_resnet") else ()) for name in NETWORKS],
)
def test_both_frameworks_compute_the_same_network(name):
    workload = Workload(kind="plain_step", network=name, size=3)
    inputs, _ = torch_network.batch(workload)
    with torch.no_grad():
        expected = torch_network.start(workload)(inputs).numpy()
    found = np.asarray(jax_network.standard_form(workload)(jax_network.start(workload), jax_plain.batch(workload)[0]))
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_and_weights_are_those_that_pytorch_counts(name):
    workload = Workload(kind="plain_step", network=name, size=2)
    module, (inputs, _) = torch_network.start(workload), torch_network.batch(workload)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        shape = module(inputs).shape
    found = count(name)
    assert counted.get_total_flops() == 2 * found.operations
    assert found.weights == sum(part.numel() for part in module.parameters())
    assert found.inputs == inputs[0].numel() and found.values > found.operations**0.4
    assert shape == (2, 5 if name == "small_mlp" else 10)


def test_values_are_those_of_every_layers_output():
    assert count("mlp").values == 2 * 256 + 2 * 128 + 10
    conv, pooled = 14 * 14 * 16, 13 * 13 * 16
    assert count("cnn").values == 2 * conv + pooled + 2 * 5 * 5 * 32 + 4 * 4 * 32 * 2 + 2 * 32 + 10


def test_the_full_networks_are_the_usual_ones():
    """ResNet-18 for ten classes of small images has 11,173,962 weights with either normalisation."""
    assert count("cnn").weights == 26_010
    # Its convolutions have biases here, 4800 of them, which those before a normalisation need not have.
    assert count("resnet18").weights == 11_173_962 + 4_800


@pytest.mark.long
@pytest.mark.parametrize("name", ["small_resnet", "small_transformer"])
def test_peers_and_floors_take_the_same_step_on_networks_of_which_trustml_knows_nothing(name, monkeypatch):
    monkeypatch.setattr(fastest, "_SECONDS", 0.0)
    plain, private = (
        Workload(kind=kind, network=name, size=32, noise_multiplier=0.0) for kind in ("plain_step", "private_step")
    )
    works = [torch_plain.plain_step(plain), jax_plain.plain_step(plain)]
    works += [opacus_steps.hooks(private), jax_privacy_steps.microbatches(private)]
    start = torch_network.weights_of(torch_network.start(plain), plain)
    for work in works:
        work()
    moved = [_change(work, start) for work in works[:2]], [_change(work, start) for work in works[2:]]
    for torchs, jaxs in moved:
        assert np.abs(torchs).max() > 1e-4
        np.testing.assert_allclose(jaxs, torchs, atol=1e-3 * np.abs(torchs).max())
    for backend in ("torch", "jax"):
        with pytest.raises(NotImplementedError, match="no residual connection"):
            own.plain_step(backend, plain)


def _change(work, start) -> np.ndarray:
    found = work.outcome()
    return np.concatenate([(np.asarray(found[name]) - start[name]).ravel() for name in start])


@pytest.mark.long
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
    assert ours == {"plain_step", "private_step", "integrated_gradients", "round", "shadows"}
    assert all(row["low_s"] <= row["median_s"] <= row["high_s"] for row in measured)
    assert all(row["peak_bytes"] > 0 and row["of_roofline"] > 0 for row in measured)
    failed = {(row["network"], row["engine"]) for row in found["rows"] if "failed" in row}
    # Opacus 1.6.0 takes a view of gradients that attention lays out otherwise.
    assert failed <= {("small_transformer", "Opacus ghost")}, failed
