"""Users that a column names: drawn, charged and stated as such, from a scenario to what is planned; nothing trains."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from trustml.data.partition import owners_fingerprint
from trustml.errors import RecordError, ScenarioError
from trustml.frameworks.entry import Regimes, Supported
from trustml.frameworks.table import entry_of
from trustml.launch.prepare import plan_run
from trustml.measures.group_privacy import of_groups
from trustml.measures.notes import note_of
from trustml.measures.privacy import _of_statement
from trustml.measures.wording import mechanism_text, sampling_text
from trustml.models.zoo import mlp
from trustml.plan import support
from trustml.plan.mechanism import drawn_for, make_charge
from trustml.plan.support import training_support
from trustml.privacy import groups
from trustml.privacy.groups import epsilon_of_group
from trustml.privacy.statement import contributed
from trustml.scenario.attacks import Attacks, MembershipInference
from trustml.scenario.check_regimes import check_cohorts
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.partition import NaturalKey, PoissonCohort
from trustml.scenario.regimes import DPSGD
from trustml.scenario.sources import Csv
from trustml.scenario.spec import Explanations, Scenario

PEOPLE, MOST = 60, 12
USERS = DPSGD(name="users", unit="user", key="person", noise_multiplier=1.2, batch_size=6, epochs=2, rows_per_user=4)
ROWS = DPSGD(name="rows", key=("person",), noise_multiplier=4.0, batch_size=20, steps=3)
FEDERATED = DPFedAvg(partition=NaturalKey(columns=("person",)), cohort=PoissonCohort(clients=6), noise_multiplier=1.0)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Scenario:
    generator = np.random.default_rng(0)
    lines = ["person,a,b,label"]
    for person in range(PEOPLE):
        for _ in range(1 + person % MOST):
            a, b = generator.normal(size=2)
            lines.append(f"p{person},{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}")
    path = tmp_path_factory.mktemp("people") / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return Scenario(
        name="people",
        data=Csv(path=str(path), label="label", keys=("person",), drop=("person",)),
        model=mlp([4], classes=2),
        training=(USERS, ROWS, FEDERATED),
        backends=("jax", "torch", "tensorflow"),
        explanations=Explanations(methods=()),
        attacks=Attacks(membership=MembershipInference(shadow_models=4)),
    )


@pytest.fixture(scope="module")
def planned(scenario):
    return plan_run(scenario)


def job_of(planned, title, backend="jax"):
    return next(job for job in planned.expansion.train if job.regime.title == title and job.backend == backend)


def test_batches_are_of_users_and_charged_for_them_in_every_backend(planned):
    count = len(planned.partitions["users", 0].names)
    plan = planned.plans["users", 0]
    assert 2 < count <= PEOPLE < len(planned.dataset.train)
    assert plan["indices"].max() < count and len(plan["offsets"]) == 1 + -(-2 * count // 6)
    assert plan["augmentation"].shape == (4,), "which rows of a user come is drawn from the same entropy"
    for backend in ("jax", "torch", "tensorflow"):
        job = job_of(planned, "users", backend)
        mechanism = job.mechanism
        assert (mechanism.unit, mechanism.examples, mechanism.sample_rate) == ("user", count, 6 / count)
        assert mechanism.users == owners_fingerprint(planned.partitions["users", 0].owners)
        assert job.clients.startswith("private/")
        # noise of a training, not of a federation
        drawn = drawn_for(mechanism, backend=backend, weights={"w": np.zeros(7)})
        assert drawn.source != "tff" and drawn.coordinates == 7


def test_the_same_people_are_the_same_users_in_a_federation(planned):
    assert job_of(planned, "users").mechanism.users == job_of(planned, "DPFedAvg").mechanism.users


def test_a_key_alone_leaves_the_unit_an_example(planned):
    mechanism = job_of(planned, "rows").mechanism
    assert (mechanism.unit, mechanism.examples) == ("example", len(planned.dataset.train))
    assert mechanism.users == owners_fingerprint(planned.partitions["rows", 0].owners)
    assert make_charge(mechanism, first=0, end=3, plan="p", data="d").users == "", "it composes with all for examples"
    assert job_of(planned, "rows").clients


def test_nobody_attacks_by_shadow_models_of_examples(planned):
    (reason,) = [skip.reason for skip in planned.expansion.skips if "of users" in skip.method]
    assert "rows of a user together" in reason


def test_words_are_of_users_and_no_federation(planned):
    job = job_of(planned, "users")
    charge = make_charge(job.mechanism, first=0, end=3, plan="p", data="d")
    assert mechanism_text(charge, job.regime).endswith("clipped per-user gradients, at every step")
    assert sampling_text([charge], "user gradient") == "Poisson, secret (batches of users)"
    stated = SimpleNamespace(
        secret_sampling=True, accounted_by="", contribution="user gradient", delta=1e-5, unit_of_privacy="user",
        neighboring_relation="add or remove one", drawn="poisson", accountant="",
    )  # fmt: skip
    assert "sampling: Poisson, secret (batches of users)" in note_of(_of_statement(stated))
    stated.contribution = ""
    assert contributed(stated) == "client update", "statements of before know clients alone"
    assert "cohorts of clients" in note_of(_of_statement(stated))


def holding(job, arrays):
    """What is left of a run whose file of who holds what is this."""
    run = SimpleNamespace(
        file=lambda name: SimpleNamespace(is_file=lambda: name == job.clients), arrays=lambda name: arrays
    )
    return SimpleNamespace(run=run)


@pytest.mark.parametrize("of_before", [False, True])
def test_nothing_is_stated_of_groups_by_a_file_that_anybody_made(planned, of_before):
    job, clients = job_of(planned, "rows"), planned.partitions["rows", 0]
    charges = [make_charge(job.mechanism, first=0, end=3, plan="p", data="d")]
    good, names = clients.owners.astype(np.int64), np.array(clients.names)
    if of_before:  # nothing was kept of who holds what
        job = msgspec.structs.replace(job, mechanism=msgspec.structs.replace(job.mechanism, users=""))
    wrong = [
        {"owners": np.array([2**44])},
        {"owners": np.where(np.arange(len(good)) == 0, 2**44, good)},
        {"owners": np.where(np.arange(len(good)) == 0, -2, good)},
        {"owners": good[:-1]},
        {"owners": good[:0]},
        {"owners": good.astype(float)},
        {"owners": good[None]},
        {"owners": np.full_like(good, -1)},
        {"owners": good, "names": names[:-1]},
        {"owners": good, "names": names[:0]},
        {},
    ]
    if not of_before:
        wrong.append({"owners": np.arange(len(good)) % len(names)})  # no user has many rows
    for arrays in wrong:
        with pytest.raises(RecordError, match=job.clients):
            of_groups(holding(job, {"names": names} | arrays), job, job.regime, charges, why_none="")


def test_groups_are_all_rows_of_the_largest_and_of_the_median_user(planned, monkeypatch):
    monkeypatch.setattr(groups, "_POINTS", 100)
    job, owners = job_of(planned, "rows"), planned.partitions["rows", 0].owners
    charges = [make_charge(job.mechanism, first=0, end=3, plan="p", data="d")]
    there = holding(job, {"owners": owners, "names": np.array(planned.partitions["rows", 0].names)})
    found = {one.group: one for one in of_groups(there, job, job.regime, charges, why_none="")}
    counts = np.bincount(owners)
    assert f"for {counts.max()} rows of one person" in found["largest user"].note
    assert f"for {int(np.median(counts))} rows of one person" in found["median user"].note
    assert found["largest user"].value > found["median user"].value
    wanted = epsilon_of_group(charges, size=int(counts.max()), delta=job.regime.delta).value
    assert found["largest user"].value == pytest.approx(wanted)
    gone = SimpleNamespace(run=SimpleNamespace(file=lambda name: SimpleNamespace(is_file=lambda: False)))
    absent = of_groups(gone, job, job.regime, charges, why_none="")
    assert [one.group for one in absent] == list(found) and all(one.not_at_hand for one in absent)
    void = of_groups(there, job, job.regime, charges, why_none="no epsilon holds")
    assert all(one.value is None and not one.not_at_hand for one in void)
    users = job_of(planned, "users")
    assert not of_groups(there, users, users.regime, charges, why_none="")


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"key": "city"}, "training.0.key", "person"),
        ({"batch_size": PEOPLE + 1}, "training.0.batch_size", "or fewer"),
        ({"key": ""}, "training.0.key", "name a column"),
        ({"key": ("person", "person")}, "training.0.key", "once"),
        ({"engine": "stock"}, "training.0.engine", 'engine="core"'),
        ({"unit": "example"}, "training.0.rows_per_user", 'unit="user"'),
        ({"rows_per_user": 10**9}, "training.0.rows_per_user", "use 1024 or less"),
    ],
)
def test_what_names_no_users_is_one_line(scenario, changes, field, fix):
    regime = msgspec.structs.replace(USERS, **changes)
    with pytest.raises(ScenarioError) as caught:
        plan_run(msgspec.structs.replace(scenario, training=(regime,), attacks=Attacks()))
    assert caught.value.field == field and fix in caught.value.fix


def test_delta_is_held_against_the_number_of_users(scenario):
    large = msgspec.structs.replace(USERS, delta=0.05)
    (warning,) = check_cohorts(msgspec.structs.replace(scenario, training=(large,)), {"users": 40})
    assert "1/users = 0.025" in warning and "leaking a whole user" in warning


def test_a_backend_that_knows_no_users_is_not_asked(monkeypatch):
    entry = msgspec.structs.replace(entry_of("jax"), regimes=Regimes(private=Supported(library="own")))
    monkeypatch.setattr(support, "entry_of", lambda name: entry)
    assert training_support("fourth", USERS).reason == "its backend puts no rows of a user together"
    assert training_support("fourth", ROWS) == entry.regimes.private
