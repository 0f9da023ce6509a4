"""Checkpoints: enough to go on with a training, in any backend, from the step after which they were written.

A checkpoint of a private training holds nothing that its charges do not cover: weights and the optimizer's memory
follow from noisy gradients alone. It lies under ``private/`` all the same, because only the final model is released.
No random state is in it: batches and noise of a private training are always new after a resume.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trustml.errors import RecordError
from trustml.models.weights import Weights
from trustml.record.files import encode_arrays, read_arrays, write_atomic


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training after `step` steps.

    Attributes
    ----------
    step : int
    weights, state : dict of str to float array
        Of the trainer; see :class:`trustml.backends.contract.Trainer`.
    average : dict of str to float array
        Moving average of the weights; empty where there is none.
    clipping_norm : float
        Of the next step; 0 where nothing is clipped.
    """

    step: int
    weights: Weights
    state: Weights = field(default_factory=dict)
    average: Weights = field(default_factory=dict)
    clipping_norm: float = 0.0


class Checkpoints:
    """Writes checkpoints of one job, not more often than every so many seconds.

    Parameters
    ----------
    path : Path
    seconds : float
        0 writes one after every step.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path, self._seconds, self._last = path, seconds, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self._last >= self._seconds

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the latest checkpoint."""
        arrays = {
            "step": np.int64(checkpoint.step),
            "clipping_norm": np.float64(checkpoint.clipping_norm),
            **{f"weights/{name}": array for name, array in checkpoint.weights.items()},
            **{f"state/{name}": array for name, array in checkpoint.state.items()},
            **{f"average/{name}": array for name, array in checkpoint.average.items()},
        }
        write_atomic(self._path, encode_arrays({k: np.asarray(v) for k, v in arrays.items()}), private=True)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove the checkpoint of a finished training."""
        self._path.unlink(missing_ok=True)


def read_checkpoint(path: Path, *, like: Weights) -> Checkpoint | None:
    """Read the latest checkpoint; None if there is none.

    Raises
    ------
    RecordError
        If it cannot be read or is not of a model shaped like `like`.
    """
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    weights = _part(arrays, "weights/")
    shapes = {name: array.shape for name, array in weights.items()}
    if shapes != {name: array.shape for name, array in like.items()} or "step" not in arrays:
        raise RecordError(f"{path}: is no checkpoint of this model; delete it to train from the start")
    return Checkpoint(
        step=int(arrays["step"]),
        weights={name: weights[name] for name in like},
        state=_part(arrays, "state/"),
        average=_part(arrays, "average/"),
        clipping_norm=float(arrays["clipping_norm"]),
    )


def checkpoint_step(path: Path) -> int:
    """Steps that the checkpoint at `path` saves; 0 without one that can be read."""
    try:
        return int(read_arrays(path)["step"]) if path.is_file() else 0
    except (RecordError, KeyError):
        return 0


def _part(arrays: dict[str, np.ndarray], prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): array.astype(np.float32) for name, array in arrays.items() if name.startswith(prefix)
    }
