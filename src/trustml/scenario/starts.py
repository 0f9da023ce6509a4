"""What training starts from, as a scenario names it: a file of ``trustml import``, or a model of an earlier run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_RUN_AND_JOB = re.compile(r"(?P<run>.+):(?P<job>train\.[^:/\\]+)")


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A trained model of a run.

    Attributes
    ----------
    run : Path
        The run directory.
    job : str
        Identifier of the train job.
    """

    run: Path
    job: str


def run_start(start: str) -> RunStart | None:
    """Read ``RUN:JOB``; None where a file is named, or nothing."""
    found = _RUN_AND_JOB.fullmatch(start)
    return RunStart(run=Path(found["run"]), job=found["job"]) if found else None
