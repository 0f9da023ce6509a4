"""Findings on a run's own claim: refuted by the lower bound alone."""

from __future__ import annotations

import pytest

from tests.privacy.test_tails import made
from trustml.auditing.claim import Claim
from trustml.auditing.run_audit import claim_of
from trustml.auditing.run_wording import accounting_finding
from trustml.privacy.statement import Assumption, PrivacyStatement


def statement(*, low: float | None, high: float | None, assumptions: tuple[Assumption, ...] = ()) -> PrivacyStatement:
    words = "unit_of_privacy neighboring_relation accountant mechanism clipping sampling released".split()
    words += ["hyperparameter_tuning", "trust_setting", "source_of_noise"]
    return PrivacyStatement(
        model="m", epsilon=high, epsilon_at_least=low, delta=1e-5, clipping_norm=1.0, noise_multiplier=1.0,
        sample_rate=0.1, expected_batch_size=10, steps=10, attempts=1, data_size=100, comparisons=(), not_covered=(),
        assumptions=assumptions, **dict.fromkeys(words, "x"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "severity", "verdict"),
    [
        (2.9, 2.95, "pass", "holds"), (2.9, 3.1, "risk", "not decided"), (None, 3.1, "risk", "not decided"),
        (3.05, 3.1, "violation", "broken"),
    ],
)  # fmt: skip
def test_a_ledger_refutes_a_claim_by_its_lower_bound_alone(low, high, severity, verdict):
    found = accounting_finding(statement(low=low, high=high), Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert (found.severity, found.verdict) == (severity, verdict)


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize(
    ("drawn", "claimed"),
    [
        ("poisson", "poisson"), ("shuffle", "shuffle"), ("fixed", "fixed"), ("all", "full batch"),
        ("in turn", "in turn"),
    ],
)  # fmt: skip
def test_a_claim_draws_its_batches_as_the_ledger_was_charged(drawn, claimed, secret):
    charges = [made(sampling=drawn, secret_sampling=secret)]
    assert claim_of(statement(low=None, high=3.0), None, charges).sampling == claimed


def test_without_a_ledger_no_sampling_is_claimed():
    assert claim_of(statement(low=None, high=3.0), 3.0, []).sampling == "unknown"
