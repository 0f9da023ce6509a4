"""What could have been shown: the figures of the facts sheet, and order between them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trustml.attacks.attainable import attainable_at_claim, ceiling_all_correct
from trustml.attacks.bounds import many_run_bound, one_run_bound, one_run_fdp_bound
from trustml.errors import UsageError

DELTA = 1e-5


def test_ceilings_are_those_of_the_facts_sheet():
    found = [ceiling_all_correct(m, delta=DELTA, confidence=0.95) for m in (100, 250, 500, 1000, 2000, 5000)]
    assert [round(value, 2) for value in found] == [3.49, 4.41, 5.10, 5.78, 6.45, 7.28]


def test_a_ceiling_is_near_its_closed_form_without_delta():
    # All m guesses right has probability (e^eps / (1 + e^eps))^m.
    share = 0.05 ** (1 / 1000)
    found = ceiling_all_correct(1000, delta=1e-15, confidence=0.95)
    assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 50, 400])
def test_no_bound_of_ours_gets_past_its_ceiling(m):
    coins = np.arange(m) % 2 == 0
    levels = {"delta": DELTA, "confidence": 0.95}
    assert one_run_bound(coins * 1.0, coins, **levels).epsilon <= ceiling_all_correct(m, **levels)
    assert one_run_fdp_bound(coins * 1.0, coins, **levels).epsilon <= ceiling_all_correct(
        m, method="one run f-DP", **levels
    )
    shown = many_run_bound(np.ones(m), np.zeros(m), **levels).epsilon
    assert shown == ceiling_all_correct(m, method="many runs", **levels)


@pytest.mark.parametrize("method", ["one run", "one run f-DP", "many runs"])
def test_attainable_figures_grow_with_the_claim_and_stay_below_it(method):
    small, large = (
        attainable_at_claim(epsilon, DELTA, 500, confidence=0.95, method=method, repetitions=20)
        for epsilon in (2.0, 8.0)
    )
    for found, claim in ((small, 2.0), (large, 8.0)):
        assert 0 <= found.low <= found.median <= found.high < claim
    assert large.median > small.median


def test_the_table_of_the_facts_sheet_is_reached_or_passed():
    # There, guesses are of one side only and thresholds corrected by a divisor taken from the data.
    for epsilon, m, steinke, fdp in ((4.0, 1000, 0.97, 1.30), (8.0, 1000, 2.18, 3.04)):
        levels = {"confidence": 0.95, "repetitions": 20}
        assert steinke <= attainable_at_claim(epsilon, DELTA, m, **levels).median < epsilon
        assert fdp <= attainable_at_claim(epsilon, DELTA, m, method="one run f-DP", **levels).median < epsilon


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": 1}, "m: 1 canaries"),
        ({"method": "guessing"}, "use one of one run"),
        ({"epsilon": 0.0}, "epsilon: 0.0"),
        ({"repetitions": 0}, "repetitions: 0"),
        ({"delta": 0.0}, "delta: 0.0"),
    ],
)
def test_impossible_questions_are_refused(change, message):
    asked = {"epsilon": 1.0, "delta": DELTA, "m": 100, "confidence": 0.95, **change}
    with pytest.raises(UsageError, match=message):
        attainable_at_claim(asked.pop("epsilon"), asked.pop("delta"), asked.pop("m"), **asked)


def test_other_repetitions_move_the_median_by_the_error_that_is_told():
    found = [
        attainable_at_claim(1.0, 1e-5, 50, confidence=0.95, method="many runs", repetitions=40, seed=seed)
        for seed in range(40)
    ]
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.median for one in found]), rel=0.4)
    assert np.mean([one.ends_error for one in found]) > np.std([one.high for one in found]) / 3
