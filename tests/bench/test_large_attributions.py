"""Integrated gradients of a photograph's size: Captum's own, and ours in PyTorch and in JAX."""

from __future__ import annotations

import numpy as np
import pytest

from trustml_bench.workloads import Workload

WORKLOAD = Workload(kind="integrated_gradients", network="resnet18_224", size=1)
TOLERANCE = 1e-4  # of the largest attribution: rounding of float32 through 18 layers, summed over 50 points


@pytest.mark.torch
@pytest.mark.jax
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_50_steps_in_chunks_are_captums_own():
    from trustml_bench.engines import captum_attributions, own

    works = {
        "Captum, in batches of 8": captum_attributions.integrated_gradients_8(WORKLOAD),
        "torch": own.explanation("torch", WORKLOAD),
        "jax": own.explanation("jax", WORKLOAD),
    }
    found = {}
    for name, work in works.items():
        work()
        found[name] = work.outcome()["attributions"]
    expected = found.pop("Captum, in batches of 8")
    assert expected.shape == (1, 224, 224, 3) and np.abs(expected).max() > 0
    differences = {name: np.abs(one - expected).max() / np.abs(expected).max() for name, one in found.items()}
    print(differences)
    assert max(differences.values()) < TOLERANCE, differences
