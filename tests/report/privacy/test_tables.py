"""Ledgers and findings of the conformance suite in the terminal."""

from __future__ import annotations

from tests.conformance.test_training import charge
from tests.report.test_tables import printed
from trustml.conformance.findings import CheckResult
from trustml.report.privacy.tables import print_findings, print_ledger


def test_charges_that_go_on_are_one_line_and_another_attempt_is_its_own():
    charges = [
        charge(first_step=0, end_step=5, plan="a" * 64, noise_multiplier=1.234567),
        charge(first_step=5, end_step=8, plan="a" * 64, noise_multiplier=1.234567),
        charge(attempt=2, first_step=5, end_step=12, plan="b" * 64),
    ]
    title, _, *lines = printed(print_ledger, "train.jax.DPSGD.s0", charges).splitlines()[:]
    assert title.strip() == "train.jax.DPSGD.s0: 15 steps charged"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[:4] for row in cells] == [["1", "0-7", "2", "1.2346"], ["2", "5-11", "1", cells[1][3]]]
    assert [row[-1] for row in cells] == ["a" * 16, "b" * 16]


def test_the_rate_of_cyclic_batches_is_that_of_one_group():
    cyclic = charge(sampling="cyclic poisson", noise="banded matrix factorisation", sample_rate=0.4)
    assert "0.4 of one of 4 groups" in " ".join(printed(print_ledger, "job", [cyclic]).split())


def test_findings_are_counted_by_subject_and_failures_have_their_figures():
    found = [
        CheckResult(check="clips", passed=True, subject="jax"),
        CheckResult(
            check="noise", passed=False, subject="jax", value=0.81239, low=0.75, high=None, confidence=0.999,
            diagnosis="too little",
        ),
        CheckResult(check="sums", passed=False, subject="torch", measured=0.25, allowed=1e-6),
        CheckResult(check="memory", passed=False, subject="torch", decided=False, diagnosis="too few calls"),
    ]  # fmt: skip
    text = printed(lambda out: print_findings(out, found, everything=False))
    assert "1 of 2" in text and "0 of 2" in text and "ok " not in text
    assert "FAILED jax: noise (0.8124 of what is declared, 99.9% interval 0.75 to none): too little" in text
    assert "FAILED torch: sums (measured 0.25, allowed 1e-06)" in text
    assert "OPEN   torch: memory: too few calls" in text
    assert "ok     jax: clips" in printed(lambda out: print_findings(out, found, everything=True))
