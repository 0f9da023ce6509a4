"""Weights that were exchanged or changed, every hash mended: the model answers otherwise than its record says."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest

from tests.records import copy_of
from trustml.evidence.files import job_checks
from trustml.evidence.predictions import prediction_checks
from trustml.measures.evidence import Evidence
from trustml.models.layers import AvgPool, Dense
from trustml.models.weights import encode_weights, read_weights
from trustml.record.files import encode_arrays, read_arrays, sha256

PRIVATE, PLAIN = "train.jax.DPSGD.s0", "train.jax.Plain.s0"
WEIGHTS = "weights.safetensors"


@pytest.fixture
def run(tmp_path):
    """A private and a plain model of one run."""
    return copy_of("private", tmp_path).directory


def checked(run, *, change=None):
    """Outcome and message for each subject, after all hashes were mended."""
    manifest = run.manifest()
    jobs = tuple(
        msgspec.structs.replace(job, artifacts={name: sha256(run.job_folder(job.id) / name) for name in job.artifacts})
        for job in manifest.jobs
    )
    artifacts = {name: sha256(run.path / name) for name in manifest.artifacts}
    run.write_manifest(msgspec.structs.replace(manifest, jobs=jobs, artifacts=artifacts))
    found = job_checks(run, run.manifest())[1]
    if change is not None:
        found = {name: change(job) for name, job in found.items()}
    checks = prediction_checks(Evidence(run), found)
    return [(check.subject, check.outcome, check.message) for check in checks]


def different(run):
    return {subject: message for subject, outcome, message in checked(run) if outcome == "differs"}


def test_honest_models_give_their_predictions(run):
    found = checked(run)
    assert {outcome for _, outcome, _ in found} == {"ok"}
    assert {subject for subject, _, _ in found} == {PRIVATE, PLAIN, "weights/initial.s0.safetensors"}


def test_a_private_model_that_was_replaced_by_the_plain_one_is_told(run):
    for name in (WEIGHTS, "predictions.npz"):  # first the weights alone, then what they answer too
        shutil.copy(run.job_folder(PLAIN) / name, run.job_folder(PRIVATE) / name)
        found = checked(run)
        assert (PRIVATE, "differs", f"has the weights of {PLAIN}, which was trained without privacy") in found
        messages = [message for subject, outcome, message in found if subject == PRIVATE and outcome == "differs"]
        assert any("do not give its predictions" in one for one in messages) == (name == WEIGHTS)


def test_predictions_behind_the_explained_inputs_are_recomputed_or_said_not_to_be(tmp_path):
    run = copy_of("twice", tmp_path).directory
    count, (model, *_) = (
        len(run.arrays("heldout.npz")["inputs"]),
        [j.id for j in run.manifest().jobs if j.kind == "train"],
    )
    predictions = run.job_folder(model) / "predictions.npz"
    arrays = read_arrays(predictions)
    total = len(arrays["test_logits"])
    assert 0 < count < total
    forged = arrays["test_logits"].copy()
    forged[-1] = forged[-1][::-1]
    predictions.write_bytes(encode_arrays({**arrays, "test_logits": forged}))
    assert "do not give its predictions" in different(run)[model]
    shutil.rmtree(run.path / "private")
    found = [message for subject, outcome, message in checked(run) if (subject, outcome) == (model, "not recomputed")]
    assert found == [f"predictions from weights: {total - count} of {total} inputs are not at hand, or too many"]


def test_explained_inputs_that_are_none_of_the_held_out_ones_are_told(tmp_path):
    run = copy_of("twice", tmp_path).directory
    arrays = read_arrays(run.path / "heldout.npz")
    (run.path / "heldout.npz").write_bytes(encode_arrays({**arrays, "inputs": arrays["inputs"][::-1]}))
    assert "not the first held-out ones" in different(run)["heldout.npz"]


@pytest.mark.parametrize("model", [PRIVATE, PLAIN])
def test_weights_that_were_changed_a_little_are_told(run, model):
    path = run.job_folder(model) / WEIGHTS
    weights = read_weights(path)
    name = sorted(weights)[-1]
    path.write_bytes(encode_weights({**weights, name: weights[name] * np.float32(1.05)}))
    assert set(different(run)) == {model}


def test_weights_of_another_shape_and_predictions_of_another_are_told(run):
    path = run.job_folder(PLAIN) / WEIGHTS
    before = path.read_bytes()
    path.write_bytes(encode_weights({"0.kernel": np.zeros((2, 2), np.float32)}))
    assert "RecordError" in different(run)[PLAIN]
    path.write_bytes(before)
    predictions = run.job_folder(PLAIN) / "predictions.npz"
    logits = read_arrays(predictions)["test_logits"]
    for wrong in (logits[:3], logits[:, :-1], logits.ravel(), np.full_like(logits, np.nan)):
        predictions.write_bytes(encode_arrays({"test_logits": wrong}))
        assert PLAIN in different(run)


def test_starting_weights_that_the_seed_does_not_give_are_told(run):
    (name,) = [name for name in run.manifest().artifacts if name.startswith("weights/")]
    weights = read_weights(run.path / name)
    part = sorted(weights)[0]
    weights[part].flat[0] = np.nextafter(weights[part].flat[0], np.float32(9))
    (run.path / name).write_bytes(encode_weights(weights))
    assert different(run) == {name: "are not those that the seed gives"}


def test_without_inputs_nothing_is_said_to_agree(run):
    shutil.rmtree(run.path / "private")
    found = {subject: (outcome, message) for subject, outcome, message in checked(run)}
    assert found[PRIVATE][0] == found[PLAIN][0] == "not recomputed"
    assert "held-out inputs are not at hand" in found[PRIVATE][1]


@pytest.mark.parametrize(
    "layer",
    [
        AvgPool(size=(10**9, 1), stride=(10**9, 1), padding=((10**9, 10**9), (0, 0))),
        Dense(units=10**8),
    ],
)
def test_a_network_that_would_take_all_memory_is_not_computed(run, layer):
    def change(job):
        return msgspec.structs.replace(job, model=msgspec.structs.replace(job.model, layers=(layer, *job.model.layers)))

    found = checked(run, change=change)
    assert {outcome for subject, outcome, _ in found if subject in (PRIVATE, PLAIN)} <= {"differs", "not recomputed"}


@pytest.mark.parametrize("private", [True, False])
def test_chosen_rows_are_held_against_the_predictions_of_those_rows(private, tmp_path):
    """A record of chosen rows, made of one of the first: what the others say of them no longer counts."""
    run = copy_of("twice", tmp_path).directory
    count, manifest = len(run.arrays("heldout.npz")["inputs"]), run.manifest()
    rows = list(range(count, 2 * count))[::-1]
    manifest.scenario["explanations"]["rows"] = rows
    run.write_manifest(manifest)
    assert "its inputs are not the chosen held-out ones" in different(run)["heldout.npz"]
    arrays, data = read_arrays(run.path / "heldout.npz"), read_arrays(run.path / "private" / "data.npz")
    inputs = data["test_inputs"][rows]
    (run.path / "heldout.npz").write_bytes(encode_arrays({**arrays, "inputs": inputs}))
    explained = [record for record in manifest.jobs if record.kind == "explain"]
    for record in explained:
        path = run.job_folder(record.id) / "attributions.npz"
        own = read_arrays(run.job_folder(run.job(record.id).subject) / "predictions.npz")["test_logits"][rows]
        path.write_bytes(encode_arrays({**read_arrays(path), "logits": own}))
    if not private:
        shutil.rmtree(run.path / "private")
    assert not {"heldout.npz", *(record.id for record in explained)} & set(different(run))
    assert {outcome for subject, outcome, _ in checked(run) if subject == explained[0].id} == {"ok"}
