"""One row of the tidy table: a value, and what is known of it as typed columns."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from trustml.privacy.ledger import Drawn, NeighboringRelation, PrivacyUnit
from trustml.record.schema import JobKind

Fact: TypeAlias = str | float | int | bool
Facts: TypeAlias = dict[str, Fact]

Verdict: TypeAlias = Literal[
    "",
    "absent",
    "better than random",
    "no better than random",
    "worse than random",
    "random control",
    "fails the sanity check",
    "violated",
    "not refuted",
    "above guessing",
    "not above guessing",
    "fits",
    "does not fit",
]
"""What follows from a value, where something does; ``absent`` where there is no value, for the reason in the facts."""

PairKind: TypeAlias = Literal[
    "",
    "same weights",
    "two regimes",
    "trained apart",
    "two seeds",
    "two regimes over seeds",
    "members and held-out",
]
"""What the two sides are to each other, where a value is of two."""

IntervalKind: TypeAlias = Literal[
    "",
    "wilson",
    "newcombe",
    "bootstrap over examples",
    "exact bootstrap over examples",
    "jackknife over seeds",
    "jackknife over models",
    "quartiles",
    "5th to 95th percentile",
    "clopper-pearson",
    "effective pairs",
    "simulated audits",
    "t over canaries",
    "t over canaries and sequences",
    "t over updates",
    "t over rows",
]
"""How `low` and `high` were made."""

BUSY = 0.1
"""Share of the processors, used by others, beyond which a machine is called busy and its times are not compared; of
periods, too, in which a quota of processors held a job back."""

SamplingKind: TypeAlias = Literal["", "several"] | Drawn
"""How batches or cohorts were drawn; ``several`` for models that were not all drawn alike."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a value beside the value: the columns of a row that its note is made from.

    Parameters
    ----------
    verdict : Verdict
    pair : PairKind
    first, second : str
        The two sides, where a value is of two.
    delta : float, optional
    privacy_unit : {"", "example", "user"}
    relation : NeighboringRelation or ""
    sampling : SamplingKind
    accountant : str
        Whose number an epsilon is, with its version.
    p_value : float, optional
        Of the test that the value is 0.
    confidence : float, optional
        Of the interval, or of a bound.
    interval : IntervalKind
    facts : dict
        All else, by name (:data:`trustml.measures.notes.WORDS` holds the names and their words).
    """

    verdict: Verdict = ""
    pair: PairKind = ""
    first: str = ""
    second: str = ""
    delta: float | None = None
    privacy_unit: Literal[""] | PrivacyUnit = ""
    relation: Literal[""] | NeighboringRelation = ""
    sampling: SamplingKind = ""
    accountant: str = ""
    p_value: float | None = None
    confidence: float | None = None
    interval: IntervalKind = ""
    facts: Facts = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the tidy table.

    Parameters
    ----------
    run, job : str
        `job` is empty for what concerns the whole run.
    backend, regime : str
        Of the model; ``-`` for the whole run.
    seed : int
        Of the model; -1 where several seeds are taken together.
    subject : str
        What is measured: ``held-out`` examples, an explanation such as ``captum``, or two of them compared,
        such as ``captum ~ tf-explain``. For readers; the sides are `first` and `second`.
    method : str
        Method of explanation, or two of them compared; empty for all else.
    measure : str
        A name of :data:`MEASURES`.
    value : float or None
        None means absent; the fact ``reason`` says why.
    low, high : float or None
        Interval; `interval` says how it was made.
    unit : str
    n : int
        Examples, steps or models behind the value.
    note : str
        The columns below in words (:func:`trustml.measures.notes.note_of`): for readers, nothing is decided by it.
    kind : {"", "train", "explain", "shadow", "canary", "game", "reconstruction"}
        Of the job.
    model : str
        Train job of the model that is measured; empty where it is not one of those.

    Notes
    -----
    The other columns are those of :class:`About`. All from `kind` on are not in files of
    before format 3; what their notes say of them is filled in when they are read.
    """

    run: str
    job: str
    backend: str
    regime: str
    seed: int
    subject: str
    method: str = ""
    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str
    n: int
    note: str = ""
    kind: Literal[""] | JobKind = ""
    model: str = ""
    verdict: Verdict = ""
    pair: PairKind = ""
    first: str = ""
    second: str = ""
    delta: float | None = None
    privacy_unit: Literal[""] | PrivacyUnit = ""
    relation: Literal[""] | NeighboringRelation = ""
    sampling: SamplingKind = ""
    accountant: str = ""
    p_value: float | None = None
    confidence: float | None = None
    interval: IntervalKind = ""
    facts: Facts = {}

    @property
    def about(self) -> About:
        """The columns that the note is made from."""
        return About(**{name: getattr(self, name) for name in About.__struct_fields__})


COLUMNS = Row.__struct_fields__
FIRST_COLUMNS = COLUMNS[: COLUMNS.index("kind")]
"""What a table of before format 3 has."""


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Row)


@functools.cache
def column_kind(name: str) -> Literal["text", "whole number", "number", "facts"]:
    """What a column of the table holds, by the type of the field."""
    hint = _hints()[name]
    if get_origin(hint) is dict:
        return "facts"
    if float in get_args(hint):
        return "number"
    return "whole number" if hint is int else "text"
