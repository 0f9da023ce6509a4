"""The page of what a run survives is what its results say."""

from __future__ import annotations

from tests.reliability.page import PAGE, page


def test_the_page_is_made_of_the_results():
    assert PAGE.read_text() == page(), "run python -m tests.reliability.page"
