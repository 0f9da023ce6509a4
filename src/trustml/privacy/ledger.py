"""The privacy ledger: an append-only file of charges, on disk before the steps it pays for can be seen.

A step that is executed again after a crash is a new charge. Nothing is ever taken back, so the ledger can
overstate what was spent (steps charged but not reached) and never understate it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trustml.errors import PrivacyError, RecordError
from trustml.privacy.tails import NoiseSource
from trustml.processes import require_wanted
from trustml.scenario.regimes import Sampling

Drawn: TypeAlias = Sampling | Literal["all", "unknown"]
"""How a step's examples, or a round's clients, are drawn: all of them, or blocks of a public order in turn. Of somebody
else's loader nothing is known, but that an example is in a batch once at the most."""
NoiseKind: TypeAlias = Literal[
    "independent", "tree aggregation", "banded matrix factorisation", "buffered linear Toeplitz"
]
PrivacyUnit: TypeAlias = Literal["example", "user"]
UNAMPLIFIED: tuple[Drawn, ...] = ("shuffle", "all", "in turn", "unknown")
"""Ways of drawing that need no secret and give no amplification."""

NeighboringRelation: TypeAlias = Literal["add or remove one", "zero out one", "replace one"]
ADD_OR_REMOVE: NeighboringRelation = "add or remove one"
ZERO_OUT: NeighboringRelation = "zero out one"
REPLACE: NeighboringRelation = "replace one"
_LONGEST_LINE = 1 << 16


class Charge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One block of steps of the subsampled Gaussian mechanism.

    Where the unit of privacy is a user, examples are users; or clients of a federation, whose rounds are steps and
    whose cohorts are batches.

    Parameters
    ----------
    attempt : int
        1 for the first execution of the job.
    first_step, end_step : int
        The block is ``first_step <= step < end_step`` of the batch plan of this attempt.
    noise_multiplier : float
        Standard deviation of the noise on the clipped sum, over `clipping_norm`.
    quantile_noise_multiplier : float
        With adaptive clipping, standard deviation of the noise on the number of unclipped examples, over its
        sensitivity of 1/2; 0 where nothing but the gradient is released.
    clipping_norm : float
    sample_rate : float
        Expected share of the examples in a batch.
    batch_size, examples : int
        ``sample_rate = groups * batch_size / examples``.
    sampling : {"poisson", "shuffle", "fixed", "in turn", "cyclic poisson", "all", "unknown"}
    secret_sampling : bool
        Whether the batches came from operating-system entropy and stayed secret. Without that there is no
        amplification.
    participation : int
        Most batches of this block that any one example is in. Where the batches are secret it is the number
        of steps, so as not to tell. Where noise is correlated, the block is the whole training, and this is
        the squared L2 sensitivity of all that it releases, in units of the clipping norm.
    largest_participation : int
        The same over the whole plan.
    plan : str
        SHA-256 of the batch plan: a commitment, and the way to tell which jobs shared batches.
    data : str
        Fingerprint of the data.
    unit : str
        Unit of privacy.
    relation : {"add or remove one", "zero out one", "replace one"}
        Neighbouring relation under which the charge is accounted.
    noise : {"independent", "tree aggregation", "banded matrix factorisation", "buffered linear Toeplitz"}
        How the noise of the steps hangs together.
    users : str
        Where the unit is a user, fingerprint of who holds what: guarantees for users of different partitions
        protect different things, and do not compose.
    noise_source : str
        What drew the noise, see :data:`trustml.privacy.tails.TAILS`; empty in ledgers of before it was written down.
    coordinates : int
        Numbers that were drawn for each step.
    """

    attempt: int
    first_step: int
    end_step: int
    noise_multiplier: float
    quantile_noise_multiplier: float = 0.0
    clipping_norm: float
    sample_rate: float
    batch_size: int
    examples: int
    sampling: Drawn = "poisson"
    secret_sampling: bool
    participation: int
    largest_participation: int
    plan: str
    data: str
    unit: PrivacyUnit = "example"
    relation: NeighboringRelation = ADD_OR_REMOVE
    noise: NoiseKind = "independent"
    users: str = ""
    noise_source: NoiseSource = ""
    coordinates: int = 0

    @property
    def steps(self) -> int:
        """Number of steps charged."""
        return self.end_step - self.first_step

    @property
    def groups(self) -> int:
        """Groups that examples are drawn from in turn; one but for cyclic Poisson sampling."""
        return round(self.sample_rate * self.examples / self.batch_size) if self.sampling == "cyclic poisson" else 1

    @property
    def precision(self) -> float:
        """``1 / noise_multiplier**2`` of all that one step releases, taken as one Gaussian mechanism."""
        quantile = self.quantile_noise_multiplier
        return self.noise_multiplier**-2 + (quantile**-2 if quantile else 0.0)


def relation_of(sampling: Drawn, *, secret: bool) -> NeighboringRelation:
    """Neighbouring relation of a way of sampling.

    Where the batches are a partition or are published, taking an example away would move the others, so it
    is replaced by nothing at its place ("zero out"). For Poisson batches each is drawn, and put in its group of cyclic
    ones, on its own: it comes and goes without moving others ("add or remove"). A batch of fixed size is full in both
    worlds, so there an example is replaced by another, and the sensitivity is twice the clipping norm.
    """
    if sampling == "fixed" and secret:
        return REPLACE
    return ADD_OR_REMOVE if sampling in ("poisson", "cyclic poisson") and secret else ZERO_OUT


def charge(path: Path, entry: Charge) -> None:
    """Append one charge and sync it to disk before returning.

    What an earlier attempt left half written was never followed by a step, and makes room.

    Raises
    ------
    PrivacyError
        If the ledger is of other data, another sampling rate, clipping norm or unit of privacy, or the job was given
        up and another attempt may charge it.
    """
    require_wanted()
    path.touch()
    with path.open("r+b") as stream:
        begin = stream.readline()
        if begin.endswith(b"\n"):
            _check_continuation(_decode(begin, path, 1), entry)
        # Only the end is read: a ledger may be long, and is appended to between steps.
        start = max(0, stream.seek(0, os.SEEK_END) - _LONGEST_LINE)
        stream.seek(start)
        stream.seek(start + stream.read().rfind(b"\n") + 1)
        stream.truncate()
        stream.write(msgspec.json.encode(entry) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_ledger(path: Path) -> list[Charge]:
    """Read all charges; an empty list if there is no ledger.

    Raises
    ------
    RecordError
        If a whole line is damaged. A last line that was cut off in the middle is passed over: its charge
        had not returned, so none of its steps was taken.
    """
    if not os.path.lexists(path):
        return []
    if not path.is_file():
        raise RecordError(f"{path}: is a pipe, a device or a link to nothing; epsilon cannot be stated")
    charges = []
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        charges.append(_decode(line, path, number))
    return charges


def _decode(line: bytes, path: Path, number: int) -> Charge:
    try:
        return msgspec.json.decode(line, type=Charge)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path}: line {number} is damaged ({error}); epsilon cannot be stated") from None


def _check_continuation(earlier: Charge, entry: Charge) -> None:
    for field in ("data", "sample_rate", "clipping_norm", "unit", "sampling", "noise", "users"):
        before, now = getattr(earlier, field), getattr(entry, field)
        if before != now:
            raise PrivacyError(
                f"ledger: {field} was {before!r} and is now {now!r}; a changed {field} is another mechanism, "
                "so start a new run"
            )
