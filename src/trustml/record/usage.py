"""Processor and memory of a job's processes over time.

They lie below ``private/``: the time of a private step follows the size of its batch, and a worker beside it tells of
its steps too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.errors import RecordError
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.store import RunDirectory

_MOST = 240


def usage_file(job_id: str) -> str:
    """File of the samples of a job."""
    return f"private/usage/{job_id}.npz"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Samples of a job, oldest first.

    Attributes
    ----------
    started : float
        When it began, seconds since 1970.
    seconds : float array of shape (n,)
        Since then.
    memory : int array of shape (n,)
        Bytes that its processes hold.
    cpu_seconds : float array of shape (n,)
        Processor time that they have used since they began.
    """

    started: float
    seconds: npt.NDArray[np.float64]
    memory: npt.NDArray[np.int64]
    cpu_seconds: npt.NDArray[np.float64]


class Samples:
    """Takes samples, and keeps as many as are shown: of a long job, fewer a minute."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, float]] = []
        self._gap = 0.0

    def add(self, seconds: float, *, memory: int, cpu_seconds: float) -> None:
        """Take one, unless one was taken just before."""
        if self._kept and seconds - self._kept[-1][0] < self._gap:
            return
        if len(self._kept) == _MOST:
            self._kept = self._kept[::2]
            self._gap = 2 * (self._kept[-1][0] - self._kept[0][0]) / _MOST
        self._kept.append((seconds, memory, cpu_seconds))

    def taken(self) -> tuple[tuple[float, int, float], ...]:
        """Seconds since the start, bytes and processor seconds of each."""
        return tuple(self._kept)


def write_usage(
    run: RunDirectory, job_id: str, samples: tuple[tuple[float, int, float], ...], *, started: float
) -> None:
    """Keep the samples of a job; none are kept of one that ended at once."""
    if samples:
        seconds, memory, used = (np.array(column) for column in zip(*samples, strict=True))
        arrays = {"started": np.array(started), "seconds": seconds, "memory": memory.astype(np.int64)}
        write_atomic(run.file(usage_file(job_id)), encode_arrays({**arrays, "cpu_seconds": used}), private=True)


def read_usage(run: RunDirectory, job_id: str) -> Usage | None:
    """Read the samples of a job; None where there are none, or they are not at hand.

    Raises
    ------
    RecordError
        If the file cannot be read.
    """
    path = run.file(usage_file(job_id))
    if not path.is_file():
        return None
    found = run.arrays(usage_file(job_id))
    try:
        started = float(found["started"])
        columns = [np.asarray(found[name], np.float64) for name in ("seconds", "memory", "cpu_seconds")]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: does not hold the samples of a job ({error}); delete it") from None
    if any(column.ndim != 1 or len(column) != len(columns[0]) or not np.isfinite(column).all() for column in columns):
        raise RecordError(f"{path}: its columns do not fit each other; delete it")
    seconds, memory, used = columns
    return Usage(started=started, seconds=seconds, memory=memory.astype(np.int64), cpu_seconds=used)
