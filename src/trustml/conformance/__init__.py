"""Proof that a private training is the mechanism it is said to be: ours, or anybody's.

>>> from trustml.conformance import check_step, check_training
"""

from __future__ import annotations

import warnings

from trustml.conformance.findings import CheckResult
from trustml.conformance.step import check_step
from trustml.conformance.subject import Step, StepFactory, StepSettings
from trustml.conformance.training import ExecutedStep, TrainingRecord, check_training

__all__ = [
    "CheckResult",
    "ExecutedStep",
    "Step",
    "StepFactory",
    "StepSettings",
    "TrainingRecord",
    "check_step",
    "check_training",
]


def __getattr__(name: str) -> type[CheckResult]:
    """Accept the name that a result had until 0.1."""
    if name == "Finding":
        warnings.warn("trustml.conformance.Finding is CheckResult now", DeprecationWarning, stacklevel=2)
        return CheckResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
