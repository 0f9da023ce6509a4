"""What a measure says of itself, and how its numbers are written: all that a reader has to know to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trustml.privacy.statement import at_least, at_most

Kind: TypeAlias = Literal["exact", "estimate", "upper bound", "lower bound"]
"""What the value is to the quantity it stands for."""

Family: TypeAlias = Literal[
    "privacy",
    "accuracy",
    "explanations",
    "agreement",
    "effects",
    "speed",
    "federated",
    "audited",
    "membership",
    "remembered",
    "deployed",
    "deployed attacks",
]

Place: TypeAlias = Literal[
    "overview",
    "wide overview",
    "performance",
    "explanations",
    "explanations page",
    "agreement",
    "federated",
    "federated page",
    "speed page",
    "attacks",
    "remembered",
    "audit",
    "audit of a regime",
    "model card",
    "study",
    "study figure",
    "deployed",
]
"""Where a reader lists whatever the table says belongs there. The whole table is in the record all the same."""

PLACES: dict[Place, str] = {
    "overview": "a column of the overview by regime and framework: `trustml show`, `compare`, dashboard",
    "wide overview": "the same, on terminals that are wide enough",
    "performance": "a column of how good models are beside the overview: `trustml show`",
    "explanations": "a column of what explanations are worth: `trustml show`",
    "explanations page": "the same on the dashboard's Explanations page",
    "agreement": "a column of how far libraries agree on the same weights: `trustml show`",
    "federated": "a column of the federated table: `trustml show`",
    "federated page": "a column of the table on the dashboard's Federated page",
    "speed page": "a chart on the dashboard's Speed page",
    "attacks": "a column of epsilons promised and shown: `trustml show`, the dashboard's Attacks page",
    "remembered": "a line of what models remember: `trustml show`, the dashboard's Attacks page",
    "audit": "a figure of the audit of a run: JSON, HTML, model card",
    "audit of a regime": "the same, of all models of a regime together",
    "model card": "a metric in the model card's front matter",
    "study": "a column of what a study says of faithfulness",
    "study figure": "a column of the picture of a study",
    "deployed": "a column of the table of exported models: `trustml show`, `trustml export`, dashboard",
}


@dataclass(frozen=True, kw_only=True)
class NumberForm:
    """How numbers of one unit are written.

    Attributes
    ----------
    pattern : str
    factor : float
        From the unit of the table to the one that is shown.
    unit : str
        The one that is shown; empty where it goes without saying.
    """

    pattern: str
    factor: float = 1.0
    unit: str = ""

    def text(self, value: float) -> str:
        """Write a value of the table."""
        return self.pattern.format(value * self.factor)


FORMS: dict[str, NumberForm] = {
    "proportion": NumberForm(pattern="{:.3f}"),
    "seconds": NumberForm(pattern="{:.2f}", unit="s"),
    "milliseconds": NumberForm(pattern="{:.2f}", factor=1e3, unit="ms"),
    "rate": NumberForm(pattern="{:,.0f}"),
    "mebibytes": NumberForm(pattern="{:.0f}", factor=2**-20, unit="MiB"),
    "megabytes": NumberForm(pattern="{:.2f}", factor=1e-6, unit="MB"),
    "count": NumberForm(pattern="{:.0f}"),
    "ratio": NumberForm(pattern="{:.1f}"),
    "norm": NumberForm(pattern="{:.3g}"),
    "score": NumberForm(pattern="{:.2g}"),
    "difference": NumberForm(pattern="{:.1e}"),
    "amount": NumberForm(pattern="{:.4g}"),
    "nats": NumberForm(pattern="{:.2f}"),
    "decibels": NumberForm(pattern="{:.1f}", unit="dB"),
}
_OF_UNIT = {
    "1": "proportion",
    "nats": "nats",
    "bits": "nats",
    "dB": "decibels",
    "s": "seconds",
    "1/s": "rate",
    "bytes": "mebibytes",
    "rounds": "count",
    "of largest": "difference",
    "of target": "amount",
}
_LARGE_SCORE = 100
_LARGE_AMOUNT = 1000


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is.

    Attributes
    ----------
    unit : str
    better : {"higher", "lower", "neither"}
    title : str
        For headings.
    meaning : str
        One sentence, with the source where there is one.
    kind : Kind
    family : Family, optional
    rows : tuple of str
        Functions that give its rows, each from evidence to a list of rows, as ``module:name``.
    words : str
        How reports name it; the title if empty.
    heading : str
        At the head of a column; the title if empty.
    label : str
        Where several figures share a line; `words` if empty.
    spread : {"", "interval", "quartiles"}
        What a column beside it in the overview holds.
    form : str
        A name of :data:`FORMS`; that of the unit if empty.
    shown : tuple of Place
    guarantee : bool
        Whether it is what holds for something released, so that without a finite value nothing does.
    since : int
        Place in the order in which measures came after the first of format 3, which have 0: tables of before have no
        row of it. A new measure has the next number, those that came at once the same.
    """

    unit: str
    better: Literal["higher", "lower", "neither"]
    title: str
    meaning: str
    kind: Kind = "estimate"
    family: Family | None = None
    rows: tuple[str, ...] = ()
    words: str = ""
    heading: str = ""
    label: str = ""
    spread: Literal["", "interval", "quartiles"] = ""
    form: str = ""
    shown: tuple[Place, ...] = ()
    guarantee: bool = False
    since: int = 0

    @property
    def head(self) -> str:
        """Head of its column."""
        return self.heading or self.title

    @property
    def named(self) -> str:
        """How reports name it."""
        return self.words or self.title

    @property
    def number(self) -> NumberForm:
        """How its values are written."""
        return FORMS[self.form or _OF_UNIT[self.unit]]

    def text(self, value: float) -> str:
        """Write a value; an epsilon that is a bound is rounded so that it claims no more than was shown."""
        if self.unit == "nats" and not self.form and self.kind in ("upper bound", "lower bound"):
            return at_most(value, 2) if self.kind == "upper bound" else at_least(value, 2)
        if self.form == "score" and abs(value) >= _LARGE_SCORE:
            return FORMS["count"].text(value)
        if self.unit == "of target" and abs(value) >= _LARGE_AMOUNT:
            return FORMS["rate"].text(value)
        return self.number.text(value)
