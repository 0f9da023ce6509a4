"""What a verification looked at, one line each."""

from __future__ import annotations

import json
import math
from typing import Literal, TypeAlias, get_args

import msgspec

from trustml.errors import TrustmlError

Outcome: TypeAlias = Literal["ok", "differs", "not recomputed"]
Area: TypeAlias = Literal["signature", "files", "jobs", "ledgers", "predictions", "measures", "statements", "audit"]
AREAS: tuple[Area, ...] = get_args(Area)

RELATIVE_TOLERANCE = 1e-6
"""Two machines add in another order. What is written down has more digits than this; an edit that is smaller says
the same."""

NOT_COMPUTABLE = (
    *(TrustmlError, msgspec.MsgspecError, ArithmeticError, ValueError, LookupError, TypeError),
    *(AssertionError, StopIteration, MemoryError),
)
"""What computing from files raises that anybody may have made: such a file differs, and the other checks go on."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was verified, or why it was not.

    Parameters
    ----------
    area : {"signature", "files", "jobs", "ledgers", "predictions", "measures", "statements", "audit"}
    subject : str
        File, job, or measure with its model; empty for the whole run.
    outcome : {"ok", "differs", "not recomputed"}
    message : str
        One line: what was compared, and how it differs or why nothing was compared.
    """

    area: Area
    subject: str
    outcome: Outcome
    message: str

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return self.outcome != "differs"


def same_number(found: float | None, stated: float | None, *, within: float = RELATIVE_TOLERANCE) -> bool:
    """Whether two figures are equal within rounding; both absent, and both infinite, are equal."""
    if found is None or stated is None:
        return found is stated
    if math.isnan(found) or math.isnan(stated):
        return math.isnan(found) and math.isnan(stated)
    return found == stated or math.isclose(found, stated, rel_tol=within, abs_tol=1e-12)


def text_of(value: object) -> str:
    """Write a figure or text for a message."""
    if value is None:
        return "absent"
    if isinstance(value, tuple):
        return f"{len(value)} values ending in {text_of(value[-1])}" if value else "no values"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def says_no_more(told: object, known: object) -> bool:
    """Whether plain JSON holds nothing that `known` does not; other revisions may know fields that are not told."""
    if isinstance(told, dict) and isinstance(known, dict):
        return all(name in known and says_no_more(value, known[name]) for name, value in told.items())
    if isinstance(told, list) and isinstance(known, list):
        return len(told) == len(known) and all(map(says_no_more, told, known))
    return told == known


def as_written(content: bytes) -> bool:
    """Whether JSON is laid out as trustml does it, with no key twice, so that changing a byte changes what it says."""
    try:
        json.loads(content, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return False
    return msgspec.json.format(msgspec.json.format(content, indent=-1), indent=2) + b"\n" == content


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice, and readers differ in which one they take")
    return found
