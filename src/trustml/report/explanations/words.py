"""Attributions of a text on its own words: blue is for the explained class, red against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.text import Text

from trustml.errors import printable
from trustml.plan.job import short_model
from trustml.report.explanations.frames import ExplainedExample, Panel

PADDING = "<padding>"
_POSITIVE, _NEGATIVE = (33, 102, 172), (178, 24, 43)


def on_words(found: ExplainedExample, panel: Panel) -> list[tuple[str, float]]:
    """Every token of the text with its attribution, without padding; empty where there are no words for it."""
    values = found.by_feature(panel)
    if values.shape != (len(found.tokens),):
        return []
    return [(token, float(one)) for token, one in zip(found.tokens, values, strict=True) if token != PADDING]


def word_lines(found: ExplainedExample) -> Iterator[Text]:
    """Write the text once for each explanation, its words coloured by their attributions, for the terminal."""
    for panel in found.panels:
        words = on_words(found, panel)
        if not words:
            continue
        limit = max(abs(value) for _, value in words) or 1.0
        line = Text(f"{short_model(panel.model)}, {panel.library}: ")
        for word, value in words:
            line.append(printable(word), style=_style(value / limit))
            line.append("" if all(len(token) == 1 for token, _ in words) else " ")
        yield line


def _style(share: float) -> str:
    """Background from white to the full colour, with letters that can be read on it."""
    full = np.array(_POSITIVE if share > 0 else _NEGATIVE)
    red, green, blue = np.round(255 + (full - 255) * min(1.0, abs(share))).astype(int)
    return f"{'white' if abs(share) > 0.5 else 'black'} on rgb({red},{green},{blue})"
