"""The templates of an audit and what they may do to a fact: one filter for each way to write a number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from trustml.report.audit import words
from trustml.report.audit.groups import figure_lines
from trustml.report.documents import templates

if TYPE_CHECKING:
    from jinja2 import Environment


def render(name: str, facts: Mapping[str, object]) -> str:
    """Fill a template with facts."""
    return environment().get_template(name).render(facts)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Give the templates of an audit."""
    found = templates("audit")
    found.filters |= {
        "symbol": words.SYMBOLS.__getitem__,
        "identity": words.identity_words,
        "measure": words.measure_words,
        "value": words.value_text,
        "interval": words.interval_text,
        "reading": words.reading,
        "lines": figure_lines,
        "ranges": words.finding_ranges,
        "stated": words.stated,
        "bound": words.stated_bound,
        "percent": words.percent,
        "quoted": _quoted,
        "floored": _floored,
        "short": words.short,
        "svg": Markup,  # of our own drawing alone
    }
    return found


def _quoted(text: str) -> str:
    """Quote for YAML; its double-quoted strings read JSON's, and `printable` left out what YAML cannot hold."""
    return json.dumps(text, ensure_ascii=False)


def _floored(value: float) -> str:
    """Write a number rounded down, without an exponent: not every reader of YAML knows 1e-05."""
    return f"{Decimal(repr(float(value))).quantize(Decimal('0.000001'), rounding=ROUND_FLOOR):f}"
