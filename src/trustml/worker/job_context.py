"""Where a job works, how it tells its progress, and what training leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trustml.backends.settings import EngineChoice
from trustml.models.weights import Weights
from trustml.worker.clock import Clock
from trustml.worker.learning_curve import LearningCurve

_SECONDS_BETWEEN = 0.2


class Progress:
    """Appends progress events to a private file, at most five a second.

    They hold counts, never a loss or a norm, but times of single steps.

    Parameters
    ----------
    path : Path
    attempt : int
        Of a private training, whose steps are charged by attempt; 0 for others.
    """

    def __init__(self, path: Path, *, attempt: int = 0) -> None:
        self._path, self._attempt = path, {"attempt": attempt} if attempt else {}
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
            self._append({"event": "step", "step": done, "steps": total, **self._attempt})

    def _append(self, event: dict[str, Any]) -> None:
        with self._path.open("ab") as stream:
            stream.write(msgspec.json.encode({"time": round(time.time(), 3), **event}) + b"\n")


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """Where a job reads and writes, and what watches it.

    Attributes
    ----------
    root, folder : Path
        The run directory, and the job's folder in it.
    clock : Clock
    progress : Progress
    curve : LearningCurve, optional
        Of the held-out examples, where somebody looks at them in training.
    """

    root: Path
    folder: Path
    clock: Clock
    progress: Progress
    curve: LearningCurve | None = None

    def plan_curve(self, *, steps: int, rows: float, start: int = 0) -> None:
        """See :meth:`.LearningCurve.plan`."""
        if self.curve is not None:
            self.curve.plan(steps=steps, rows=rows, start=start)

    def look(self, step: int, weights: Callable[[], Weights]) -> None:
        """See :meth:`.LearningCurve.look`."""
        if self.curve is not None:
            self.curve.look(step, weights)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training ends with.

    Attributes
    ----------
    weights : dict of str to float array
        Canonical.
    choice : EngineChoice, optional
        How a private training clipped.
    notes : tuple of str
        What a reader of the record must know: that the budget ended it early, say.
    """

    weights: Weights
    choice: EngineChoice | None = None
    notes: tuple[str, ...] = ()
