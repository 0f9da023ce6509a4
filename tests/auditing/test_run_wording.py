"""Findings on a run's own claim: refuted by the lower bound alone."""

from __future__ import annotations

import msgspec
import pytest

from trustml.auditing.claim import Claim
from trustml.auditing.run_wording import accounting_finding
from trustml.privacy.statement import Assumption, PrivacyStatement


def statement(*, low: float | None, high: float) -> PrivacyStatement:
    words = "unit_of_privacy neighboring_relation accountant mechanism clipping sampling released".split()
    words += ["hyperparameter_tuning", "trust_setting", "source_of_noise"]
    return PrivacyStatement(
        model="m", epsilon=high, epsilon_at_least=low, delta=1e-5, clipping_norm=1.0, noise_multiplier=1.0,
        sample_rate=0.1, expected_batch_size=10, steps=10, attempts=1, data_size=100, comparisons=(), assumptions=(),
        not_covered=(), **dict.fromkeys(words, "x"),
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


@pytest.mark.parametrize(("high", "words"), [(3.0, "3.0000, as claimed."), (3.002, "3.0000 claimed but for 0.1 %.")])
def test_an_epsilon_above_a_rounded_claim_is_not_called_the_claim(high, words):
    found = accounting_finding(statement(low=2.9, high=high), Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.verdict == "holds" and found.title.endswith(words)


def test_what_a_claim_rests_on_and_is_not_met_is_named():
    unmet = Assumption(name="explanations show no training rows", status="not met", why="they do")
    shown = msgspec.structs.replace(statement(low=2.9, high=2.95), assumptions=(unmet,))
    found = accounting_finding(shown, Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.severity == "risk" and found.title.endswith("is not met: explanations show no training rows.")
