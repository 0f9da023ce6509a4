"""The page of what a run survives is what its results say."""

from __future__ import annotations

import pytest

from tests.reliability.page import PAGE, _bar, page


def test_the_page_is_made_of_the_results():
    assert PAGE.read_text() == page(), "run python -m tests.reliability.page"


@pytest.mark.parametrize(
    ("growth", "rest", "said"),
    [
        (1.0, None, "Nothing grew by more than is allowed."),
        (
            37.4,
            None,
            "**The bar was not met**: handles of the dashboard grew by 37.4 ± 0.2, where 6 are allowed. "
            "Where they went was not looked at in this run of the command.",
        ),
        (37.4, {"seconds": 125.0, "before": 44.0, "after": 20.0}, "Of its 44 handles at the end the dashboard had 20"),
    ],
)
def test_a_bar_that_is_not_met_is_named(growth, rest, said):
    found = {"grown": {"dashboard": {"handles": {"growth": growth, "error": 0.1}}}, "allowed": {"handles": 6.0}}
    assert said in _bar({**found, **({} if rest is None else {"handles after a rest": rest})})
