"""``python -m trustml.report.deployed.page RUN``: the measured table of docs/deployment.md, from a run's exports."""

from __future__ import annotations

import sys
from pathlib import Path

from trustml.compare.table import read_measures
from trustml.record.store import find_run
from trustml.report.deployed.frames import deployed_frame

_LEFT_OUT = ("first s", "ms at 1", "ms at 64")
"""Times, which are the machine's."""


def measured_markdown(run: str) -> str:
    """Table of every exported file of a run, without times."""
    frame = deployed_frame(read_measures(find_run(run, root=Path("runs")))).drop(columns=list(_LEFT_OUT))
    lines: list[list[str]] = [
        [str(name) for name in frame.columns],
        ["---"] * len(frame.columns),
        *frame.astype(str).to_numpy().tolist(),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(measured_markdown(sys.argv[1]))
