"""Ablations of a private regime: same law of batches, never the same batches; not private, and nowhere said to be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.records.make import DENSE
from trustml.launch.prepare import prepare_run
from trustml.plan.job import TrainJob, promises_privacy, timings_file
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory
from trustml.scenario.methods import Saliency
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Scenario

PARTS = {"Schedule": "schedule", "Clipped": "clipping", "Noisy": "noise"}
SCENARIO = Scenario(
    name="ablated",
    data=Digits(test_fraction=0.9),
    model=DENSE,
    training=(
        *(Plain(name=name, ablation=Ablation(of="DPSGD", keeps=keeps)) for name, keeps in PARTS.items()),
        Plain(),
        DPSGD(epsilon=4.0, batch_size=40, steps=20),
    ),
    backends=("jax",),
    explanations=Explanations(methods=(Saliency(),), examples=2, scope="reference"),
    execution=Execution(threads=1),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> RunDirectory:
    return prepare_run(SCENARIO, root=tmp_path_factory.mktemp("ablated"))


def jobs_of(run: RunDirectory) -> dict[str, TrainJob]:
    manifest: Manifest = run.manifest()
    jobs = [run.job(record.id) for record in manifest.jobs if record.kind == "train"]
    return {job.regime.title: job for job in jobs if isinstance(job, TrainJob)}


def test_batches_follow_the_private_law_from_a_public_stream(prepared, tmp_path):
    again = prepare_run(SCENARIO, root=tmp_path)
    plans, others = ({title: run.arrays(job.plan) for title, job in jobs_of(run).items()} for run in (prepared, again))
    first = plans["Schedule"]
    for title in PARTS:
        for name in ("indices", "offsets"):
            np.testing.assert_array_equal(plans[title][name], first[name])
            np.testing.assert_array_equal(plans[title][name], others[title][name])
    assert len(first["offsets"]) == len(plans["DPSGD"]["offsets"]) == 21
    sizes = np.diff(first["offsets"])
    assert len(set(sizes)) > 5 and abs(sizes.mean() - 40) < 6  # Poisson: 20 sizes of deviation 5.4
    # Whoever sees models of steps without noise learns who was in them: never in those of the private model.
    secret = plans["DPSGD"]
    assert not np.array_equal(np.diff(secret["offsets"]), sizes)
    assert not np.array_equal(secret["indices"], others["DPSGD"]["indices"])


def test_nothing_of_it_promises_privacy(prepared):
    jobs = jobs_of(prepared)
    noise = jobs["DPSGD"].mechanism.noise_multiplier
    for title, expected in (("Schedule", 0.0), ("Clipped", 0.0), ("Noisy", noise)):
        job = jobs[title]
        assert job.mechanism is None and not promises_privacy(job) and timings_file(job).startswith("jobs/")
        assert job.ablated.noise_multiplier == expected and job.ablated.regime.title == "DPSGD"
    assert jobs["Plain"].ablated is None and noise > 0.5


def test_the_reference_is_no_ablation(prepared):
    explained = [record.subject for record in prepared.manifest().jobs if record.kind == "explain"]
    assert "train.jax.Plain.s0" in explained


@pytest.mark.jax
def test_a_worker_trains_it_and_charges_nothing(prepared):
    from trustml.backends.contract import Model
    from trustml.backends.table import load_backend
    from trustml.models.shapes import weight_shapes
    from trustml.models.weights import read_weights
    from trustml.worker.clock import Clock
    from trustml.worker.job_context import JobContext, Progress
    from trustml.worker.prepared import read_prepared
    from trustml.worker.training import train

    for title, job in jobs_of(prepared).items():
        if title not in PARTS:
            continue
        folder = prepared.job_folder(job.id)
        shapes = weight_shapes(job.model, job.input_shape)
        weights = read_weights(prepared.file(job.initial_weights), expected=shapes)
        model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights)
        examples, _ = read_prepared(prepared.file(job.data), fingerprint=job.data_fingerprint)
        at = JobContext(
            root=prepared.path, folder=folder, clock=Clock(lambda: None), progress=Progress(folder / "events")
        )
        trained = train(job, load_backend("jax"), model, examples, at=at)
        assert all(np.isfinite(part).all() for part in trained.weights.values())
        assert any((trained.weights[name] != weights[name]).any() for name in weights)
        assert "not private" in " ".join(trained.notes) and not (folder / "ledger.jsonl").exists()
