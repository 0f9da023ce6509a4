"""Epsilon for all rows of a user together, where a regime protects single examples and names who they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trustml.data.dataset import Ints
from trustml.data.partition import owners_fingerprint, read_owners
from trustml.errors import RecordError
from trustml.measures.evidence import Evidence
from trustml.plan.job import TrainJob
from trustml.privacy.groups import epsilon_of_group
from trustml.privacy.ledger import Charge
from trustml.privacy.statement import Comparison, Group
from trustml.scenario.regimes import DPSGD, PrivateRegime

GROUP = "epsilon_of_group"
_GROUPS: tuple[Group, ...] = ("largest user", "median user")


def of_groups(
    evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: Sequence[Charge], *, why_none: str
) -> list[Comparison]:
    """Compare with the epsilon of the user with the most rows, and of the median; none where no key is named.

    Parameters
    ----------
    evidence : Evidence
    job : TrainJob
    regime : PrivateRegime
        Of the job.
    charges : sequence of Charge
        Of this training alone.
    why_none : str
        Why nothing is proved of a group; empty where something is.

    Raises
    ------
    RecordError
        If the file of who holds what is not the one that was trained by: a smaller one would state less.
    """
    if not isinstance(regime, DPSGD) or regime.unit == "user" or not regime.key_columns:
        return []
    drawn, secret = charges[0].sampling, all(charge.secret_sampling for charge in charges)
    gone = not evidence.run.file(job.clients).is_file()
    if why_none or gone:
        why = why_none or "who holds what is not at hand"
        return [
            Comparison(
                name=GROUP,
                value=None,
                note=why,
                drawn=drawn,
                secret_sampling=secret,
                not_at_hand=gone,
                group=group,
            )
            for group in _GROUPS
        ]
    who = " and ".join(regime.key_columns)
    counts = _rows_of_users(evidence, job, examples=charges[0].examples)
    sizes: dict[Group, int] = {"largest user": int(counts.max()), "median user": int(np.median(counts))}
    found = []
    for group in _GROUPS:
        bound = epsilon_of_group(charges, size=sizes[group], delta=regime.delta)
        finite = math.isfinite(bound.value)
        note = f"for {sizes[group]} rows of one {who} together, as the {group} has"
        found.append(
            Comparison(
                name=GROUP,
                value=bound.value if finite else None,
                relation=bound.relation if finite else "",
                accountant=bound.accountant if finite else "",
                note=note if finite else f"{note}: none is finite at this delta",
                drawn=drawn,
                secret_sampling=secret,
                group=group,
            )
        )
    return found


def _rows_of_users(evidence: Evidence, job: TrainJob, *, examples: int) -> Ints:
    """Rows of each user who has any."""
    owners, _ = read_owners(evidence.run.arrays(job.clients), name=job.clients, examples=examples)
    stated = "" if job.mechanism is None else job.mechanism.users  # of no record of before it was kept
    if stated and owners_fingerprint(owners) != stated:
        raise RecordError(f"{job.clients}: is not the partition that {job.id} was trained by; epsilon cannot be stated")
    counts: Ints = np.unique(owners[owners >= 0], return_counts=True)[1]
    if not len(counts):
        raise RecordError(f"{job.clients}: no user has a row; epsilon cannot be stated")
    return counts
