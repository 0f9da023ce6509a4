"""Pictures of one example's explanations beside each other, and the table of what methods are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trustml.measures.measure import MEASURES, shown_in
from trustml.plan.job import short_model
from trustml.report.documents import Cell
from trustml.report.explanations import figures
from trustml.report.explanations.frames import ExplainedExample, Panel
from trustml.report.explanations.tables import rows_of_model
from trustml.report.explanations.words import on_words


def panel_charts(
    found: ExplainedExample, panels: Sequence[tuple[str, Panel]], *, own_scales: bool = False
) -> list[tuple[str, Any]]:
    """Charts of panels with their titles, an image first; those in logits share one scale, unless each has its own."""
    drawn = [(title, panel, found.drawn(panel)) for title, panel in panels]
    shared = max((float(np.abs(values).max()) for _, panel, values in drawn if panel.in_logits), default=0.0) or 1.0
    charts: list[tuple[str, Any]] = []
    if found.input.ndim == 3:
        title = f"input: {found.truth} {found.target}"
        charts.append((title, figures.picture(found.input.mean(axis=-1), title=title)))
    for title, panel, values in drawn:
        own = own_scales or not panel.in_logits
        limit = float(np.abs(values).max() or 1.0) if own else shared
        if values.ndim == 2:
            charts.append((title, figures.heat_map(values, title=title, limit=limit)))
        elif words := on_words(found, panel):
            charts.append((title, figures.coloured_words(words, title=title, limit=limit)))
        else:
            names = found.feature_names if len(found.feature_names) == len(values) else ()
            charts.append((title, figures.feature_bars(values, title=title, limit=limit, names=names)))
    return charts


def panel_lines(found: ExplainedExample, panels: Sequence[tuple[str, Panel]]) -> list[str]:
    """What is true, and what every model that is explained says."""
    explained = dict.fromkeys(f"{short_model(panel.model)} explained: {panel.classes.words}" for _, panel in panels)
    return [f"{found.truth}: {found.target}", *explained]


def quality_cells(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """One row a method and library, one column a measure; what is no better than random says so."""
    rows = rows_of_model(table, model)
    rows = rows[rows.measure.isin(list(shown_in("explanations page")))]
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    for row in rows.to_dict("records"):
        measure, value = MEASURES[row["measure"]], float(row["value"])
        text = "-" if math.isnan(value) else measure.text(value)
        text += {"no better than random": " ≈ random", "worse than random": " < random"}.get(row["verdict"], "")
        cells.setdefault((row["method"], row["subject"]), {})[measure.head] = Cell(text, value)
    heads = list(dict.fromkeys(head for values in cells.values() for head in values))
    return pd.DataFrame(
        [
            {"method": method, "library": library, **{head: values.get(head, Cell("-")) for head in heads}}
            for (method, library), values in cells.items()
        ]
    )
