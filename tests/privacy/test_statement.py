"""Bounds as they are written: never on the side that claims too much."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.privacy.statement import at_least, at_most, understated_line


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
