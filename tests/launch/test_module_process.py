"""A module run once in an environment: how it ended is said in one line."""

from __future__ import annotations

import pytest

from trustml.launch.module_process import how_it_ended


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "ended with code 1: W1130 a warning of somebody's"),
        (-4, "was ended by SIGILL"),
        (-9, "was ended by SIGKILL; the system kills so when memory runs out"),
    ],
)
def test_what_was_printed_before_a_signal_is_not_taken_for_its_reason(tmp_path, code, said):
    log = tmp_path / "log.txt"
    log.write_text("started\nW1130 a warning of somebody's\n")
    assert how_it_ended(code, log) == said
