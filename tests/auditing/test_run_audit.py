"""The audit of a run of our own."""

from __future__ import annotations

import pytest

from trustml.auditing.result import decode_audit, encode_audit, fails_on
from trustml.auditing.run_audit import audit_run

pytestmark = [pytest.mark.jax]


@pytest.fixture(scope="module")
def audit(attacked_run):
    return audit_run(attacked_run.directory)


def by_check(audit, check):
    return [finding for finding in audit.findings if finding.check == check]


def test_a_planted_mistake_is_a_violation_and_names_its_confidence(audit):
    violations = [finding for finding in audit.findings if finding.severity == "violation"]
    assert [finding.check for finding in violations] == ["mechanism"]
    assert "no clipping" in violations[0].title and "99% confidence" in violations[0].how
    assert not audit.passed and audit.worst == "violation" and fails_on(audit, "risk")


def test_overfitted_models_are_risks_and_private_ones_pass(audit):
    found = {f.subject: f.severity for f in by_check(audit, "membership") if f.subject.startswith("train.")}
    assert found == {
        "train.jax.Overfitted.s0": "risk",
        "train.jax.Overfitted.s1": "risk",
        "train.jax.DPSGD.s0": "pass",
        "train.jax.DPSGD.s1": "pass",
    }


def test_every_private_model_is_accounted_for_again(audit):
    *found, beside = by_check(audit, "accounting")
    assert [finding.severity for finding in found] == ["pass", "pass"]
    assert beside.severity == "note" and "2 models without privacy" in beside.title
    assert [model.claim.sampling for model in audit.models if model.claim is not None] == ["poisson", "poisson"]
    for finding in found:
        assert finding.claim.startswith("epsilon 3.0000 at delta 1e-05; unit: example; relation: add-or-remove-one")
        assert finding.measured[0].value <= 3.0


def test_every_finding_says_how_and_what_would_change_it(audit):
    for finding in audit.findings:
        assert finding.title and finding.would_change
        if finding.severity in ("violation", "risk", "pass"):
            assert finding.how and finding.measured
    assert len({finding.id for finding in audit.findings}) == len(audit.findings)


def test_it_survives_being_written(audit):
    assert decode_audit(encode_audit(audit)) == audit
