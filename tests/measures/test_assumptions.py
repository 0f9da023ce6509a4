"""What a statement says of the reach of the noise follows from the ledger."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.privacy.test_tails import made
from trustml.measures.assumptions import BOTH_TAILS, noise_reach
from trustml.measures.wording import noise_source_text
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.regimes import DPSGD


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
    [("jax", "11.2", "2.1e-20"), ("torch", "13.2", "2.7e-21"), ("numpy", "11.6", "8.3e-23")],
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
    assert "key of 64 bits" in noise_source_text(SimpleNamespace(backend="jax"), private, "jax")
