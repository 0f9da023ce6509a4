"""Parts of every page: charts that fit the window, tables that sort by number, tables of text, rows behind a chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import charts
import pandas as pd
import streamlit as st
from chosen_run import current

from trustml.record.store import RunDirectory
from trustml.report.documents import Cell, plain_text
from trustml.report.site.html import site_page
from trustml.report.tables import plain_rows


def draw(chart: Any, *, place: Any = st) -> None:
    """Draw a chart as wide as its place."""
    charts.chart(chart, width="stretch", place=place)


def beside(several: Sequence[Any], *, columns: int) -> None:
    """Draw charts beside each other where there is room, else one below another."""
    for first in range(0, len(several), columns):
        for place, chart in zip(st.columns(columns), several[first : first + columns], strict=False):
            draw(chart, place=place)


def pictures(several: Sequence[Any]) -> None:
    """Draw charts of a fixed size beside each other, as many in a line as there is room for."""
    with st.container(horizontal=True):
        for one in several:
            charts.chart(one, width="content")


def sortable(cells: pd.DataFrame) -> None:
    """Show a table of cells as their texts; its columns are sorted by their ranks."""
    ranked = {name for name in cells.columns if cells[name].map(lambda one: isinstance(one, Cell)).all()}
    # Never NaN: what is missing is shown as "None", whatever its text.
    numbers = pd.DataFrame(
        {
            name: cells[name].map(lambda one: -math.inf if math.isnan(one.rank) else one.rank)
            if name in ranked
            else cells[name]
            for name in cells.columns
        }
    )
    texts = {name: {rank: cell.text for rank, cell in zip(numbers[name], cells[name], strict=True)} for name in ranked}
    styled = numbers.style.format({name: found.__getitem__ for name, found in texts.items()})
    for name in ranked:  # one by one where texts of a rank differ: pandas looks each of them up for long
        for row, cell in cells[name].items():
            if cell.text != texts[name][numbers[name][row]]:
                styled = styled.format(lambda _, text=cell.text: text, subset=([row], [name]))
    st.dataframe(styled, hide_index=True, width="stretch")


def text_table(rows: Sequence[dict[str, object]], *, fold: bool = True) -> None:
    """Show texts in full, whatever is in them; what is the same in every row stands below, once, where that may be."""
    same = {name for name in rows[0] if len({row[name] for row in rows}) == 1} if fold and len(rows) > 1 else set()
    st.table(pd.DataFrame([{name: plain_text(row[name]) for name in row if name not in same} for row in rows]))
    if same:
        st.caption(
            plain_text(
                "In every row: " + "; ".join(f"{name or 'kind'}: {rows[0][name]}" for name in rows[0] if name in same)
            )
        )


def notes(lines: Sequence[str]) -> None:
    """Show each of some notes once."""
    for line in dict.fromkeys(lines):
        st.caption(plain_text(line))


@st.fragment
def folded(label: str, show: Callable[[], None], *, key: str) -> None:
    """Show a part of the page in an expander; it is made, and sent to the browser, when it is opened."""
    place = st.expander(plain_text(label), key=key, on_change="rerun")
    if place.open:
        with place:
            show()


def show_rows(table: pd.DataFrame) -> None:
    """Show tidy rows in an expander: the chart as numbers."""
    if table.empty:
        return
    columns = ["backend", "regime", "seed", "subject", "measure", "value", "low", "high", "unit", "n", "note"]

    def show() -> None:
        st.dataframe(pd.DataFrame(plain_rows(table), columns=columns), hide_index=True, width="stretch")

    folded("The rows behind this", show, key=" ".join(("rows", *sorted(set(table.measure)))))


def say_missing(one: str, *, asked: bool, not_asked: str) -> NoReturn:
    """Say why the run has nothing to show: not asked for, not yet, or none ended well; then stop."""
    if not asked:
        st.info(plain_text(not_asked))
    elif current().status == "running":
        st.info(plain_text(f"No {one} has ended yet."))
    else:
        st.info(plain_text(f"No {one} of this run ended well. The Record page says why."))
    st.stop()


def hand_on(runs: Sequence[RunDirectory]) -> None:
    """Offer what runs measured, side by side, as one HTML file; it is made when it is asked for."""
    name = runs[0].path.name if len(runs) == 1 else "comparison"
    st.download_button(
        "Report to hand on (HTML)",
        lambda: site_page(runs).encode(),
        f"{name}.html",
        "text/html",
        on_click="ignore",
        help="Nothing of private/ is in it, and it loads nothing; as `trustml report` writes it.",
    )
