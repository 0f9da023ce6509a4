"""What a verification looked at, one line each."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["ok", "differs", "not recomputed"]
Area: TypeAlias = Literal["signature", "files", "jobs", "ledgers", "measures", "statements", "audit"]
AREAS: tuple[Area, ...] = ("signature", "files", "jobs", "ledgers", "measures", "statements", "audit")

RELATIVE_TOLERANCE = 1e-6
"""Two machines add in another order. What is written down has more digits than this; an edit that is smaller says
the same."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was verified, or why it was not.

    Parameters
    ----------
    area : {"signature", "files", "jobs", "ledgers", "measures", "statements", "audit"}
    subject : str
        File, job, or measure with its model.
    outcome : {"ok", "differs", "not recomputed"}
    message : str
        One line: what was compared, and how it differs or why nothing was compared.
    """

    area: Area
    subject: str
    outcome: Outcome
    message: str


def same_number(found: float | None, stated: float | None) -> bool:
    """Whether two figures are equal within rounding; both absent, and both infinite, are equal."""
    if found is None or stated is None:
        return found is stated
    if math.isnan(found) or math.isnan(stated):
        return math.isnan(found) and math.isnan(stated)
    return found == stated or math.isclose(found, stated, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)


def text_of(value: object) -> str:
    """Write a figure or text for a message."""
    if value is None:
        return "absent"
    if isinstance(value, tuple):
        return f"{len(value)} values ending in {text_of(value[-1])}" if value else "no values"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
