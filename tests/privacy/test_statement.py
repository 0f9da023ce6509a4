"""Bounds as they are written: never on the side that claims too much."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.launch.test_starting import PRIVATE, data, planned, trained
from trustml.auditing.run_wording import accounting_finding
from trustml.evidence.rows import _facts
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import privacy_statements
from trustml.privacy.bounds import epsilon_upper
from trustml.privacy.events import NoiseEvent
from trustml.privacy.statement import (
    CyclicGroups,
    at_least,
    at_most,
    groups_line,
    statement_line,
    statement_text,
    understated_line,
)
from trustml.scenario.federated import BandedMatrix


@pytest.mark.parametrize(
    ("epsilon", "digits", "written"),
    [
        (2.001, 2, "2.01"), (2.0, 2, "2.00"), (2.994999, 2, "3.00"), (0.00001, 4, "0.0001"), (3.0, 4, "3.0000"),
        (0.1 + 0.2, 1, "0.3"), (0.0, 2, "0.00"), (math.inf, 2, "inf"),
    ],
)  # fmt: skip
def test_an_upper_bound_is_rounded_up(epsilon, digits, written):
    assert at_most(epsilon, digits) == written


@settings(deadline=None)  # a busy machine is no fault
@given(st.floats(0, 1e6), st.integers(0, 6))
def test_what_is_written_is_no_less_and_less_than_one_digit_more(epsilon, digits):
    written = float(at_most(epsilon, digits))
    assert epsilon <= written + 1e-9 and written - epsilon < 10.0**-digits * (1 + 1e-6)


def test_a_record_behind_its_ledger_names_what_it_said():
    assert "epsilon 2.0001," in understated_line(2.00001)
    assert "no epsilon," in understated_line(None) and "no epsilon," in understated_line(math.nan)


@pytest.mark.parametrize(("epsilon", "written"), [(1.99996, "1.9999"), (2.0, "2.0000"), (0.30001, "0.3000")])
def test_a_lower_bound_is_rounded_down(epsilon, written):
    assert at_least(epsilon, 4) == written


@pytest.mark.parametrize(("bands", "groups"), [(100, 8), (4, 4)])
def test_epsilon_of_cyclic_batches_follows_from_the_figures_of_its_statement(tmp_path, bands, groups):
    regime = msgspec.structs.replace(
        PRIVATE, sampling="cyclic poisson", mechanism=BandedMatrix(bands=bands), batch_size=10, epochs=4, trainable=()
    )
    run = planned(tmp_path, data(tmp_path, "one", seed=1), regime)
    trained(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assert statement.cyclic == CyclicGroups(count=groups, visits=32 // groups, asked=bands) and statement.steps == 32
    events = [
        NoiseEvent(
            kind="poisson", noise_multiplier=statement.noise_multiplier, count=statement.cyclic.visits,
            sample_rate=statement.sample_rate,
        )
    ]  # fmt: skip
    assert epsilon_upper(events, delta=statement.delta)[0] == pytest.approx(statement.epsilon, rel=1e-6)
    line = f"{groups} in turn, each drawn from in {32 // groups} steps at the most"
    finding = accounting_finding(statement, None, artifact="ledger.jsonl")
    for told in (statement_text(statement), statement_line(statement), finding.measured[0].note):
        assert line in told and ("of the 100 asked for" in told) == (bands == 100)
    less = msgspec.structs.replace(statement, cyclic=msgspec.structs.replace(statement.cyclic, visits=1))
    assert _facts(less) != _facts(statement), "and a verification compares them"


def test_bands_that_were_left_to_choose_are_said_to_be():
    assert "chosen for the least error" in groups_line(CyclicGroups(count=8, visits=50))
