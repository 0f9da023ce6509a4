"""Where nobody looks at a terminal, each end of a job is a line that says how many have ended."""

from __future__ import annotations

import io

import pytest

from trustml.cli.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "expected"), [(io.StringIO(), "[3/3]"), (Terminal(), "3/3")])
def test_a_run_that_goes_on_counts_what_was_finished_before(stream, expected):
    with show_progress(stream) as listen:
        listen({"event": "run", "run": "r", "jobs": 3, "finished": 2})
        listen({"event": "job-start", "job": "a"})
        listen({"event": "job-end", "job": "a", "status": "ok", "seconds": 1.0})
    assert expected in stream.getvalue()
