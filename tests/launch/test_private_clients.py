"""Private clients of a federation, from a scenario to what is planned, charged and stated; nothing trains."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from trustml.data.clients import read_federated_plan, rounds_visited
from trustml.errors import PrivacyError, RecordError, ScenarioError
from trustml.launch import resume
from trustml.launch.federation import partition_arrays
from trustml.launch.prepare import plan_run, prepare_run
from trustml.measures import client_privacy, participation
from trustml.measures.assumptions import _checked_elsewhere, _clients, _one_person, secrecy
from trustml.measures.client_privacy import of_clients
from trustml.measures.notes import note_of
from trustml.measures.participation import _in_silo
from trustml.measures.privacy import _of_statement
from trustml.measures.wording import (
    clipping_text,
    contribution_of,
    mechanism_text,
    sampling_text,
    times_tell,
    trust_text,
)
from trustml.models.zoo import mlp
from trustml.plan.client_mechanism import charged_steps
from trustml.plan.mechanism import make_charge
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, charge
from trustml.record.files import encode_arrays, read_arrays, sha256
from trustml.scenario.attacks import Attacks, Canaries, Game, GradientInversion, MembershipInference
from trustml.scenario.check import check_scenario
from trustml.scenario.federated import LocalDPFedAvg, SiloDPFedAvg
from trustml.scenario.partition import IID, Dirichlet, FixedCohort, NaturalKey
from trustml.scenario.sources import Csv
from trustml.scenario.spec import Execution, Explanations, Scenario

KEY, ROWS, SITES = ("site",), 360, 6
SILO = SiloDPFedAvg(
    partition=NaturalKey(columns=KEY), cohort=FixedCohort(clients=3), epsilon=2.0, delta=1e-4, rounds=8,
    local_steps=2, batch_size=8,
)  # fmt: skip
LOCAL = LocalDPFedAvg(partition=IID(clients=12), cohort=FixedCohort(clients=3), epsilon=8.0, delta=1e-3, rounds=4)
ATTACKS = Attacks(
    membership=MembershipInference(shadow_models=4),
    canaries=(Canaries(count=20),),
    games=(Game(noise_multiplier=1.0, trials=200),),
    gradient_inversion=GradientInversion(),
)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Scenario:
    generator = np.random.default_rng(0)
    lines = ["site,a,b,label"]
    for row in range(ROWS):
        a, b = generator.normal(size=2)
        lines.append(f"s{row % 5 if row % 9 else 5},{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}")
    path = tmp_path_factory.mktemp("sites") / "sites.csv"
    path.write_text("\n".join(lines) + "\n")
    return Scenario(
        name="sites",
        data=Csv(path=str(path), label="label", keys=KEY, drop=KEY),
        model=mlp([4], classes=2),
        training=(SILO, LOCAL),
        backends=("jax", "torch", "tensorflow"),
        explanations=Explanations(methods=()),
        attacks=ATTACKS,
    )


@pytest.fixture(scope="module")
def planned(scenario):
    return plan_run(scenario)


def jobs_of(planned, title):
    return [job for job in planned.expansion.train if job.regime.title == title]


def test_all_backends_get_the_same_rounds_and_the_same_mechanism(planned):
    held = planned.partitions["SiloDPFedAvg", 0]
    silos, locals_ = jobs_of(planned, "SiloDPFedAvg"), jobs_of(planned, "LocalDPFedAvg")
    assert {job.backend for job in silos} == {job.backend for job in locals_} == {"jax", "torch", "tensorflow"}
    (mechanism,) = {job.mechanism for job in silos}
    plan = read_federated_plan(planned.plans["SiloDPFedAvg", 0])
    most = int(rounds_visited(plan, SITES).max())
    assert mechanism.sample_rate == 8 / (len(planned.dataset.train) // SITES)
    assert (mechanism.unit, mechanism.total_steps) == ("example", 2 * most) and mechanism.users == held.fingerprint()
    np.testing.assert_array_equal(plan.steps, 2)
    owners = np.repeat(np.repeat(plan.visits, plan.steps), np.diff(plan.batches.offsets))
    np.testing.assert_array_equal(held.owners[plan.batches.indices], owners)
    (local,) = {job.mechanism for job in locals_}
    assert (local.unit, local.relation, local.examples) == ("user", REPLACE, 12)


def test_cohorts_are_public_and_batches_are_not(planned, scenario):
    again = plan_run(replace(scenario, attacks=Attacks()))
    one, other = (read_federated_plan(each.plans["SiloDPFedAvg", 0]) for each in (planned, again))
    np.testing.assert_array_equal(one.visits, other.visits)
    assert (
        len(one.batches.indices) != len(other.batches.indices) or (one.batches.indices != other.batches.indices).any()
    )


@pytest.mark.parametrize("title", ["SiloDPFedAvg", "LocalDPFedAvg"])
def test_a_resume_takes_the_same_cohorts_and_new_batches(planned, title, monkeypatch):
    job, plan, spent = charges_of(planned, title)
    written = {}
    monkeypatch.setattr(resume, "spent_by", lambda run, job: spent)
    monkeypatch.setattr(resume, "write_plan", lambda run, name, arrays: written.update({name: arrays}))
    clients = partition_arrays(planned.partitions[title, 0], planned.dataset)
    data = SimpleNamespace(train_examples=len(planned.dataset.train))
    run = SimpleNamespace(arrays=lambda name: clients, file=str, manifest=lambda: SimpleNamespace(data=data))
    fresh = resume._renew(run, job, allow_overrun=True)
    assert fresh.mechanism == replace(job.mechanism, attempt=2) and fresh.plan in written
    again = read_federated_plan(written[fresh.plan])
    np.testing.assert_array_equal(again.visits, plan.visits)
    assert not np.array_equal(again.batches.indices, plan.batches.indices)
    with pytest.raises(PrivacyError, match="spent the whole budget"):
        resume._renew(run, job, allow_overrun=False)


def test_a_run_that_was_interrupted_goes_on_from_its_own_ledger(scenario, tmp_path):
    wanted = replace(scenario, training=(LOCAL,), backends=("jax",), attacks=Attacks())
    run = prepare_run(wanted, root=tmp_path)
    (record,) = run.manifest().jobs
    job, ledger = run.job(record.id), run.job_folder(record.id) / "ledger.jsonl"
    entry = make_charge(
        job.mechanism, first=0, end=1, plan=sha256(run.file(job.plan)), data=job.data_fingerprint, block=1
    )
    charge(ledger, entry)
    resume.prepare_resume(run, allow_overrun=True)
    assert run.job(record.id).mechanism == replace(job.mechanism, attempt=2)
    ledger.unlink()
    charge(ledger, replace(entry, relation=ZERO_OUT))
    with pytest.raises(RecordError, match="relation 'zero out one', and the job 'replace one'"):
        resume.prepare_resume(run, allow_overrun=True)


@pytest.mark.parametrize(("partition", "public", "moves"), [
    (NaturalKey(columns=KEY), "not checked", "met"), (IID(clients=4), "met", "not met"),
    (Dirichlet(clients=4), "met", "not met"),
])  # fmt: skip
def test_who_the_clients_are_is_said_as_the_partition_has_it(partition, public, moves):
    alike, who, dealt = _clients(replace(SILO, partition=partition))
    assert (alike.status, who.status, dealt.status) == ("met", public, moves)
    assert ("must be public" in who.why) == (public == "not checked")
    assert ("simulated" in dealt.why) == (moves == "not met")


def test_silos_are_checked_as_steps_of_dp_sgd_are(scenario):
    torch = replace(scenario, training=(SILO,), backends=("torch",), attacks=Attacks())
    with pytest.raises(ScenarioError, match="sums other gradients"):
        check_scenario(replace(torch, execution=Execution(grad_sample_mode="ghost")))
    check_scenario(replace(torch, execution=Execution(devices=2)))
    with pytest.raises(ScenarioError, match="no regime is DPSGD or SiloDPFedAvg"):
        check_scenario(replace(torch, training=(LOCAL,), execution=Execution(devices=2)))


def test_a_plan_is_read_once_however_many_charges_are_on_it(planned, tmp_path, monkeypatch):
    job, plan, (whole,) = charges_of(planned, "SiloDPFedAvg")
    (tmp_path / "plan.npz").write_bytes(encode_arrays(planned.plans["SiloDPFedAvg", 0]))
    data = SimpleNamespace(train_examples=len(planned.dataset.train))
    evidence = SimpleNamespace(plans={"p": tmp_path / "plan.npz"}, manifest=SimpleNamespace(data=data))
    reads = []
    monkeypatch.setattr(participation, "read_arrays", lambda path: reads.append(path) or read_arrays(path))
    each = job.regime.local_steps
    parts = [replace(whole, first_step=first, end_step=first + each) for first in range(0, whole.end_step, each)]
    assert participation.drawn_participation(evidence, parts) == np.bincount(plan.batches.indices).max()
    assert len(parts) > 1 and len(reads) == 1


def test_attacks_that_cannot_be_made_are_skipped_by_name_and_the_others_planned(planned):
    skipped = {(skip.method, skip.reason) for skip in planned.expansion.skips}
    for title in ("SiloDPFedAvg", "LocalDPFedAvg"):
        assert any(m == f"shadow models of {title}" and "noise of their own" in why for m, why in skipped)
        assert any(m.endswith(f"canaries in {title}") and "a game plays" in why for m, why in skipped)
    assert [m for m, _ in skipped if "gradient inversion" in m] == ["gradient inversion of SiloDPFedAvg"]
    kinds = [type(job).__name__ for job in planned.expansion.attack]
    assert kinds.count("GameJob") == 3 and kinds.count("ReconstructionJob") == 3
    (noise,) = {job.noise_multiplier for job in planned.expansion.attack if hasattr(job, "gradients")}
    assert noise == jobs_of(planned, "LocalDPFedAvg")[0].mechanism.noise_multiplier


@pytest.mark.parametrize(
    ("regime", "field", "words"),
    [
        (replace(SILO, partition=NaturalKey(columns=KEY, minimum=2)), "partition.minimum", "would bring in"),
        (replace(LOCAL, partition=NaturalKey(columns=KEY, minimum=5)), "partition.minimum", "what a client holds"),
        (replace(SILO, partition=Dirichlet(clients=4, minimum=5)), "partition.minimum", "one label could move all"),
        (replace(SILO, batch_size=80), "batch_size", "80 is more than the 48 examples of a client of mean size"),
        (replace(SILO, noise_multiplier=1.0), "epsilon", "both are given"),
        (replace(LOCAL, epsilon=None), "epsilon", "neither is given"),
        (replace(LOCAL, cohort=FixedCohort(clients=13)), "cohort.clients", "more than the 12 clients"),
    ],
)
def test_what_cannot_be_promised_is_refused_by_its_field(scenario, regime, field, words):
    with pytest.raises(ScenarioError) as caught:
        plan_run(replace(scenario, training=(regime,), attacks=Attacks()))
    assert caught.value.field == f"training.0.{field}" and words in caught.value.problem


@pytest.mark.parametrize(("regime", "what"), [(SILO, "examples"), (LOCAL, "clients")])
def test_a_delta_that_leaks_one_whole_is_a_warning(scenario, regime, what):
    found = plan_run(replace(scenario, training=(replace(regime, delta=0.3),), attacks=Attacks()))
    assert any("0.3 is not below" in warning and what in warning for warning in found.cohort_warnings)


def charges_of(planned, title):
    job = jobs_of(planned, title)[0]
    plan = read_federated_plan(planned.plans[title, 0])
    end = charged_steps(job.regime, plan, len(plan))
    most = job.mechanism.largest_participation
    told = None if job.mechanism.secret_sampling else most
    return job, plan, [make_charge(job.mechanism, first=0, end=end, plan="p", data="d", block=told)]


@pytest.mark.parametrize("title", ["SiloDPFedAvg", "LocalDPFedAvg"])
def test_the_epsilon_of_a_client_is_that_of_its_own_rounds(planned, title, tmp_path, monkeypatch):
    job, plan, charges = charges_of(planned, title)
    clients = len(planned.partitions[title, 0].names)
    (tmp_path / "plan.npz").write_bytes(encode_arrays(planned.plans[title, 0]))
    partition = SimpleNamespace(regime=title, seed=0, clients=clients)
    evidence = SimpleNamespace(plans={"p": tmp_path / "plan.npz"}, manifest=SimpleNamespace(partitions=(partition,)))
    median, least = of_clients(evidence, job, job.regime, charges, why_none="")
    visits = rounds_visited(plan, clients)
    each = job.regime.local_steps if title == "SiloDPFedAvg" else 1
    whole = epsilon_of(charges, delta=job.regime.delta)
    for found, rounds in ((median, int(np.ceil(np.median(visits)))), (least, int(visits.min()))):
        mechanism = replace(job.mechanism, largest_participation=rounds * each)
        own = make_charge(mechanism, first=0, end=rounds * each, plan="q", data="d", block=rounds * each)
        expected = epsilon_of([own] if rounds else [], delta=job.regime.delta).value
        assert found.value == pytest.approx(expected, rel=1e-9) and found.value <= whole.value + 1e-12
        assert found.relation == charges[0].relation and found.note.startswith(
            f"of the {found.group}, in {rounds} round"
        )
    np.testing.assert_array_equal(client_privacy.client_rounds(evidence, job, charges), visits)
    evidence.plans = {}
    assert {one.not_at_hand for one in of_clients(evidence, job, job.regime, charges, why_none="")} == {True}


def test_batches_of_one_example_are_counted_over_the_rounds_that_were_charged(planned):
    _, plan, (charge,) = charges_of(planned, "SiloDPFedAvg")
    count = len(planned.dataset.train)
    counted = np.bincount(plan.batches.indices, minlength=count)
    np.testing.assert_array_equal(_in_silo(plan, [charge], examples=count), counted)
    half = charge.end_step // 4 * 2
    parts = [replace(charge, end_step=half), replace(charge, first_step=half)]
    both = sum(_in_silo(plan, [part], examples=count) for part in parts)
    np.testing.assert_array_equal(both, counted)


def test_statements_say_unit_relation_and_who_is_trusted(planned):
    job, _, charges = charges_of(planned, "SiloDPFedAvg")
    assert (charges[0].unit, charges[0].relation) == ("example", ADD_OR_REMOVE)
    assert "at every step of each client by itself" in mechanism_text(charges[0], job.regime)
    assert sampling_text(charges, contribution_of(job.regime)) == "Poisson, secret (batches of each client by itself)"
    assert "nobody else, the server included" in trust_text(job.regime)
    assert clipping_text(job.regime) == "flat, per example"
    assert "at other clients" in _one_person(job.regime, charges).why and len(_clients(job.regime)) == 3
    local, _, charges = charges_of(planned, "LocalDPFedAvg")
    assert (charges[0].unit, charges[0].relation) == ("user", REPLACE)
    assert "before it is sent" in mechanism_text(charges[0], local.regime) and "local" in trust_text(local.regime)
    assert "no update that a client makes private is checked" in _checked_elsewhere(local.regime, "jax")
    assert "`trustml conformance --backend jax` checks it" in _checked_elsewhere(job.regime, "jax")
    assert times_tell(job.regime, secret=True) == "the secret batches"
    assert times_tell(local.regime, secret=charges[0].secret_sampling) == "what clients hold"
    assert secrecy(local.regime, charges).status == "met" and _clients(local.regime) == ()
    stated = SimpleNamespace(
        secret_sampling=True, accounted_by="", contribution="silo gradient", delta=1e-5, unit_of_privacy="example",
        neighboring_relation=ADD_OR_REMOVE, drawn="poisson", accountant="",
    )  # fmt: skip
    assert "batches of each client by itself" in note_of(_of_statement(stated))
