"""Parts of the explanations page: panels of one scale, and curves."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from page_parts import draw, pictures

from trustml.errors import UsageError
from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.documents import plain_text
from trustml.report.explanations import figures
from trustml.report.explanations.frames import ExplainedExample, Panel, removal_curves_of
from trustml.report.explanations.importance import importance_frame, importances
from trustml.report.explanations.panels import panel_charts, panel_lines
from trustml.report.explanations.selection import PanelRequest


def pick_example(place: Any, run: RunDirectory) -> int:
    """Let the reader choose one of the explained examples."""
    count = len(run.mapped(HELDOUT)["inputs"])
    return int(place.number_input("Example", 0, count - 1, 0, help="Number among the explained examples"))


def draw_panels(found: ExplainedExample, panels: list[tuple[str, Panel]], *, own_scales: bool = False) -> None:
    """Draw panels in rows; those in logits share one scale, unless each is to have its own."""
    pictures([chart for _, chart in panel_charts(found, panels, own_scales=own_scales)])
    st.text("\n".join(panel_lines(found, panels)))


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
        "Bars of a feature stand in the order of the legend. Lines: bootstrap 95 % over examples. The features that "
        "count most of each; raw output of a library in another unit is left out of the bars."
    )


def curves_of(run: RunDirectory, model: str) -> dict[str, pd.DataFrame] | None:
    """Deletion and insertion curves of one model by its own framework's library; None where there are none."""
    return removal_curves_of(run, model)
