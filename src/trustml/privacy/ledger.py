"""The privacy ledger: an append-only file of charges, on disk before the steps it pays for can be seen.

A step that is executed again after a crash is a new charge. Nothing is ever taken back, so the ledger can
overstate what was spent (steps charged but not reached) and never understate it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from trustml.errors import RecordError


class Charge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One block of steps of the subsampled Gaussian mechanism.

    Parameters
    ----------
    attempt : int
        1 for the first execution of the job.
    first_step, end_step : int
        The block is ``first_step <= step < end_step`` of the batch plan.
    noise_multiplier : float
        Standard deviation of the noise on the clipped sum, over `clipping_norm`.
    clipping_norm : float
    sample_rate : float
        Probability with which each example joins each batch.
    secret_sampling : bool
        Whether the batches came from operating-system entropy and stayed secret. Without that there is no
        amplification.
    largest_participation : int
        Most batches that any one example is in, over the whole plan; used where there is no amplification.
        Where the batches are secret it is the number of steps, so as not to tell.
    plan : str
        SHA-256 of the batch plan: a commitment, and the way to tell which jobs shared batches.
    data : str
        Fingerprint of the data.
    unit : str
        Unit of privacy.
    relation : str
        Neighbouring relation.
    """

    attempt: int
    first_step: int
    end_step: int
    noise_multiplier: float
    clipping_norm: float
    sample_rate: float
    secret_sampling: bool
    largest_participation: int
    plan: str
    data: str
    unit: str = "example"
    relation: str = "add or remove one"

    @property
    def steps(self) -> int:
        """Number of steps charged."""
        return self.end_step - self.first_step


def charge(path: Path, entry: Charge) -> None:
    """Append one charge and sync it to disk before returning.

    What an earlier attempt left half written was never followed by a step, and makes room.
    """
    path.touch()
    with path.open("r+b") as stream:
        content = stream.read()
        stream.seek(content.rfind(b"\n") + 1)
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
    if not path.exists():
        return []
    charges = []
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            charges.append(msgspec.json.decode(line, type=Charge))
        except msgspec.MsgspecError as error:
            raise RecordError(f"{path}: line {number} is damaged ({error}); epsilon cannot be stated") from None
    return charges
