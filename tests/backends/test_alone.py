"""An example's attributions do not depend on which others are explained with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.backends.jax.explained import model_of, request
from trustml.backends.jax.attribution import explain as explain_in_jax
from trustml.backends.torch.attribution import explain as explain_in_torch
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, ReLU
from trustml.scenario import methods as m

pytestmark = [pytest.mark.torch, pytest.mark.jax]
NETWORK = Architecture(layers=(Conv2D(filters=4, stride=(2, 2)), ReLU(), Flatten(), Dense(units=10)))
PATCHES = np.arange(8)[:, None] // 2 * 4 + np.arange(8)[None] // 2
SAMPLED: tuple[m.Method, ...] = (
    m.SmoothGrad(n_samples=6),
    m.SmoothGrad(name="VarGrad", n_samples=6, statistic="variance"),
    m.GradientShap(n_samples=6, stdev=0.1),
    m.ShapleyValueSampling(n_samples=3),
    m.KernelShap(n_samples=40),
    m.Lime(n_samples=40, alpha=1e-3),
)
"""All that draw, but for FeaturePermutation: it shuffles features among the examples, which is its definition."""


@pytest.mark.parametrize(
    ("method", "explain"),
    [
        # in short JAX's of one method, as it compiles each twice
        pytest.param(method, explain, id=f"{method.title}-{name}", marks=pytest.mark.long if alike else ())
        for method in SAMPLED
        for name, explain in (("torch", explain_in_torch), ("jax", explain_in_jax))
        for alike in [name == "jax" and method.title != "ShapleyValueSampling"]
    ],
)
def test_alone_and_among_eight(explain, method):
    inputs = np.random.default_rng(2).random((8, 8, 8, 1)).astype(np.float32)
    model = model_of(NETWORK, (8, 8, 1))
    together = request(model, inputs, method, features=PATCHES[..., None], background=inputs[:3] / 2)
    found = explain(together)["native"]
    for row in (0, 5):
        part = slice(row, row + 1)
        one = replace(together, inputs=inputs[part], targets=together.targets[part], baseline=together.baseline[part])
        alone = explain(one)["native"]
        # Batches of other sizes add in another order; the variance is a difference of squares.
        np.testing.assert_allclose(alone[0], found[row], atol=2e-4 * np.abs(found[row]).max(), rtol=0)
