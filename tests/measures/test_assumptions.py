"""What a guarantee rests on is decided by facts of the record, never by the words of a note."""

from __future__ import annotations

import itertools
import typing
from types import SimpleNamespace

import msgspec
import pytest

from tests.auditing.test_run_wording import statement
from tests.privacy.test_tails import made
from trustml.auditing.claim import Claim
from trustml.auditing.run_wording import accounting_finding
from trustml.data.preparation import Categories, Classes, Preparation, Scaled
from trustml.measures.assumptions import BOTH_TAILS, noise_reach, preprocessing_assumption, secrecy
from trustml.measures.wording import noise_source_text
from trustml.privacy.accounting import epsilon_of
from trustml.record.schema import DataRecord
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.regimes import DPSGD


@pytest.mark.parametrize(
    ("preparation", "status", "words"),
    [
        (Preparation(scaling="public constants", categories="none", classes="public"), "met", "public constants"),
        (Preparation(scaling="none", categories="declared", classes="public"), "met", "as they are"),
        (Preparation(scaling="none", categories="of the data", classes="public"), "not met", "can change columns"),
        (Preparation(scaling="training statistics", categories="none", classes="public"), "not met", "mean and dev"),
        (
            Preparation(scaling="declared constants", categories="none", classes="public"),
            "not checked",
            "constants given by the user",
        ),
        (Preparation(scaling="none", categories="none", classes="of the data"), "not checked", "the labels hold"),
        (Preparation(scaling="none", categories="marks not declared", classes="public"), "not checked", "data.marked"),
        (Preparation(scaling="given tokenizer", categories="none", classes="public"), "not checked", "tokenizer"),
        (Preparation(scaling="each example", categories="none", classes="public"), "met", "its own values"),
        (Preparation(scaling="given code", categories="none", classes="public"), "not checked", "code of the user"),
        (Preparation(), "not checked", "does not say"),
    ],
)
def test_the_preprocessing_is_judged_by_its_fields(preparation, status, words):
    found = preprocessing_assumption(preparation)
    assert found.status == status and words in found.why


def test_the_worst_point_decides():
    worst = {"training statistics", "of the data"}
    for scaling, categories, classes in itertools.product(*map(typing.get_args, (Scaled, Categories, Classes))):
        found = preprocessing_assumption(Preparation(scaling=scaling, categories=categories, classes=classes))
        assert (found.status == "not met") == bool({scaling, categories} & worst)
        if "unknown" in (scaling, categories, classes):
            assert found.status != "met"
        assert found.why


def test_a_record_of_an_earlier_version_is_unknown_whatever_its_notes_say():
    old = (
        b'{"fingerprint":"0","train_examples":1,"test_examples":1,"input_shape":[1],"class_names":["a","b"],'
        b'"notes":["training statistics"]}'
    )
    record = msgspec.json.decode(old, type=DataRecord)
    assert preprocessing_assumption(record.preparation).status == "not checked"


@pytest.mark.parametrize(("backend", "end"), [("jax", "5.22"), ("torch", "5.76"), ("tensorflow", "5.67")])
def test_records_of_before_say_where_their_noise_ends(backend, end):
    job = SimpleNamespace(backend=backend)
    told = made(noise_source=backend.replace("tensorflow", "numpy"), coordinates=10)
    for charges in ([made()], [made(), told]):
        found = noise_reach(job, charges)
        assert (found.name, found.status) == (BOTH_TAILS, "not met")
        assert f"bounded at {end} standard deviations" in found.why


def test_a_stock_engine_is_bounded_too():
    charges = [made(noise_source="torch.normal", coordinates=10)]
    assert noise_reach(SimpleNamespace(backend="torch"), charges).status == "not met"


@pytest.mark.parametrize(
    ("source", "reach", "bound"),
    [
        ("jax", "11.2", "2.1e-20"),
        ("torch", "13.2", "2.7e-21"),
        ("torch.sfc64", "13.2", "2.7e-21"),
        ("numpy", "11.6", "8.3e-23"),
    ],
)
def test_what_is_missing_is_told_and_paid(source, reach, bound):
    found = noise_reach(SimpleNamespace(backend="any"), [made(noise_source=source, coordinates=10**6)])
    assert found.status == "met"
    assert f"up to {reach} standard deviations" in found.why
    assert bound in found.why


def test_generators_are_named_as_the_ledger_does():
    job = SimpleNamespace(backend="tensorflow")
    private, users = DPSGD(noise_multiplier=1.0), DPFedAvg(noise_multiplier=1.0)
    assert "32 bits" in noise_source_text(job, users, "")
    assert "Philox with a seed of 128 bits" in noise_source_text(job, users, "tff")
    assert "SFC64" in noise_source_text(job, private, "numpy")
    assert "SFC64 with a seed of 128 bits (on a GPU" in noise_source_text(job, private, "torch.sfc64")
    assert "Mersenne Twister" in noise_source_text(job, private, "torch")  # in records of before
    assert "key of 64 bits" in noise_source_text(SimpleNamespace(backend="jax"), private, "jax")


SECRET = {"sampling": "poisson", "secret_sampling": True, "sample_rate": 0.1, "examples": 100}
PUBLISHED = {**SECRET, "secret_sampling": False, "participation": 20, "largest_participation": 20}


@pytest.mark.parametrize(
    ("regime", "charge", "status", "words"),
    [
        (DPSGD(), made(**SECRET), "met", "operating-system entropy"),
        (DPSGD(sampling_seed=3), made(**PUBLISHED), "met", "not needed: sampling_seed 3 is in the record"),
        (DPSGD(), made(sampling="shuffle"), "met", "not needed"),
        (DPFedAvg(), made(sampling="in turn", unit="user"), "met", "not needed"),
        (DPSGD(engine="stock"), made(**SECRET), "not checked", "32 bits"),
        (DPSGD(engine="stock"), made(sampling="shuffle"), "met", "not needed"),
    ],
)
def test_batches_need_be_secret_only_where_that_is_claimed(regime, charge, status, words):
    found = secrecy(regime, [charge])
    assert found.status == status and words in found.why


def test_a_published_seed_is_paid_for_once_and_is_no_risk_beside():
    published, secret = ([made(**changes)] for changes in (PUBLISHED, SECRET))
    assert epsilon_of(published, delta=1e-5).value > 1.5 * epsilon_of(secret, delta=1e-5).value
    judged = statement(low=None, high=3.0, assumptions=(secrecy(DPSGD(sampling_seed=3), published),))
    found = accounting_finding(judged, Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.severity == "pass" and "not met" not in found.how
