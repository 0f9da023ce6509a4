"""Measures of federated training, recomputed by hand from the files of a tiny run."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest

import trustml
from tests.conftest import measured_once
from tests.records import unasked_second_opinion
from trustml.evidence.ledgers import verify_ledgers
from trustml.measures.evidence import Evidence
from trustml.measures.federated import examples_per_round, federated_rows
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.models.shapes import weight_shapes
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import ADD_OR_REMOVE, read_ledger
from trustml.record.store import RunDirectory

DENSE = Architecture(layers=(Flatten(), Dense(units=10)))
PARAMETERS = 64 * 10 + 10
FEDERATED, USERS = "train.jax.FedAvg.s0", "train.jax.DPFedAvg.s0"
PRIVATE = f"jobs/{USERS}/ledger.jsonl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return measured_once(tmp_path_factory, "federated")


@pytest.fixture(scope="module")
def table(run):
    return run.measures()


@pytest.fixture
def row(table):
    def only(job: str, measure: str):
        found = table[(table.job == job) & (table.measure == measure)]
        assert len(found) == 1, (job, measure, len(found))
        return found.iloc[0]

    return only


def arrays_of(run, name: str) -> dict[str, np.ndarray]:
    with np.load(run.path / name) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("job", "clients"), [(FEDERATED, "FedAvg.s0"), (USERS, "DPFedAvg.s0")])
def test_client_accuracies_follow_from_predictions_and_who_holds_what(run, row, job, clients):
    logits = arrays_of(run, f"jobs/{job}/predictions.npz")["test_logits"]
    labels = arrays_of(run, "private/data.npz")["test_labels"]
    owners = arrays_of(run, f"private/clients/{clients}.npz")["held_out"]
    each = np.array([(logits.argmax(1) == labels)[owners == client].mean() for client in sorted({*owners} - {-1})])
    assert row(job, "client_accuracy_mean").value == pytest.approx(each.mean())
    assert row(job, "client_accuracy_tenth").value == pytest.approx(np.quantile(each, 0.1))
    assert row(job, "client_accuracy_worst").value == pytest.approx(each.min())
    assert row(job, "client_accuracy_mean").n == len(each)
    private = "no epsilon covers it" in row(job, "client_accuracy_mean").note
    assert private == (job == USERS)


def test_the_last_look_is_the_model_that_is_released(run, row):
    for job in (FEDERATED, USERS):
        history = arrays_of(run, f"jobs/{job}/history.npz")
        assert history["rounds"].tolist() == [1, 2, 3]
        assert row(job, "accuracy").value == pytest.approx(history["accuracy"][-1])
        logits = arrays_of(run, f"jobs/{job}/predictions.npz")["test_logits"].astype(np.float64)
        labels = arrays_of(run, "private/data.npz")["test_labels"].astype(np.int64)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
        assert row(job, "held_out_loss").value == pytest.approx(losses.mean(), rel=1e-4)


def test_a_low_target_is_reached_at_once_and_a_perfect_one_never(row):
    assert row(FEDERATED, "rounds_to_target").value == 1
    never = row(USERS, "rounds_to_target")
    assert np.isnan(never.value) and "never reached in 3 rounds" in never.note


def test_bytes_are_those_of_the_weights_times_the_participants(row):
    assert sum(int(np.prod(shape)) for shape in weight_shapes(DENSE, (8, 8, 1)).values()) == PARAMETERS
    for job, participants in ((FEDERATED, 12 * 0.75), (USERS, 100)):
        for measure in ("bytes_down", "bytes_up"):
            assert row(job, measure).value == 4 * PARAMETERS * participants


def test_a_round_is_set_against_as_many_examples_of_central_training(run, row):
    evidence = Evidence(RunDirectory(run.path))
    jobs = {record.id: job for record, job in evidence.trained()}
    held = run.manifest.data.train_examples
    assert examples_per_round(evidence, jobs[FEDERATED]) == 0.75 * held
    assert examples_per_round(evidence, jobs[USERS]) == held / 2
    seconds = arrays_of(run, f"jobs/{FEDERATED}/timings.npz")["seconds"][1:]
    central = arrays_of(run, "jobs/train.jax.Plain.s0/timings.npz")
    rate = central["examples"][1:].sum() / central["seconds"][1:].sum()
    found = row(FEDERATED, "round_ratio")
    assert found.value == pytest.approx(np.median(seconds) * rate / (0.75 * held))
    assert found.low <= found.value <= found.high and found.n == 2


def test_norms_of_updates_are_told_only_without_privacy(run, row):
    norms = arrays_of(run, f"jobs/{FEDERATED}/rounds.npz")["update_norm"]
    assert row(FEDERATED, "client_update_norm").value == pytest.approx(np.median(norms)) and norms.min() > 0
    hidden = row(USERS, "client_update_norm")
    assert np.isnan(hidden.value) and "stay private" in hidden.note
    assert not (run.path / f"jobs/{USERS}/rounds.npz").exists()
    assert not (run.path / f"jobs/{USERS}/timings.npz").exists()
    assert (run.path / f"private/rounds/{USERS}.npz").exists()


def test_the_statement_is_for_users(run, row):
    charges = read_ledger(run.path / PRIVATE)
    assert sum(charge.steps for charge in charges) == 3
    assert {(charge.unit, charge.sampling, charge.examples) for charge in charges} == {("user", "poisson", 200)}
    found = row(USERS, "epsilon")
    assert found.value == epsilon_of(charges, delta=1e-5).value
    for word in ("delta=1e-05", "unit: user", ADD_OR_REMOVE, "PLD"):
        assert word in found.note
    statements = msgspec.json.decode((run.path / "privacy.json").read_bytes())
    units = {statement["model"]: statement["unit_of_privacy"] for statement in statements}
    assert units == {USERS: "user", "train.jax.DPSGD.s0": "example"}
    assert any("200 clients, 100 a round" in warning for warning in run.manifest.warnings)


def test_each_unit_of_privacy_is_composed_by_itself(run, table, row):
    partition = next(part.fingerprint for part in run.manifest.partitions if part.regime == "DPFedAvg")
    every = table[table.measure == "epsilon_all_releases"].set_index("subject")
    users = f"user-level ledgers, partition {partition[:12]}"
    assert set(every.index) == {"all ledgers", users}
    assert every.value["all ledgers"] == row("train.jax.DPSGD.s0", "epsilon").value
    assert every.value[users] == row(USERS, "epsilon").value
    assert "unit: user" in every.note[users] and "another unit" in every.note["all ledgers"]


def test_the_ledgers_of_the_run_verify(run):
    checks = verify_ledgers(RunDirectory(run.path))
    assert checks and all(check.passed for check in checks), [c for c in checks if not c.passed]
    together = [check.message for check in checks if not check.subject]
    assert len(together) == 2 and "(all ledgers)" in together[0] + together[1]
    assert any("(user-level ledgers, partition " in message for message in together)


def test_partitions_are_in_the_record_without_the_data(run):
    found = {part.regime: part for part in run.manifest.partitions}
    assert {title: part.clients for title, part in found.items()} == {"FedAvg": 12, "DPFedAvg": 200}
    clients = arrays_of(run, "private/clients/FedAvg.s0.npz")
    assert clients["label_counts"].shape == (12, 10)
    assert clients["label_counts"].sum() == run.manifest.data.train_examples
    assert not list((run.path / "jobs").rglob("clients*"))


def test_without_the_private_folder_client_accuracies_are_absent(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / run.id)
    shutil.rmtree(copy / "private" / "clients")
    rows = federated_rows(Evidence(RunDirectory(copy)))
    found = [row for row in rows if row.measure.startswith("client_accuracy")]
    assert len(found) == 6 and all(row.value is None and "not at hand" in row.note for row in found)


def test_a_lost_private_training_is_charged_again_on_new_cohorts(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / run.id)
    lost = trustml.load(copy)
    records = tuple(
        msgspec.structs.replace(record, status="signal", reason="lost") if record.id == USERS else record
        for record in lost.manifest.jobs
    )
    lost._directory.write_manifest(msgspec.structs.replace(lost.manifest, jobs=records, status="partial"))
    first = read_ledger(copy / PRIVATE)
    with unasked_second_opinion():
        resumed = trustml.resume(copy)
    assert resumed.status == "success"
    charges = read_ledger(copy / PRIVATE)
    assert charges[: len(first)] == first, "nothing is taken back"
    second = charges[len(first) :]
    assert {charge.attempt for charge in second} == {2} and sum(charge.steps for charge in second) == 3
    assert {charge.plan for charge in second}.isdisjoint({charge.plan for charge in first})
    plans = [arrays_of(resumed, name) for name in ("private/plans/DPFedAvg.s0.npz", f"private/plans/{USERS}.a2.npz")]
    assert plans[0]["visits"].tolist() != plans[1]["visits"].tolist()
    found = resumed.measures().query(f"measure == 'epsilon' and job == '{USERS}'").iloc[0]
    assert found.value == epsilon_of(charges, delta=1e-5).value > epsilon_of(first, delta=1e-5).value
    assert "2 attempts composed" in found.note and "new cohorts" in found.note
    assert all(check.passed for check in verify_ledgers(RunDirectory(copy)))
