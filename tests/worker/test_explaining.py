"""An explain job in this process: what is explained, of whom, and what it is judged by."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import trustml
from trustml.launch.prepare import prepare_run
from trustml.models.zoo import mlp
from trustml.worker.pipeline import run_job

pytestmark = pytest.mark.torch
ROWS = (7, 2, 11)
METHODS = (
    trustml.IntegratedGradients(n_steps=40, baseline=trustml.Median(rows="held-out")),
    trustml.FeatureAblation(),
    trustml.DeepLift(),
)


def explained(folder, **fields):
    """Explain a network as it starts."""
    scenario = trustml.Scenario(
        name="asked",
        data=trustml.BreastCancer(),
        model=mlp([8], classes=2),
        training=(trustml.Plain(epochs=1),),
        backends=("torch",),
        explanations=trustml.Explanations(methods=METHODS, rows=ROWS, timing=False, **fields),
        execution=trustml.Execution(threads=1),
    )
    run = prepare_run(scenario, root=folder)
    (record,) = [one for one in run.manifest().jobs if one.kind == "explain"]
    job = run.job(record.id)
    run.file(job.weights).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.file("weights/initial.s0.safetensors"), run.file(job.weights))
    result = run_job(job, run.job_folder(job.id))
    assert all(one.ok for one in result.methods)
    return run, run.arrays(f"jobs/{job.id}/attributions.npz"), run.arrays(f"jobs/{job.id}/probes.npz")


def test_losses_of_chosen_rows_are_explained_and_judged_as_losses(tmp_path):
    run, found, probes = explained(tmp_path, quantity="loss")
    heldout, data = run.arrays("heldout.npz"), run.arrays("private/data.npz")
    np.testing.assert_array_equal(heldout["inputs"], data["test_inputs"][list(ROWS)])
    labels = data["test_labels"][list(ROWS)]
    np.testing.assert_array_equal(heldout["targets"], labels)
    wide = found["logits"].astype(np.float64)
    losses = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(3), labels]
    np.testing.assert_allclose(found["outcomes"][np.arange(3), found["columns"]], losses, rtol=1e-5)
    change = losses - found["IntegratedGradients.baseline_logits"][np.arange(3), labels]
    np.testing.assert_allclose(found["IntegratedGradients.total_native"], change, atol=1e-3)
    left_out = {skip.method: skip.reason for skip in run.manifest().skips}
    assert left_out["DeepLift"].startswith("has no rule for a loss")
    # curves are of the probability of the class, whatever is explained of it
    shares = np.exp(wide[np.arange(3), labels]) / np.exp(wide).sum(axis=1)
    np.testing.assert_allclose(probes["IntegratedGradients.native.deletion"][:, 0], shares, rtol=1e-5)
    assert (probes["FeatureAblation.native.infidelity"] < 0.5).all()


def test_what_speaks_against_a_loss_ranks_as_what_speaks_for_the_class(tmp_path):
    """Gradients of a class's probability and of its loss have one direction and opposite signs."""
    curves = {}
    for quantity in ("loss", "probability"):
        _, found, probes = explained(tmp_path, quantity=quantity)
        curves[quantity] = [probes[f"IntegratedGradients.native.{kind}"] for kind in ("deletion", "insertion")]
        signs = np.sign(found["IntegratedGradients.native"])
        curves[quantity].append(signs if quantity == "probability" else -signs)
    for first, second in zip(*curves.values(), strict=True):
        np.testing.assert_allclose(first, second, atol=5e-3)
