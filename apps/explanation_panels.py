"""Parts of the explanations page: panels of one scale, and curves."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from page_parts import pictures

from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.explanations.frames import ExplainedExample, Panel, removal_curves_of
from trustml.report.explanations.panels import panel_charts, panel_lines


def pick_example(place: Any, run: RunDirectory) -> int:
    """Let the reader choose one of the explained examples."""
    count = len(run.mapped(HELDOUT)["inputs"])
    return int(place.number_input("Example", 0, count - 1, 0, help="Number among the explained examples"))


def draw_panels(found: ExplainedExample, panels: list[tuple[str, Panel]], *, own_scales: bool = False) -> None:
    """Draw panels in rows; those in logits share one scale, unless each is to have its own."""
    pictures([chart for _, chart in panel_charts(found, panels, own_scales=own_scales)])
    st.text("\n".join(panel_lines(found, panels)))


def curves_of(run: RunDirectory, model: str) -> dict[str, pd.DataFrame] | None:
    """Deletion and insertion curves of one model by its own framework's library; None where there are none."""
    return removal_curves_of(run, model)
