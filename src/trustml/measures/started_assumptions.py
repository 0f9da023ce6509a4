"""What a privacy guarantee rests on where training started from an earlier model: on what both trainings do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from trustml.measures.assumptions import DELTA, HYPERPARAMETERS, own_assumptions
from trustml.measures.evidence import Evidence
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import Charge
from trustml.privacy.statement import Assumption, AssumptionStatus
from trustml.record.schema import Manifest
from trustml.record.starts import (
    EarlierTraining,
    StartRecord,
    composed_trainings,
    earlier_charges,
    holds_keys,
    start_of,
    start_title,
    unpaid_rows,
)
from trustml.scenario.regimes import PrivateRegime

OTHER_DATA = "what training starts from was made from other data"
_WORST_FIRST: tuple[AssumptionStatus, ...] = ("not met", "not checked", "met")


def assumptions_of(
    evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: Sequence[Charge]
) -> tuple[Assumption, ...]:
    """List the assumptions behind one private model, and behind those whose charges are in its epsilon too."""
    before = list(itertools.chain.from_iterable(earlier_charges(evidence.manifest, regime)))
    own = own_assumptions(evidence, job, regime, charges, before=before)
    return (*with_earlier(own, composed_trainings(evidence.manifest, regime)), *_start(evidence.manifest, regime))


def with_earlier(own: Sequence[Assumption], trainings: Sequence[EarlierTraining]) -> list[Assumption]:
    """Take the worst of every assumption over a training and those before it that epsilon is composed with."""
    found = {one.name: one for one in own}
    for training in trainings:
        theirs = {one.name: one for one in training.assumptions}
        if training.chosen_among > 1:
            why = f"it is one of {training.chosen_among} models of a sweep; of what they cost together, epsilon holds "
            theirs[HYPERPARAMETERS] = Assumption(name=HYPERPARAMETERS, status="not met", why=f"{why}its charges alone")
        for name in dict.fromkeys((*found, *theirs)):
            if name == DELTA:  # which is of all together, and was held against the examples of each
                continue
            untold = Assumption(name=name, status="not checked", why="its record does not tell")
            other = theirs.get(name, None if training.assumptions else untold)
            if other is not None:
                found[name] = _worse(found.get(name), other, of=training.title)
    return list(found.values())


def _worse(own: Assumption | None, other: Assumption, *, of: str) -> Assumption:
    """Give the worse one, and say of whose training it is; where both are as bad, what either has to say."""
    theirs = msgspec.structs.replace(other, why=f"of {of}, whose charges are in epsilon: {other.why}")
    if own is None:
        return theirs
    if own == other:
        return own
    ours = msgspec.structs.replace(own, why=f"of this training: {own.why}")
    return worse(ours if _is_worse(other, own) else own, theirs)


def _is_worse(one: Assumption, other: Assumption) -> bool:
    return _WORST_FIRST.index(one.status) < _WORST_FIRST.index(other.status)


def worse(own: Assumption, other: Assumption) -> Assumption:
    """Take the worse of two answers to one question, told first; of answers as bad as each other, both."""
    if (own.status == "met" and other.status == "met") or _is_worse(own, other):
        return own
    first, second = (other, own) if _is_worse(other, own) else (own, other)
    return msgspec.structs.replace(first, why=f"{first.why}; {second.why}")


def _start(manifest: Manifest, regime: PrivateRegime) -> tuple[Assumption, ...]:
    """Say what is known of the rows that starting weights were made from; nothing where they follow from a seed."""
    title, start = start_title(manifest, regime), start_of(manifest, regime)
    if not title:
        return ()
    left, composed = unpaid_rows(manifest, regime), bool(earlier_charges(manifest, regime))
    status: AssumptionStatus = "not checked"
    if left == "some":
        status = "not met"
        who = f"{title}, or {start.earlier} which it started from," if start is not None and start.earlier else title
        why = f"{who} was trained on rows of this data without a guarantee that composes with this one: no epsilon "
        why += "holds for those rows"
    elif start is not None and composed:
        status = "not met" if start.shared == "some" else "not checked"
        why = f"{title} was trained on rows of this data; epsilon is that of its training and of this one, composed"
        if start.shared != "some":
            why = (
                f"whether {title} was trained on rows of this data cannot be told; epsilon is that of its training and "
                "of this one, composed, which holds if it was"
            )
        if left == "unknown":
            why += f"; what its own start, {start.earlier}, was made from is not accounted for"
    elif left == "unknown":
        why = f"they are those of {title}; for rows of this data that they were made from no epsilon holds"
        if start is not None and start.shared == "none" and holds_keys(regime):
            why += "; rows were compared and none is shared, but whoever gave them may have given rows here too"
    else:
        status = "met"
        why = f"no row that {title} was trained on is a training row here; they were compared as they were prepared, "
        why += "to the digits that both have"
    made_from = Assumption(name=OTHER_DATA, status=status, why=why)
    scored = _scored(start)
    return (made_from if scored is None else worse(made_from, scored),)


def _scored(start: StartRecord | None) -> Assumption | None:
    """Say that rows by which an earlier model was scored are trained on now: whoever chose it by that used them."""
    if start is None or start.scored in (None, "none"):
        return None
    if start.chosen:
        why = f"{start.chosen} was chosen among several models or runs by how it scored on rows that are training rows "
        return Assumption(name=OTHER_DATA, status="not met", why=f"{why}here, and no epsilon covers that choice")
    which = "rows that are" if start.scored == "some" else "rows of which some may be"
    why = f"{start.run}:{start.job}, or what it started from, was scored on {which} training rows here; no epsilon "
    return Assumption(name=OTHER_DATA, status="not checked", why=f"{why}would cover a choice made by that score")
