"""Cohorts of masked sums: nobody is left out for ever, and rounds without a sum or an end are said before."""

from __future__ import annotations

import pytest

from trustml.errors import ScenarioError
from trustml.scenario.masked_cohorts import check_masked_cohort, without_sum
from trustml.scenario.partition import Everyone, FixedCohort, InTurn, PoissonCohort


def test_a_turn_that_leaves_one_client_alone_is_refused():
    with pytest.raises(ScenarioError, match="never be in a sum") as caught:
        check_masked_cohort(InTurn(clients=3), "cohort", asked=3, clients=10)
    assert caught.value.field == "cohort.clients"
    assert check_masked_cohort(InTurn(clients=4), "cohort", asked=4, clients=10) == []


def test_the_probability_of_no_sum_by_hand():
    assert without_sum(Everyone(dropout=0.5), asked=10, clients=10) == pytest.approx(638 / 1024)  # 5 or fewer of 10
    turn = without_sum(InTurn(clients=2, dropout=0.5), asked=2, clients=4)
    assert turn == without_sum(FixedCohort(clients=2, dropout=0.5), asked=2, clients=4) == pytest.approx(3 / 4)
    assert without_sum(PoissonCohort(clients=2), asked=2, clients=4) == pytest.approx(5 / 16)  # none or one of 4


def test_rounds_that_give_nothing_and_rounds_that_take_long_are_warned_of():
    (warning,) = check_masked_cohort(Everyone(dropout=0.5), "cohort", asked=10, clients=10)
    assert "62 % of the rounds are expected to give nothing" in warning
    assert check_masked_cohort(Everyone(dropout=0.1), "cohort", asked=10, clients=10) == []
    (warning,) = check_masked_cohort(Everyone(), "cohort", asked=400, clients=400)
    assert "masks and shares of 400 clients" in warning
