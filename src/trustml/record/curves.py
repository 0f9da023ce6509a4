"""ROC curves of a run's attacks, as whole numbers that say nothing of any single example."""

from __future__ import annotations

import msgspec

from trustml.errors import RecordError
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic
from trustml.record.store import CURVES, RunDirectory


class RocCounts(msgspec.Struct, frozen=True, kw_only=True):
    """An empirical ROC curve: for each threshold, how many non-members and members score above it.

    Parameters
    ----------
    subject, attack : str
    false_positives, true_positives : tuple of int
        Cumulative counts, from the strictest threshold on; the last are all non-members and all members.
    """

    subject: str
    attack: str
    false_positives: tuple[int, ...]
    true_positives: tuple[int, ...]


def write_curves(run: RunDirectory, curves: list[RocCounts]) -> None:
    """Write the curves of a run."""
    write_atomic(run.path / CURVES, msgspec.json.encode(curves) + b"\n")


def read_curves(run: RunDirectory) -> list[RocCounts]:
    """Read the curves of a run; none where nothing was attacked.

    Raises
    ------
    RecordError
        If the file cannot be read.
    """
    path = run.path / CURVES
    try:
        return msgspec.json.decode(plain_bytes(path), type=list[RocCounts])
    except FileNotFoundError:
        return []
    except UNREADABLE as error:
        raise RecordError(f"{path}: cannot be read ({error}); delete it and resume the run") from error
