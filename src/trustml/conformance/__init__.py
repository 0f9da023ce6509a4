"""Proof that a private training is the mechanism it is said to be: ours, or anybody's.

>>> from trustml.conformance import check_step, check_training
"""

from __future__ import annotations

from trustml.conformance.findings import Finding
from trustml.conformance.step import check_step
from trustml.conformance.subject import Step, StepFactory, StepSettings
from trustml.conformance.training import ExecutedStep, TrainingRecord, check_training

__all__ = [
    "ExecutedStep",
    "Finding",
    "Step",
    "StepFactory",
    "StepSettings",
    "TrainingRecord",
    "check_step",
    "check_training",
]
