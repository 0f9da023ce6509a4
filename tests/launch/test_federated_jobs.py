"""Federated jobs from outside: TFF's children end with the job, its logs are quiet, its failures are one line."""

from __future__ import annotations

import os
import uuid

import msgspec
import psutil
import pytest

import trustml
from trustml.scenario.federated import FedAvg
from trustml.scenario.methods import Saliency
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.spec import Explanations, Probes

# in short test_run.py and test_left_behind.py look for what other jobs leave behind
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.tensorflow, pytest.mark.cold]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A run of TFF beside one that diverges, and the mark that its processes carry."""
    mark = uuid.uuid4().hex
    os.environ["TRUSTML_TEST_MARK"] = mark
    works, diverges = (
        FedAvg(partition=IID(clients=4), rounds=3, batch_size=32),
        FedAvg(
            name="diverges",
            partition=IID(clients=4),
            rounds=3,
            server_learning_rate=1e38,
            client_optimizer=SGD(learning_rate=10.0),
        ),
    )
    saliency = Explanations(
        methods=(Saliency(),), examples=2, scope="own", timing=False, probes=Probes(faithfulness=False)
    )
    scenario = msgspec.structs.replace(
        tiny,
        training=(works, diverges),
        backends=("tensorflow",),
        explanations=saliency,
    )
    try:
        run = trustml.run(scenario, out=tmp_path_factory.mktemp("tff"))
    finally:
        del os.environ["TRUSTML_TEST_MARK"]
    return run, mark


def test_no_process_of_tff_outlives_its_job(finished):
    left = []
    for process in psutil.process_iter(["name", "status"]):
        try:
            marked = process.environ().get("TRUSTML_TEST_MARK") == finished[1]
        except psutil.Error:
            continue
        if marked and process.info["status"] != psutil.STATUS_ZOMBIE:
            left.append(process.info["name"])
    assert not left


def test_its_logs_are_quiet_and_its_compiling_is_told_apart(finished):
    run, _ = finished
    folder = run.path / "private" / "logs" / "train.tensorflow.FedAvg.s0"
    assert (folder / "stdout.txt").read_text() == ""
    assert len((folder / "stderr.txt").read_text().splitlines()) <= 2
    table = run.measures()
    first = table[(table.measure == "step_time_first") & (table.regime == "FedAvg")]
    steady = table[(table.measure == "step_time_median") & (table.regime == "FedAvg")]
    assert "compiling" in first.note.iloc[0] and first.value.iloc[0] > steady.value.iloc[0]
    record = next(r for r in run.manifest.jobs if r.regime == "FedAvg")
    assert record.result.seconds["federation_setup"] > 0


@pytest.mark.long
def test_a_failure_is_one_line_and_what_would_explain_it_is_blocked(finished):
    run, _ = finished
    record = next(r for r in run.manifest.jobs if r.regime == "diverges")
    assert run.status == "partial" and record.status == "error"
    assert "not finite" in record.reason and "\n" not in record.reason
    blocked = next(r for r in run.manifest.jobs if r.id == "explain.tensorflow.of.tensorflow.diverges.s0")
    assert blocked.status == "blocked"


@pytest.mark.long
def test_what_it_trained_is_explained_in_its_environment(finished):
    run, _ = finished
    record = next(r for r in run.manifest.jobs if r.id == "explain.tensorflow.of.tensorflow.FedAvg.s0")
    assert record.status == "ok", record.reason
    found = run.attributions("train.tensorflow.FedAvg.s0", backend="tensorflow", variant="completed")
    assert found.shape == (2, 8, 8, 1) and (found >= 0).all() and found.max() > 0
