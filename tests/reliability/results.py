"""Results of the commands, as JSON under ``benchmarks/results/``."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from trustml.launch.prepare import now
from trustml.record.provenance import hardware, source_revision

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def write_result(name: str, found: dict[str, Any], *, command: str) -> None:
    """Write what a command found, with when and by which code."""
    import msgspec

    own, started = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    about = {
        "command": command,
        "ended": now(),
        "source": msgspec.to_builtins(source_revision()),
        "cores": msgspec.to_builtins(hardware()).get("cores"),
        "processor seconds": round(own.ru_utime + own.ru_stime + started.ru_utime + started.ru_stime),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps({**about, **found}, indent=2) + "\n")


def read_result(name: str) -> dict[str, Any]:
    """Read it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return found
