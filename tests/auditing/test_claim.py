"""Claims in words."""

from __future__ import annotations

import math

import pytest

from trustml.auditing.checks_accounting import check_accounting
from trustml.auditing.claim import Claim, claim_words


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (3, "epsilon 3.0000 at"), (2.71828182, "epsilon 2.7183 at"), (2.71821, "epsilon 2.7183 at"),
        (0.5, "epsilon 0.5000 at"), (1.23456e-6, "epsilon 0.000001235 at"), (1e-6, "epsilon 0.000001000 at"),
        (0.0, "epsilon 0.0000 at"), (math.inf, "epsilon inf at"),
    ],
)  # fmt: skip
def test_an_epsilon_is_never_told_smaller_nor_another_than_it_is(epsilon, words):
    text = claim_words(Claim(epsilon=epsilon, delta=1e-5))
    assert text == f"{words} delta 1e-05; unit: example; relation: add-or-remove-one"
    told = float(text.split()[1])
    assert math.isinf(told) if math.isinf(epsilon) else epsilon <= told <= epsilon * 1.001


def test_findings_on_a_claim_of_a_stranger_name_it_in_the_same_words():
    claim = Claim(epsilon=3.0, delta=1e-5, unit="user", relation="replace-one")
    findings = check_accounting(claim)
    assert findings and {finding.claim for finding in findings} == {claim_words(claim)}
    assert claim_words(claim) == "epsilon 3.0000 at delta 1e-05; unit: user; relation: replace-one"
