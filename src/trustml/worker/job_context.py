"""Where a job works, and what training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trustml.backends.settings import EngineChoice
from trustml.models.weights import Weights
from trustml.worker.clock import Clock
from trustml.worker.events import Progress


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """Where a job reads and writes, and what watches it.

    Attributes
    ----------
    root, folder : Path
        The run directory, and the job's folder in it.
    clock : Clock
    progress : Progress
    """

    root: Path
    folder: Path
    clock: Clock
    progress: Progress


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
