"""The page of all measures, from their table.

``python -m trustml.report.measures_page`` prints it.
"""

from __future__ import annotations

from typing import get_args

from trustml.measures.entry import PLACES, Family, Measure
from trustml.measures.measure import of_family

_HEAD = """# Measures

Made by `python -m trustml.report.measures_page` from `measures/measure.py` and the two tables beside it; a test
says that it is current.

Every value is a row of the tidy table (`run.measures()`, `measures.parquet`), by the name of its measure. *Kind* says
what the value is to the quantity it stands for: a proved bound above or below it, an estimate, or the thing itself. A
measure that cannot be had is there without a value and with the reason.

A new measure is an entry in the table and a function from a run's evidence to rows, which the entry names. Readers ask
the table what to show where:
"""
_TITLES: dict[Family, str] = {
    "privacy": "Privacy",
    "accuracy": "Accuracy",
    "explanations": "Explanations, one by one",
    "agreement": "Explanations, two by two",
    "effects": "What a regime does to explanations",
    "speed": "Time and memory",
    "federated": "Federated training",
    "audited": "Epsilon, shown by audits",
    "membership": "Membership inference",
    "remembered": "What models remember",
    "deployed": "Exported models",
    "deployed attacks": "Attacks on exported models",
}


def measures_markdown() -> str:
    """Write the page."""
    lines = [_HEAD, *(f"* **{place}**: {text}" for place, text in PLACES.items())]
    for family in get_args(Family):
        lines += ["", f"## {_TITLES[family]}", ""]
        lines += ["| measure | unit | better | kind | what it is | listed in |", "|---|---|---|---|---|---|"]
        lines += [_line(name, one) for name, one in of_family(family).items()]
    return "\n".join(lines) + "\n"


def _line(name: str, measure: Measure) -> str:
    meaning = f"*{measure.title}*: {measure.meaning}".replace("|", "\\|")
    shown = ", ".join(measure.shown) or "-"
    return f"| `{name}` | {measure.unit} | {measure.better} | {measure.kind} | {meaning} | {shown} |"


if __name__ == "__main__":
    print(measures_markdown(), end="")
