"""Progress of a job, as lines of a private file: it holds counts, never a loss or a norm, but times of single steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

_SECONDS_BETWEEN = 0.2


class Progress:
    """Appends progress events to a file, at most five a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last = 0.0

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        self._append({"event": "stage", "stage": name})

    def step(self, done: int, total: int) -> None:
        """Say how many steps are done."""
        now = time.monotonic()
        if done == total or now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self._append({"event": "step", "step": done, "steps": total})

    def _append(self, event: dict[str, Any]) -> None:
        with self._path.open("ab") as stream:
            stream.write(msgspec.json.encode({"time": round(time.time(), 3), **event}) + b"\n")
