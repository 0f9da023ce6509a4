"""What to audit somebody's model for, and whether that can work at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from trustml.auditing.checks_accounting import check_claim
from trustml.auditing.claim import Claim
from trustml.auditing.examples import Given
from trustml.auditing.explained import MEMORY, SECONDS
from trustml.auditing.models import BATCH
from trustml.auditing.outputs import Outputs
from trustml.auditing.references import Asked, Retrain, asked_references
from trustml.errors import UsageError
from trustml.measures.deployed import HeldAgainst

CheckName: TypeAlias = Literal["membership", "accounting", "explanations", "performance"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to audit a model for.

    Attributes
    ----------
    train, holdout : Given, optional
        Only accounting can do without them.
    claim : Claim, optional
    checks : sequence of str
    references : int, optional
    retrain : callable, optional
    outputs : {"auto", "probabilities", "logits", "values"}
    confidence : float
    seed : int
    name : str
    explain_memory : int
        Bytes.
    explain_seconds : float
    batch_size : int, optional
        Examples that the model gets at once.
    against : HeldAgainst, optional
        What the model of a run, which it is said to be, answered beside it.
    """

    train: Given | None
    holdout: Given | None
    claim: Claim | None
    checks: Sequence[str]
    references: int | None
    retrain: Retrain | None
    outputs: Outputs
    confidence: float
    seed: int
    name: str
    explain_memory: int = MEMORY
    explain_seconds: float = SECONDS
    batch_size: int | None = None
    against: HeldAgainst | None = None


def refuse_unknown_checks(checks: Sequence[str]) -> None:
    """Refuse names that are no checks, or none at all.

    Raises
    ------
    UsageError
    """
    unknown = [name for name in checks if name not in CHECKS]
    if unknown or not checks:
        raise UsageError(f"checks: {', '.join(unknown) or 'none'} is not known; choose from {', '.join(CHECKS)}")


def check_request(model: Any, request: Request) -> Asked:
    """Refuse what cannot work before anything is computed.

    Raises
    ------
    UsageError
        Naming the argument, its value and what to write.
    """
    refuse_unknown_checks(request.checks)
    if request.outputs not in get_args(Outputs):
        raise UsageError(f"outputs: {request.outputs!r} is not known; choose from {', '.join(get_args(Outputs))}")
    if not 0.5 < request.confidence < 1:
        raise UsageError(f"confidence: {request.confidence} is not between 0.5 and 1; write 0.99 for 99 percent")
    if request.explain_memory <= 0:
        raise UsageError(f"explain_memory: {request.explain_memory} bytes are none; leave it out for {MEMORY}")
    if not request.explain_seconds > 0:
        raise UsageError(f"explain_seconds: {request.explain_seconds:g} is no time; leave it out for {SECONDS:g}")
    if request.batch_size is not None and request.batch_size < 1:
        raise UsageError(f"batch_size: {request.batch_size} examples at once are none; leave it out for {BATCH}")
    if (request.train is None) != (request.holdout is None):
        raise UsageError("train, holdout: one of them is missing; give both, or neither for accounting alone")
    if request.train is None and any(name != "accounting" for name in request.checks):
        others = ", ".join(name for name in request.checks if name != "accounting")
        raise UsageError(f"train, holdout: are needed for {others}; give both, or checks=('accounting',)")
    if request.claim is not None:
        check_claim(request.claim)
    return asked_references(model, references=request.references, retrain=request.retrain)
