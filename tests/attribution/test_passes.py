"""Rows that explanations take through a network at once: from bytes, or as asked for."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from trustml.attribution import passes
from trustml.attribution.passes import MOST_ROWS, rows_of_pass
from trustml.launch.environments import find_environment
from trustml.models.residual import resnet18
from trustml.models.transformers import vit_tiny
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario import methods as m
from trustml.scenario.spec import Execution

TAKEN = (
    m.IntegratedGradients(n_steps=5),
    m.SmoothGrad(n_samples=5),
    m.DeepLift(),
    m.FeatureAblation(patch=2),
    m.Occlusion(window=(3, 4), stride=(3, 4)),
    m.KernelShap(n_samples=20, patch=2),
    m.LayerConductance(layer=3, n_steps=4),
)


@pytest.mark.parametrize("architecture", [resnet18(classes=1000), vit_tiny()], ids=["resnet", "vit"])
def test_large_images_pass_a_few_at_a_time(architecture):
    rows = rows_of_pass(architecture, (224, 224, 3))
    assert 1 <= rows < 40
    assert rows_of_pass(architecture, (224, 224, 3), asked=2) == 2


def test_what_readers_are_told_of_the_budget_is_what_it_is():
    words = {2**28: "a quarter of a GiB"}[passes._BUDGET]
    execution = (Path(__file__).parents[2] / "docs" / "execution.md").read_text(encoding="utf-8")
    for told in (Execution.__doc__ or "", execution):
        assert f"as many as {words} holds of the network's values" in " ".join(told.split())
    assert 24 / rows_of_pass(resnet18(classes=2), (224, 224, 3)) == 6 and "24 take\nsix passes" in execution


def test_small_networks_keep_their_passes():
    assert rows_of_pass(small_cnn(), (8, 8, 1)) == rows_of_pass(mlp([32], classes=2), (30,)) == MOST_ROWS
    assert rows_of_pass(small_cnn(), (28, 28, 1), most=10**9) < 10**6


@pytest.mark.torch
def test_captum_takes_as_many_as_are_said_and_gives_the_same():
    import torch

    from tests.backends.torch.explaining import request
    from trustml.backends.torch.attribution import explain

    taken: list[int] = []

    def watch(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(given[0], torch.Tensor) and given[0].ndim == 4:  # images, not what surrogates are fitted to
            taken.append(len(given[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        for method in TAKEN:
            asked = request(method)
            whole = explain(asked)
            taken.clear()
            few = explain(dataclasses.replace(asked, rows=3))
            assert max(taken) <= 6, method.title  # inputs and baselines of DeepLIFT go together
            if not isinstance(method, m.SmoothGrad):
                np.testing.assert_allclose(few["native"], whole["native"], rtol=1e-4, atol=1e-6)
    finally:
        hook.remove()


PEAK = """
import resource
import numpy as np, tensorflow as tf
from trustml.attribution.passes import rows_of_pass
from trustml.backends.contract import Model
from trustml.backends.tensorflow.network import KerasNetwork
from trustml.models.residual import resnet18
from trustml.models.weights import initial_weights

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

architecture, shape = resnet18(classes=2), (224, 224, 3)
weights = initial_weights(architecture, shape, generator=np.random.default_rng(0))
network = KerasNetwork(Model(architecture=architecture, input_shape=shape, weights=weights))
rows = rows_of_pass(architecture, shape)
inputs = np.random.default_rng(1).random((rows, *shape), np.float32)
before = peak()
network.input_gradients(inputs, np.zeros(rows, np.int64))
print(peak() - before)
"""


@pytest.mark.long
@pytest.mark.tensorflow
def test_gradients_of_large_images_stay_within_the_budget_in_tensorflow():
    """Called as it is, TensorFlow takes twice what the budget holds; as a graph half of it."""
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [find_environment("tensorflow").require(), "-W", "ignore", "-c", PEAK],
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 512


@pytest.mark.jax
def test_jax_goes_by_what_is_said():
    from trustml.backends.jax.tiling import at_most, rows_at_once

    before = rows_at_once(small_cnn(), (8, 8, 1))
    with at_most(3):
        assert rows_at_once(small_cnn(), (8, 8, 1)) == 3
    with at_most(MOST_ROWS):
        assert rows_at_once(small_cnn(), (8, 8, 1)) == before == rows_at_once(small_cnn(), (8, 8, 1))
