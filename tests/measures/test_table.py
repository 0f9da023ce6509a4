"""The table of measures says what every reader asks, and says it rightly."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import pytest

from trustml.compare.rows import row_functions
from trustml.measures.entry import FORMS, PLACES, Family, Measure, Place
from trustml.measures.measure import MEASURES, of_family, row_paths, shown_in
from trustml.report.measures_page import measures_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measures.md"


def bound(kind: str) -> Measure:
    return Measure(unit="nats", better="lower", title="t", meaning="m", kind=kind)


def test_entries_are_whole():
    for name in MEASURES:
        one = MEASURES[name]
        assert one.family in get_args(Family) and one.rows
        assert one.title and one.meaning.endswith(".")
        assert one.number in FORMS.values()
        assert len(set(one.shown)) == len(one.shown) and set(one.shown) <= set(PLACES)


def test_every_function_of_the_table_is_there_and_takes_the_evidence():
    functions = row_functions()
    assert tuple(functions) == row_paths()
    for path, function in functions.items():
        assert list(inspect.signature(function).parameters) == ["evidence"], path
        assert function.__module__ == path.partition(":")[0]


def test_families_and_places_are_all_used():
    assert sum(len(of_family(family)) for family in get_args(Family)) == len(MEASURES)
    assert all(of_family(family) for family in get_args(Family))
    assert set(PLACES) == set(get_args(Place))
    assert all(shown_in(place) for place in PLACES)


def test_names_of_columns_are_told_apart():
    for place in PLACES:
        heads = [one.head for one in shown_in(place).values()]
        assert len(set(heads)) == len(heads), place


def test_bounds_are_rounded_so_that_they_claim_no_more_than_was_shown():
    assert bound("upper bound").text(2.9901) == "3.00"
    assert bound("lower bound").text(2.9999) == "2.99"
    assert (bound("estimate").text(2.9951), bound("estimate").text(2.9949)) == ("3.00", "2.99")
    assert bound("upper bound").text(float("inf")) == "inf"


def test_what_is_proved_is_said_to_be_bounded_from_its_side():
    above = {name for name, one in MEASURES.items() if one.kind == "upper bound"}
    below = {name for name, one in MEASURES.items() if one.kind == "lower bound"}
    assert above == {
        "epsilon", "epsilon_if_poisson", "epsilon_unamplified", "epsilon_rdp", "epsilon_all_releases",
            "epsilon_of_group", "epsilon_of_client",
        "epsilon_single_run",
        "claimed_epsilon",
    }  # fmt: skip
    assert below == {
        "audited_epsilon", "membership_auc_at_least", "deployed_membership_auc_at_least", "epsilon_shuffle_lower",
    }  # fmt: skip
    assert {name for name, one in MEASURES.items() if one.guarantee} == {
        "epsilon", "epsilon_all_releases",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.98765, "0.988"),
        ("step_time_median", 0.00312, "3.12"),
        ("step_time_first", 1.5, "1.50"),
        ("examples_per_second", 12345.6, "12,346"),
        ("peak_memory", 3 * 2.0**20, "3"),
        ("bytes_up", 2_345_678.0, "2.35"),
        ("rounds_to_target", 7.0, "7"),
        ("client_update_norm", 0.12345, "0.123"),
        ("round_ratio", 1.26, "1.3"),
        ("logit_relative_difference", 1.234e-6, "1.2e-06"),
        ("max_sensitivity", 123.4, "123"),
        ("max_sensitivity", -0.01234, "-0.012"),
        ("epsilon", 7.991, "8.00"),
        ("audited_epsilon", 1.019, "1.01"),
    ],
)
def test_numbers_are_written_in_the_unit_that_is_shown(name, value, text):
    assert MEASURES[name].text(value) == text


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == measures_markdown(), "python -m trustml.report.measures_page"
