"""The run that the reader chose: its identifier is in the URL, its files are only ever read."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import streamlit as st

import trustml
from trustml.record.store import MANIFEST, newest_first
from trustml.report.tables import plain_rows


def runs_folder() -> Path:
    """Folder of the runs, from ``TRUSTML_RUNS``."""
    return Path(os.environ.get("TRUSTML_RUNS", "runs"))


def choose_run() -> None:
    """Show the chooser in the sidebar; stop with a clear message where there is nothing to choose."""
    names = _newest_first()
    if not names:
        st.info(f"There are no runs in {runs_folder()}. Make one with `trustml run digits`, then reload this page.")
        st.stop()
    asked = st.query_params.get("run")
    if asked is not None and asked not in names:
        st.error(f"There is no run {asked!r} in {runs_folder()}. Choose one at the left.")
    index = names.index(asked) if asked in names else 0
    chosen = st.sidebar.selectbox("Run", names, index=index, key=f"run-{asked}")
    if asked is not None and asked not in names and chosen == names[0]:
        st.stop()
    st.query_params["run"] = chosen


def current() -> trustml.Run:
    """Give the chosen run."""
    asked = st.query_params.get("run")
    here = asked is not None and asked == Path(asked).name and (runs_folder() / asked / MANIFEST).is_file()
    return trustml.load(runs_folder() / (asked if here else _newest_first()[0]))


def measures() -> pd.DataFrame:
    """Give the chosen run's tidy table; stop with a message while there is none."""
    try:
        return current().measures()
    except trustml.RecordError as error:
        st.info(f"Nothing is measured yet. {error}")
        st.stop()


def show_rows(table: pd.DataFrame, *, label: str = "The rows behind this") -> None:
    """Show tidy rows in an expander: the chart as numbers."""
    with st.expander(label):
        columns = ["backend", "regime", "seed", "subject", "measure", "value", "low", "high", "unit", "n", "note"]
        st.dataframe(pd.DataFrame(plain_rows(table), columns=columns), hide_index=True, width="stretch")


def _newest_first() -> list[str]:
    """Identifiers of the runs; they end in date, time and four random letters. No run is opened."""
    return [run.path.name for run in newest_first(runs_folder())]
