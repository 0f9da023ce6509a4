"""Captum's two measures on the same model, attributions and perturbations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import infidelity_perturb_func_decorator, sensitivity_max

from tests.attribution import torch_models as tm
from tests.attribution.linear import gaussian_steps, random_squares
from trustml.attribution.infidelity import (
    infidelity,
    logit_changes,
    products,
    removal_steps,
    scaled_infidelity,
)
from trustml.attribution.sensitivity import distances, max_sensitivity, neighbours

pytestmark = pytest.mark.torch

COUNT, SAMPLES = 12, 15


def setting():
    model = tm.small_cnn(seed=0)
    inputs = tm.images(COUNT, seed=0)
    targets = tm.predict_with(model)(inputs).argmax(axis=1)
    return model, inputs, targets, tm.last(tm.gradient(model, tm.first(inputs), targets))


def flat_first(array):
    """(n, k, h, w, c) to (n * k, c, h, w): Captum repeats every example k times in a row."""
    return torch.tensor(tm.first(array.reshape(-1, *array.shape[2:])))


@pytest.mark.parametrize("kind", ["noise", "squares"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("slopes", [True, False])
def test_infidelity(kind, normalize, slopes):
    model, inputs, targets, attributions = setting()
    generator = np.random.default_rng(1)
    if kind == "noise":
        steps = gaussian_steps(inputs, stdev=0.2, samples=SAMPLES, generator=generator)
    else:
        removed = random_squares((8, 8, 1), side=3, examples=COUNT, samples=SAMPLES, generator=generator)
        steps = removal_steps(inputs, baseline=np.zeros_like(inputs), removed=removed)
    if not slopes:
        attributions = attributions * inputs

    @infidelity_perturb_func_decorator(multiply_by_inputs=not slopes)
    def perturb(rows):
        return rows - flat_first(steps)

    theirs = captum_infidelity(
        model,
        perturb,
        torch.tensor(tm.first(inputs)),
        torch.tensor(tm.first(attributions)),
        target=torch.tensor(targets),
        n_perturb_samples=SAMPLES,
        normalize=normalize,
    ).numpy()
    changes = logit_changes(tm.predict_with(model), inputs=inputs, targets=targets, steps=steps)
    foretold = products(attributions, steps=steps, span=None if slopes else inputs)
    ours = (scaled_infidelity if normalize else infidelity)(foretold, changes)
    assert ours.mean() > 1e-4
    # Captum works in float32, and with a scale it subtracts three sums of squares from one another.
    np.testing.assert_allclose(theirs, ours, rtol=1e-4 if normalize else 1e-5)


def test_max_sensitivity():
    model, inputs, targets, attributions = setting()
    around = neighbours(inputs, radius=0.1, samples=SAMPLES, generator=np.random.default_rng(2))
    asked = []

    def explanation(rows, target):
        asked.append(len(rows[0]))
        return (torch.tensor(tm.gradient(model, rows[0].numpy(), target.numpy())),)

    theirs = sensitivity_max(
        explanation,
        torch.tensor(tm.first(inputs)),
        perturb_func=lambda rows: (flat_first(around),),
        n_perturb_samples=SAMPLES,
        target=torch.tensor(targets),
    ).numpy()
    assert asked == [COUNT, COUNT * SAMPLES]
    found = distances(
        lambda rows: tm.last(tm.gradient(model, tm.first(rows), targets)),
        inputs=inputs,
        around=around,
        original=attributions,
    )
    # float32 norms there.
    np.testing.assert_allclose(theirs, max_sensitivity(found), rtol=1e-5)
