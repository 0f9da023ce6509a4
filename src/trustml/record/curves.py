"""ROC curves of a run's attacks, as whole numbers that say nothing of any single example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trustml.errors import RecordError
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic
from trustml.record.store import CURVES, RunDirectory

if TYPE_CHECKING:
    from trustml.attacks.roc import Roc


class RocCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An empirical ROC curve: for each threshold, how many non-members and members score above it.

    Parameters
    ----------
    subject, attack : str
    false_positives, true_positives : tuple of int
        Cumulative counts, from the strictest threshold on; the last are all non-members and all members.
    distinct_false_positives, distinct_true_positives : tuple of int
        Where there are copies, the same of one example of each group of them; empty where there are none.
    shared_false_positives, shared_true_positives : tuple of int
        Where non-members that are members too were left out, the same with them; empty where there are none.
    """

    subject: str
    attack: str
    false_positives: tuple[int, ...]
    true_positives: tuple[int, ...]
    distinct_false_positives: tuple[int, ...] = ()
    distinct_true_positives: tuple[int, ...] = ()
    shared_false_positives: tuple[int, ...] = ()
    shared_true_positives: tuple[int, ...] = ()

    @classmethod
    def of(cls, roc: Roc, *, subject: str, attack: str) -> RocCounts:
        """Give the counts of a curve."""
        once, both = roc.distinct, roc.shared
        return cls(
            subject=subject,
            attack=attack,
            false_positives=roc.false_positives,
            true_positives=roc.true_positives,
            distinct_false_positives=() if once is None else once.false_positives,
            distinct_true_positives=() if once is None else once.true_positives,
            shared_false_positives=() if both is None else both.false_positives,
            shared_true_positives=() if both is None else both.true_positives,
        )

    @property
    def roc(self) -> Roc:
        """The curve; raises UsageError if these are the counts of none."""
        from trustml.attacks.roc import Roc

        once, both = (
            Roc(false_positives=false, true_positives=true) if false or true else None
            for false, true in (
                (self.distinct_false_positives, self.distinct_true_positives),
                (self.shared_false_positives, self.shared_true_positives),
            )
        )
        return Roc(false_positives=self.false_positives, true_positives=self.true_positives, distinct=once, shared=both)


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
