"""Parts of the explanations page: panels of one scale, curves, and the table of what methods are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from page_parts import draw, pictures

from trustml.errors import UsageError
from trustml.measures.measure import MEASURES, shown_in
from trustml.plan.job import short_model
from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.documents import Cell, plain_text
from trustml.report.explanations import figures
from trustml.report.explanations.frames import ExplainedExample, Panel, removal_curves_of
from trustml.report.explanations.importance import importance_frame, importances
from trustml.report.explanations.selection import PanelRequest
from trustml.report.explanations.tables import rows_of_model


def pick_example(place: Any, run: RunDirectory) -> int:
    """Let the reader choose one of the explained examples."""
    count = len(run.mapped(HELDOUT)["inputs"])
    return int(place.number_input("Example", 0, count - 1, 0, help="Number among the explained examples"))


def draw_panels(found: ExplainedExample, panels: list[tuple[str, Panel]], *, own_scales: bool = False) -> None:
    """Draw panels in rows; those in logits share one scale, unless each is to have its own."""
    drawn = [(title, panel, found.drawn(panel)) for title, panel in panels]
    shared = max((float(np.abs(values).max()) for _, panel, values in drawn if panel.in_logits), default=0.0) or 1.0
    image = found.input.ndim == 3
    charts = [figures.picture(found.input.mean(axis=-1), title=f"input: {found.truth} {found.target}")] if image else []
    for title, panel, values in drawn:
        own = own_scales or not panel.in_logits
        limit = float(np.abs(values).max() or 1.0) if own else shared
        if values.ndim == 2:
            charts.append(figures.heat_map(values, title=title, limit=limit))
        else:
            names = found.feature_names if len(found.feature_names) == len(values) else ()
            charts.append(figures.feature_bars(values, title=title, limit=limit, names=names))
    pictures(charts)
    explained = dict.fromkeys(f"{short_model(panel.model)} explained: {panel.classes.words}" for _, panel in panels)
    st.text("\n".join([f"{found.truth}: {found.target}", *explained]))


def draw_importances(run: RunDirectory, *, method: str, model: str) -> None:
    """Draw what counts over all explained examples of one model: bars of features, or mean pictures."""
    try:
        found = importances(run, PanelRequest(method=method, example=0, model=model, backend=None))
    except UsageError:
        st.info("This method attributes to a layer, not to features.")
        return
    images = [one for one in found if len(one.shape) == 2]
    if images:
        limit = max(float(one.means.max()) for one in found if one.in_logits) or 1.0
        own = {one.library: float(one.means.max()) or 1.0 for one in found if not one.in_logits}
        pictures([figures.heat_map(one.means, title=one.library, limit=own.get(one.library, limit)) for one in images])
    shared = [one for one in found if one.in_logits]
    draw(figures.importance_bars(importance_frame(shared)))
    st.caption(plain_text(f"Mean magnitude of attributions over {len(found[0].magnitudes)} examples."))
    st.caption(
        "Lines: bootstrap 95 % over examples. The features that count most of each; raw output of a library in another "
        "unit is left out of the bars."
    )


def curves_of(run: RunDirectory, model: str) -> dict[str, pd.DataFrame] | None:
    """Deletion and insertion curves of one model by its own framework's library; None where there are none."""
    return removal_curves_of(run, model)


def quality_cells(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """One row a method and library, one column a measure; what is no better than random says so."""
    rows = rows_of_model(table, model)
    rows = rows[rows.measure.isin(list(shown_in("explanations page")))]
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    for row in rows.itertuples():
        measure = MEASURES[row.measure]
        text = "-" if pd.isna(row.value) else measure.text(row.value)
        text += {"no better than random": " ≈ random", "worse than random": " < random"}.get(row.verdict, "")
        cells.setdefault((row.method, row.subject), {})[measure.head] = Cell(text, row.value)
    heads = list(dict.fromkeys(head for values in cells.values() for head in values))
    return pd.DataFrame(
        [
            {"method": method, "library": library, **{head: values.get(head, Cell("-")) for head in heads}}
            for (method, library), values in cells.items()
        ]
    )
