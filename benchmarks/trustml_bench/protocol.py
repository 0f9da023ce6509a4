"""What the process of an engine and its parent say to each other: lines of JSON, one question, one answer."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class RunRequest(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """Asks for calls until `seconds` have passed, at least one, at most `calls`."""

    seconds: float
    calls: int = 10_000


class LookAtMemory(msgspec.Struct, frozen=True, kw_only=True, tag="look_at_memory"):
    """Asks how much memory was held at most."""


Question: TypeAlias = RunRequest | LookAtMemory


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The unit is made, called for the first time and warm.

    Attributes
    ----------
    making : float
        Seconds from the start of the process's own code until the unit was made: imports, data, network.
    first : float
        Seconds of the first call, with tracing and compiling.
    warm : float
        Seconds of the last warm-up call.
    versions : dict
        Package to version, of those that were imported.
    note : str
        Which way was taken where the maker tried several.
    """

    making: float
    first: float
    warm: float
    versions: dict[str, str]
    note: str = ""


class Impossible(msgspec.Struct, frozen=True, kw_only=True, tag="impossible"):
    """The library cannot do the workload, and why."""

    reason: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An exception ended the engine."""

    reason: str


class Times(msgspec.Struct, frozen=True, kw_only=True, tag="times"):
    """Seconds of each call."""

    seconds: tuple[float, ...]


class Memory(msgspec.Struct, frozen=True, kw_only=True, tag="memory"):
    """Bytes resident: just before the first call, and at most since then; children included, 0 where unknown."""

    before: int
    peak: int


Answer: TypeAlias = Ready | Impossible | Failed | Times | Memory

_questions = msgspec.json.Decoder(Question)
_answers = msgspec.json.Decoder(Answer)


def encode(message: Question | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def read_question(line: str) -> Question:
    """What the parent asks."""
    return _questions.decode(line)


def read_answer(line: bytes) -> Answer:
    """What the engine answers; raises msgspec.MsgspecError where it is none."""
    return _answers.decode(line)
