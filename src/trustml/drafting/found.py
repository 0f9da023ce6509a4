"""What was found in a data file, and what a draft makes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np

from trustml.errors import UsageError
from trustml.models.tasks import Classes, Labels, Regression, Task
from trustml.scenario.problems import explain_problem
from trustml.scenario.sources import DataSource, Source

_LARGEST = 1e30
MANY = 20
"""Whole numbers of more different values are numbers to learn, not classes."""

AnySource = TypeVar("AnySource", bound=Source)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A source, a task, and why they are what they are.

    Attributes
    ----------
    source : DataSource
    task : Task
    notes : dict of str to str
        Field of the scenario to the comment that the file gets there.
    told : tuple of str
        What was found out, a line each.
    chosen : tuple of str
        Fields for whose values the data were looked at, whatever was found: of other data they might be others.
    """

    source: DataSource
    task: Task
    notes: dict[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


def plain_name(stem: str) -> str:
    """Make a scenario's name of a file's."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem.split(".")[0]).strip("_-")[:64]
    return name or "draft"


def outward(low: float, high: float) -> tuple[float, float]:
    """Round a range outward to one digit of its width, so that it tells less of the examples at its ends."""
    if not math.isfinite(high - low) or max(abs(low), abs(high)) > _LARGEST:
        raise UsageError(f"labels from {low:g} to {high:g} are beyond what networks compute with; scale them")
    if not low < high:
        return low - 1.0, high + 1.0
    step = 10.0 ** math.floor(math.log10(high - low))
    digits = max(0, -round(math.log10(step)))
    return round(math.floor(low / step) * step, digits), round(math.ceil(high / step) * step, digits)


def task_of_array(labels: np.ndarray[Any, Any]) -> tuple[Task, dict[str, str]]:
    """Say what an array of labels asks of a model, and why."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return Labels(), {"task": f"{labels.shape[1]} labels an example; each holds or does not."}
    if labels.dtype.kind == "f" and (len(np.unique(labels)) > MANY or (labels != np.round(labels)).any()):
        span = outward(float(labels.min()), float(labels.max()))
        why = "The range maps targets to [-1, 1]; it was read from the data and rounded outward."
        return Regression(target_range=span), {"task": why}
    return Classes(), {}


def source_from(kind: type[AnySource], fields: Mapping[str, Any]) -> AnySource:
    """Make a source of its fields.

    Raises
    ------
    ScenarioError
        If one is unknown or has another type.
    """
    plain = msgspec.to_builtins({"kind": kind.__name__, **fields})
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise explain_problem(error, plain, kind, root="data") from None
